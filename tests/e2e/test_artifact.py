"""Images made lazy by an artifact beside them: indexed, pushed, found, started before their bytes are here."""
import glob
import hashlib
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess

import oci
from lab import CONFIG, Case, Lab, tiny, wait_until
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20
FILES = {f"{i:02}": noise(f"artifact{i}", 2 * MIB + 1000 * i + 1) for i in range(8)}
SUMS = {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()}
ARTIFACT = "application/vnd.lazyrun.lazy.v1"
SUM_ALL = ("sh", "-c", "sha256sum /data/*")
EVERY = ("sh", "-c", "sha256sum /data/0*")  # of which no pack is made
SUM_ONE = ("sh", "-c", "head -c 1000 /data/03 | sha256sum")


class ArtifactCase(Case):
    """An indexed image behind a proxy, and a store that has never seen it."""

    forms = ("gzip", "none")
    index_flags = ("--push",)

    @classmethod
    def prepare(cls):
        m = [oci.directory("data")] + [oci.member("data/" + n, d) for n, d in FILES.items()]
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny(), cls.forms[0]), layout.put_layer(oci.tar(m), cls.forms[1])]
        layout.put_image("app", layers, CONFIG)
        cls.layers = [layer[0]["digest"] for layer in layers]
        cls.packed = sum(layer[0]["size"] for layer in layers)
        cls.image = cls.lab.registry.push(layout, "app")
        cls.index(*cls.index_flags)

    @classmethod
    def index(cls, *flags, image=None):
        """By a machine of its own, so that nothing of it is in the lab's store."""
        builder = Lab()
        try:
            return builder.lazyrun("index", *flags[:1], image or cls.image, *flags[1:], check=0).stdout
        finally:
            builder.close()

    def setUp(self):
        self.addCleanup(self.fresh)
        self.proxy = Proxy(self.lab.registry.address)
        self.addCleanup(self.proxy.close)
        self.through = self.proxy.reference("app")

    def fresh(self):
        self.lab.stop_server()
        shutil.rmtree(self.lab.store, ignore_errors=True)

    def artifact(self):
        """The manifest that the tag of the referrers tag schema leads to: (digest, manifest)."""
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}

        def get(name):
            return oci.Registry(self.lab.registry.address).request("GET", "/v2/app/manifests/" + name, headers=accept)[2]
        digest = hashlib.sha256(get("latest")).hexdigest()
        listed = json.loads(get("sha256-" + digest))["manifests"]
        ours = [m for m in listed if m["artifactType"] == ARTIFACT]
        ours.sort(key=lambda m: (m["annotations"]["org.opencontainers.image.created"], m["digest"]))
        return ours[-1]["digest"], json.loads(get(ours[-1]["digest"]))

    def from_layers(self):
        """Bytes of the image's own blobs that the proxy handed out."""
        return sum(r.sent for r in self.proxy.blobs() if any(d in r.path for d in self.layers))

    def origins(self, image):
        lines = self.run_ok("inspect", "--layers", image).stdout.splitlines()[1:]
        return [line.split()[-2] for line in lines]

    def check_sums(self, out):
        self.assertEqual({line.split()[1][-2:]: line.split()[0] for line in out.splitlines()}, SUMS)


class Starts(ArtifactCase):
    def test_bytes_come_when_they_are_read(self):
        want = hashlib.sha256(FILES["03"][:1000]).hexdigest()
        p = self.run_ok("run", "--require-lazy", self.through, *SUM_ONE)
        self.assertEqual(p.stdout.split()[0], want)
        self.assertLess(self.from_layers(), self.packed / 3)
        self.assertEqual(self.origins(self.through), ["artifact", "artifact"])

    def test_every_byte_is_right_and_each_span_comes_once(self):
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)
        ranges = sorted((r.path, r.range) for r in self.proxy.blobs() if any(d in r.path for d in self.layers))
        self.assertTrue(all(r for _, r in ranges), "a layer was fetched whole")
        self.assertEqual(len(ranges), len(set(ranges)), "a span came twice")
        self.assertLess(self.from_layers(), self.packed * 1.02, "spans came twice")
        self.proxy.forget()
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)
        self.assertEqual(self.proxy.seen, [], "a second start asks the registry")

    def test_fifty_at_once(self):
        started = [self.lab.start("run", "--cgroups=disabled", "--fill=never", self.through, *SUM_ALL,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(50)]
        for p in started:
            out, err = p.communicate(timeout=120)
            self.assertEqual(p.returncode, 0, err)
            self.check_sums(out.decode())
        ranges = sorted((r.path, r.range) for r in self.proxy.blobs() if any(d in r.path for d in self.layers))
        self.assertEqual(len(ranges), len(set(ranges)), "a span came twice")

    def test_the_tree_is_the_streamed_one(self):
        self.run_ok("run", "--require-lazy", self.image, "true")
        lazy = self.run_ok("ls", "-lR", self.image).stdout
        self.assertEqual(self.origins(self.image), ["artifact", "artifact"])
        self.assertEqual(self.run_ok("ls", "-lR", "--trust=pinned", self.through).stdout, lazy)
        self.assertEqual(self.origins(self.through), ["tar", "tar"])

    def test_pinned_streams(self):
        self.run_ok("run", "--trust=pinned", self.through, "true")
        self.assertEqual(self.origins(self.through), ["tar", "tar"])
        self.assertFalse([r for r in self.proxy.seen if "referrers" in r.path])
        p = self.lab.lazyrun("run", "--trust=nobody", self.through, "true")
        self.assertFails(p, 125, "--trust=nobody", "pinned")

    def test_a_layer_that_was_verified_whole_comes_first(self):
        self.run_ok("run", "--trust=pinned", self.through, "true")
        self.proxy.forget()
        self.run_ok("run", "--require-lazy", self.through, "true")
        self.assertEqual(self.origins(self.through), ["tar", "tar"])
        self.assertEqual(self.proxy.seen, [])

    def test_another_repository_is_not_vouched_for(self):
        """Its own artifact counts, and none of what another repository's brought into the store."""
        self.run_ok("run", "--require-lazy", self.through, "true")
        other = self.lab.registry.push(self.lab.layout, "app", "other")
        p = self.lab.lazyrun("run", "--require-lazy", other, "true")
        self.assertFails(p, 125, "--require-lazy", "no artifact", "lazyrun index --push")
        self.run_ok("run", other, "true")
        self.assertEqual(self.origins(other), ["tar", "tar"])

    def test_rmi_leaves_nothing(self):
        self.run_ok("run", self.through, "true")
        self.run_ok("rmi", self.through)
        self.assertEqual(os.listdir(self.lab.store + "/layers"), [])
        self.assertEqual(os.listdir(self.lab.store + "/artifacts"), [])
        self.assertEqual(os.listdir(self.lab.store + "/blobs/sha256"), [])


class Chains(ArtifactCase):
    """Spans without a window of their own are fetched with those before them."""

    WORDS = b" ".join(hashlib.sha256(b"%d" % (i * i % 9973)).hexdigest()[:3 + i % 9].encode() for i in range(900_000))
    BACKWARDS = ("sh", "-c", "i=$(($(stat -c %s /words) / 4096)); while [ $i -ge 0 ]; do dd if=/words bs=4096 skip=$i count=1 "
                             "2>/dev/null; i=$((i - 29)); done | sha256sum")

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar([oci.member("words", cls.WORDS)]), "gzip")]
        layout.put_image("app", layers, CONFIG)
        cls.layers = [layer[0]["digest"] for layer in layers]
        cls.packed = sum(layer[0]["size"] for layer in layers)
        cls.image = cls.lab.registry.push(layout, "app")
        cls.index("--push")

    def windows(self):
        """What each span of the layer of words says of its window."""
        for at in glob.glob(self.lab.store + "/layers/*/spans"):
            with open(at, "rb") as f:
                table = f.read()
            kinds = [table[o + 55] for o in range(32, len(table), 88)]
            if 2 in kinds and len(table) > 32 + 88 * 40:
                return kinds
        return []

    def check_backwards(self, *flags):
        pages = [self.WORDS[i * 4096:(i + 1) * 4096] for i in range(len(self.WORDS) // 4096, -1, -29)]
        p = self.run_ok("run", "--fill=never", *flags, self.through, *self.BACKWARDS)
        self.assertEqual(p.stdout.split()[0], hashlib.sha256(b"".join(pages)).hexdigest())

    def test_read_backwards(self):
        self.check_backwards("--require-lazy")
        kinds = self.windows()
        self.assertGreater(kinds.count(2), len(kinds) / 4)
        self.assertGreater(kinds.count(1), 2)
        self.assertLess(self.from_layers(), self.packed * 1.03, "spans came twice")
        for _ in range(2):
            self.run_ok("evict", self.through)
            self.check_backwards()

    def test_one_page_brings_its_chain_and_no_more(self):
        self.run_ok("run", "--fill=never", "--require-lazy", self.through, "true")
        before = self.from_layers()
        self.run_ok("run", "--fill=never", self.through, "dd", "if=/words", "bs=4096", "skip=700", "count=1", "of=/dev/null")
        self.assertLess(self.from_layers() - before, self.packed / 3)

    def test_many_readers_while_requests_are_cut(self):
        """Who waits for the span before does not wait for ever when that has to be asked for again."""
        self.run_ok("run", "--fill=never", "--require-lazy", self.through, "true")
        asked = itertools.count()
        self.proxy.rule = lambda r: {"cut": 5000, "delay": 0.02} if r.range and next(asked) % 3 == 0 else {"delay": 0.02}
        reader = "dd if=/words bs=4096 skip=$(((k * 37 + n) % {pages})) count=1 2>/dev/null | sha256sum"
        script = "for n in 0 9 18 27 36 45 54 63; do (k=0; while [ $k -lt 25 ]; do %s; k=$((k + 1)); done) > /tmp/$n & done; wait; cat /tmp/*"
        n_pages = len(self.WORDS) // 4096
        got = self.run_ok("run", "--fill=never", self.through, "sh", "-c", script % reader.format(pages=n_pages)).stdout
        pages = [(k * 37 + n) % n_pages for n in sorted(range(0, 64, 9), key=str) for k in range(25)]
        self.assertEqual([line.split()[0] for line in got.splitlines()],
                         [hashlib.sha256(self.WORDS[p * 4096:(p + 1) * 4096]).hexdigest() for p in pages])


class Runs(ArtifactCase):
    """Spans from checkpoints that lie one behind the other."""

    forms = ("gzip", "gzip")
    SPAN = 256 << 10

    @classmethod
    def prepare(cls):
        text = {n: d.hex().encode()[:len(d)] for n, d in FILES.items()}
        layout = cls.lab.layout
        m = [oci.directory("data")] + [oci.member("data/" + n, d) for n, d in text.items()]
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar(m), "gzip")]
        layout.put_image("app", layers, CONFIG)
        cls.layers = [layer[0]["digest"] for layer in layers]
        cls.sums = {n: hashlib.sha256(d).hexdigest() for n, d in text.items()}
        cls.n_spans = sum(len(d) for d in text.values()) // cls.SPAN
        cls.image = cls.lab.registry.push(layout, "app")
        cls.index("--push")

    def n_requests(self):
        """Of the large layer, and of anything else by range: windows."""
        by_range = [r for r in self.proxy.blobs() if r.range]
        layer = sum(self.layers[1] in r.path for r in by_range)
        return layer, sum(not any(d in r.path for d in self.layers) for r in by_range)

    def check_all(self, *flags):
        out = self.run_ok("run", *flags, self.through, *SUM_ALL).stdout
        self.assertEqual({line.split()[1][-2:]: line.split()[0] for line in out.splitlines()}, self.sums)

    def test_the_bytes_before_are_the_window(self):
        self.check_all("--require-lazy", "--fill=never")
        spans, windows = self.n_requests()
        self.assertLess(windows, self.n_spans / 2)

    def test_neighbours_come_with_one_request(self):
        self.run_ok("run", "--require-lazy", "--fill=now", self.through, "true")
        wait_until("layers that are tars", lambda: all(k.startswith("tar-") for k in os.listdir(self.lab.store + "/layers")), 90)
        spans, _ = self.n_requests()
        self.assertLess(spans, self.n_spans / 2)
        self.check_all("--offline")

    def test_one_that_breaks_is_asked_for_again(self):
        broken = []

        def rule(r):
            if self.layers[1] in r.path and r.range and len(broken) < 3:
                broken.append(r.path)
                return {"cut": 100000}
            return {}
        self.proxy.rule = rule
        self.check_all("--require-lazy", "--fill=now")
        self.assertEqual(len(broken), 3)


class Hostile(ArtifactCase):
    """What a registry says of an artifact is refused with a reason, and the image starts all the same."""

    def artifact_of(self, change):
        """Serves the artifact's manifest changed, with the digest that it then has."""
        digest, manifest = self.artifact()
        change(manifest)
        data = json.dumps(manifest).encode()
        changed = "sha256:" + hashlib.sha256(data).hexdigest()
        entry = {"mediaType": manifest["mediaType"], "digest": changed, "size": len(data), "artifactType": ARTIFACT}
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}

        def rule(r):
            if changed in r.path:
                return {"status": 200, "body": data, "headers": {"Content-Type": manifest["mediaType"]}}
            if "/manifests/sha256-" in r.path:
                return {"status": 200, "body": json.dumps(index).encode(),
                        "headers": {"Content-Type": index["mediaType"]}}
            return None
        self.proxy.rule = rule

    def streams(self, words):
        p = self.lab.lazyrun("run", "--require-lazy", self.through, "true")
        self.assertFails(p, 125, "--require-lazy", words)
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)
        self.assertEqual(self.origins(self.through), ["tar", "tar"])
        self.assertRegex(self.lab.log(), words)

    def test_of_another_image(self):
        self.artifact_of(lambda m: m["subject"].update(digest="sha256:" + "1" * 64))
        self.streams("belongs to another image")

    def test_a_layer_without_spans(self):
        self.artifact_of(lambda m: m["layers"].pop(1))
        self.streams("without a layer index or span table")

    def test_a_size_that_is_too_large(self):
        self.artifact_of(lambda m: m["layers"][0].update(size=1 << 40))
        self.streams("passes a limit")

    def test_indexes_that_are_none(self):
        """The span table in the index's place, and the reverse."""
        def swap(m):
            for d in m["layers"]:
                for one, other in (("layer-index.v1", "spans.v1"), ("spans.v1", "layer-index.v1")):
                    if one in d["mediaType"]:
                        d["mediaType"] = d["mediaType"].replace(one, other)
                        break
        self.artifact_of(swap)
        self.streams("layer index .* is not one")

    def test_the_index_of_another_layer(self):
        """Spans and index that do not fit together."""
        def exchange(m):
            a, b = m["layers"][0], [d for d in m["layers"] if d["mediaType"] == m["layers"][0]["mediaType"]][1]
            for key in ("digest", "size"):
                a[key], b[key] = b[key], a[key]
        self.artifact_of(exchange)
        self.streams("span table .* is not one")


class Indexing(ArtifactCase):
    def test_the_same_again_is_the_same_and_sends_nothing(self):
        before = self.artifact()
        self.index("--push", image=self.through)
        self.assertEqual(self.artifact(), before)
        self.assertEqual([r for r in self.proxy.seen if r.method == "POST"], [], "a blob was sent again")

    def test_it_is_small(self):
        _, manifest = self.artifact()
        self.assertLess(sum(d["size"] for d in manifest["layers"]), self.packed * 0.025)
        self.assertEqual(manifest["subject"]["mediaType"], "application/vnd.oci.image.manifest.v1+json")

    def test_a_layout_of_one_s_own(self):
        image = f"oci:{self.lab.where}/layout:app"
        first = self.index("--push", "--quiet", image=image)
        self.assertEqual(self.index("--push", "--quiet", image=image), first)
        p = self.run_ok("run", "--require-lazy", image, *SUM_ALL)
        self.check_sums(p.stdout)

    def test_a_recorded_command_must_not_fail(self):
        image = f"oci:{self.lab.where}/layout:app"
        record = ("index", "--push", "--quiet", "--record", image, "--", "sh", "-c")
        before = self.index("--push", "--quiet", image=image)
        for code in (1, 200):
            p = self.lab.lazyrun(*record, f"exit {code}")
            self.assertFails(p, 125, f"ended with exit code {code}: nothing was recorded")
            self.assertEqual(p.stdout, "")
        self.assertEqual(self.index("--push", "--quiet", image=image), before)
        # Who is ended by --seconds may say what he likes.
        p = self.run_ok(*record[:-4], "--seconds", "1", *record[-4:], "trap 'exit 3' TERM; while :; do sleep 0.1; done")
        self.assertNotEqual(p.stdout, before)

    def test_what_makes_no_sense_is_said(self):
        for argv, words in ((["--add-record", self.image], ["--push"]),
                            ([self.image, "--", "true"], ["--record"]),
                            (["--seconds", "5", self.image], ["--record"])):
            self.assertFails(self.lab.lazyrun("index", *argv), 125, *words)


class Packs(ArtifactCase):
    index_flags = ("--push", "--record", "--", *SUM_ONE)

    def pack(self):
        """The packs' descriptors, the first one is SUM_ONE's."""
        return [d for d in self.artifact()[1]["layers"] if d["mediaType"].endswith("pack.v1")]

    @classmethod
    def index(cls, *flags, image=None):
        builder = Lab()
        try:
            at = flags.index("--") if "--" in flags else len(flags)
            return builder.lazyrun("index", *flags[:at], image or cls.image, *flags[at:], check=0).stdout
        finally:
            builder.close()

    def test_the_recorded_start_asks_for_little_but_its_pack(self):
        p = self.run_ok("run", self.through, *SUM_ONE)
        self.assertEqual(p.stdout.split()[0], hashlib.sha256(FILES["03"][:1000]).hexdigest())
        self.assertEqual(self.from_layers(), 0)
        pack = self.pack()[0]["digest"]
        self.assertEqual([r.path for r in self.proxy.blobs()].count("/v2/app/blobs/" + pack), 1)
        self.proxy.forget()
        self.run_ok("run", self.through, *SUM_ONE)
        self.assertEqual(self.proxy.seen, [])

    def test_a_pack_has_no_page_that_only_readahead_wanted(self):
        head = oci.Registry(self.lab.registry.address).request("GET", f"/v2/app/blobs/{self.pack()[0]['digest']}")[2]
        n_layers, n_frames, n_runs = struct.unpack_from("<III", head, 8)
        runs = struct.iter_unpack("<IIQ", head[24 + 32 * n_layers + 48 * n_frames:][:16 * n_runs])
        self.assertLessEqual(sum(pages for layer, pages, _ in runs if layer == 1), 2, "of the first 1000 bytes of a file")

    def test_another_start_gets_what_the_pack_lacks(self):
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)

    def test_a_pack_that_is_wrong_costs_bytes_only(self):
        pack = self.pack()[0]
        for at in (0, 100, pack["size"] // 2, pack["size"] - 1):
            self.proxy.rule = lambda r, at=at: {"corrupt": at} if pack["digest"] in r.path else None
            self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)
            self.fresh()

    def test_a_pack_that_does_not_come_is_done_without(self):
        pack = self.pack()[0]
        self.proxy.rule = lambda r: {"status": 404} if pack["digest"] in r.path else None
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)

    def test_one_more_is_added(self):
        before = self.pack()
        self.index("--push", "--add-record", "--", *SUM_ALL)
        after = self.pack()
        self.assertEqual(len(after), 2)
        self.assertIn(before[0], after)
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)
        self.assertLessEqual(self.from_layers(), MIB)


class Passing(Packs):
    """A layer of one large zstd frame: from its index and the pack, while the blob passes by."""

    forms = ("gzip", "zstd")

    def of_layer(self):
        return [r for r in self.proxy.blobs() if self.layers[1] in r.path]

    def rule(self, **act):
        self.proxy.rule = lambda r: act if self.layers[1] in r.path else None

    def test_the_recorded_start_asks_for_little_but_its_pack(self):
        """It needs nothing of the blob, which does not come."""
        self.rule(stall=True)
        p = self.run_ok("run", "--require-lazy", self.through, *SUM_ONE)
        self.assertEqual(p.stdout.split()[0], hashlib.sha256(FILES["03"][:1000]).hexdigest())
        self.assertEqual(self.origins(self.through), ["artifact", "artifact"])
        self.proxy.go.set()
        self.check_sums(self.run_ok("run", self.through, *EVERY).stdout)
        self.assertEqual(len(self.of_layer()), 1)

    def test_readers_wait_for_what_has_not_passed(self):
        self.rule(rate=6 * MIB)
        self.check_sums(self.run_ok("run", "--require-lazy", "--fill=never", self.through, *EVERY).stdout)
        self.assertEqual([r.range for r in self.of_layer()], [None])

    def test_wrong_bytes(self):
        bad = []

        def rule(r):
            if self.layers[1] not in r.path or bad:
                return None
            bad.append(r)
            return {"corrupt": 5 * MIB}
        self.proxy.rule = rule
        self.check_sums(self.run_ok("run", self.through, *EVERY).stdout)
        self.fresh()
        self.rule(corrupt=5 * MIB)
        p = self.lab.lazyrun("run", "--fill=never", self.through, "cat", "/data/07")
        self.assertIn("Input/output error", p.stderr)
        self.assertRegex(self.lab.log(), "layer .* is not what the artifact's table says at .* --trust=pinned")

    def test_the_fetcher_is_killed(self):
        self.rule(rate=6 * MIB)
        p = self.lab.start("run", "--require-lazy", self.through, *EVERY, stdin=subprocess.DEVNULL)
        wait_until("some of the blob", lambda: any(r.sent > 3 * MIB for r in self.of_layer()))
        os.kill(self.lab.status()["fetcher_pid"], signal.SIGKILL)
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 0)
        self.check_sums(out.decode())

    def test_it_becomes_a_tar(self):
        self.run_ok("run", "--fill=now", self.through, "true")
        wait_until("layers that are tars", lambda: all(k.startswith("tar-") for k in os.listdir(self.lab.store + "/layers")), 90)
        self.check_sums(self.run_ok("run", "--offline", self.through, *EVERY).stdout)
        self.run_ok("check")
