"""eStargz and zstd:chunked layers: started from the table of contents that they carry, without being streamed."""
import contextlib
import glob
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import unittest
import zlib

import chaos
import estargz
import kill9
import oci
import tree
from lab import CONFIG, Case, tiny
from odd_image import CAP_NET_BIND, noise
from odd_image import layers as odd_layers
from proxy import Proxy

MIB = 1 << 20
TEXT = b"".join(b"line %d of a text that packs well\n" % i for i in range(60000))
HOLE = noise("before", 5000) + bytes(300000) + noise("after", 7777)
ONE = "usr/lib/noise-07"


def tiny_members():
    with tarfile.open(fileobj=io.BytesIO(tiny())) as t:
        return [(m, t.extractfile(m).read() if m.isreg() else b"") for m in t.getmembers()]


def base():
    m = tiny_members() + [oci.directory(d) for d in ("usr", "usr/lib", "usr/share", "odd", "gone")]
    m += [oci.member(f"usr/lib/noise-{i:02}", noise(i, 400000 + 1000 * i + i)) for i in range(16)]
    m += [oci.member(f"usr/share/{i:04}", noise(f"s{i}", i % 3000), mtime=1600000000 + i) for i in range(600)]
    m += [oci.member("usr/text", TEXT), oci.member("usr/hole", HOLE), oci.member("odd/zeros", bytes(100000))]
    m += [oci.member("odd/empty"), oci.hardlink("odd/link", "usr/text"), oci.hardlink("odd/again", "odd/link"),
          oci.symlink("odd/sym", "../usr/text"), oci.member("odd/suid", b"x" * 4096, 0o4755, 1000, 1001),
          oci.member("odd/cap", b"cap", xattrs={"security.capability": CAP_NET_BIND, "user.note": b"n" * 300}),
          oci.member("odd/time", b"t", mtime="1234567890.123456789"), oci.member("odd/exact", noise("e", 8192)),
          oci.member("odd/fifo", type=tarfile.FIFOTYPE), oci.member("no/parent/was/named", b"deep"),
          oci.member("odd/null", type=tarfile.CHRTYPE, device=(1, 3)), oci.member("gone/file", b"lower"),
          oci.member("odd/replaced", b"lower")]
    return m


def upper():
    return [oci.directory("gone"), oci.opaque("gone"), oci.whiteout("odd/empty"), oci.member("odd/replaced", noise("u", 250000)),
            oci.member("usr/share/0007", b"upper")]


def rolling(data):
    """Cut where the content says, as containers/storage does, with runs of zeros as holes."""
    cuts, at = [], 0
    for m in re.finditer(rb"\0{1024,}", data):
        cuts += pieces(data, at, m.start()) + [(m.start(), m.end() - m.start(), True)]
        at = m.end()
    return cuts + pieces(data, at, len(data))


def pieces(data, at, end):
    cuts = []
    while at < end:
        size = min(end - at, 20000 + data[at] * 301)
        cuts.append((at, size, False))
        at += size
    return cuts


KINDS = {  # name: (form, more of estargz.Layer())
    "estargz": ("estargz-51", {"landmark": ".no.prefetch.landmark"}),
    "estargz-small": ("estargz-51", {"chunk": 50001, "landmark": ".prefetch.landmark"}),
    "estargz-legacy": ("estargz-47", {}),
    "estargz-shared": ("estargz-51", {"chunk": 100000, "share": 300000}),
    "estargz-external": ("estargz-external", {}),
    "zstd-containers": ("zstd-containers", {"chunk": rolling}),
    "zstd-whole": ("zstd-containers", {"chunk": MIB}),
    "zstd-stargz": ("zstd-stargz", {"chunk": 70000}),
}


class ChunkedCase(Case):
    kinds = tuple(KINDS)

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        layout.put_image("plain", [layout.put_layer(oci.tar(m)) for m in (base(), upper())], CONFIG)
        cls.plain = cls.lab.registry.push(layout, "plain")
        cls.layers, cls.images = {}, {}
        for kind in cls.kinds:
            form, more = KINDS[kind]
            cls.layers[kind] = [estargz.Layer(m, form, **more) for m in (base(), upper())]
            layout.put_image(kind, [l.seal(layout) for l in cls.layers[kind]], CONFIG)
            cls.images[kind] = cls.lab.registry.push(layout, kind)
            if "external" in kind:
                estargz.put_external(layout, kind, cls.layers[kind])
                cls.lab.registry.push(layout, kind + "-esgztoc", kind, "latest-esgztoc")

    def setUp(self):
        self.addCleanup(self.fresh)
        self.proxy = Proxy(self.lab.registry.address)
        self.addCleanup(self.proxy.close)

    def fresh(self):
        self.lab.stop_server()
        shutil.rmtree(self.lab.store, ignore_errors=True)

    def origins(self, image):
        lines = self.run_ok("inspect", "--layers", image).stdout.splitlines()[1:]
        return [line.split()[-2] for line in lines]

    def origin_of(self, kind):
        return "estargz" if kind.startswith("estargz") else "zstd:chunked"

    def capture(self, image):
        at = self.lab.where + "/mnt"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", image, at)
        try:
            return {p: tuple(getattr(e, f) for f in tree.FIELDS) for p, e in tree.capture(at).items()}
        finally:
            self.run_ok("umount", at)

    def sums(self, image, *flags):
        """What a container reads of all files."""
        script = "find / -xdev -type f ! -path '/etc/host*' ! -path '/etc/resolv*' -exec sha256sum {} + | sort"
        return self.run_ok("run", *flags, image, "sh", "-c", script).stdout

    def from_layers(self, kind):
        digests = [l.descriptor["digest"] for l in self.layers[kind]]
        return sum(r.sent for r in self.proxy.blobs() if any(d in r.path for d in digests))


class Starts(ChunkedCase):
    def test_the_tree_is_the_streamed_one(self):
        if not self.root:
            return self.skipTest("looks at a mount from outside")
        want = self.capture(self.plain)
        for kind in self.kinds:
            with self.subTest(kind):
                got = self.capture(self.images[kind])
                self.assertEqual(self.origins(self.images[kind]), [self.origin_of(kind)] * 2)
                self.assertEqual(sorted(got), sorted(want))
                for path in want:
                    self.assertEqual(got[path], want[path], path)

    def test_one_file_costs_little(self):
        want = hashlib.sha256(noise(7, 407007)).hexdigest()
        for kind in self.kinds:
            with self.subTest(kind):
                self.proxy.forget()
                image = self.proxy.reference(kind)
                p = self.run_ok("run", "--require-lazy", "--trust=pinned", image, "sha256sum", "/" + ONE)
                self.assertEqual(p.stdout.split()[0], want)
                packed = sum(l.descriptor["size"] for l in self.layers[kind])
                self.assertLess(self.from_layers(kind), packed / 3)
                self.assertFalse([r for r in self.proxy.blobs() if r.status == 200 and r.sent > MIB], "a whole layer")
                self.proxy.forget()
                self.run_ok("run", image, "true")
                self.assertEqual(self.proxy.seen, [], "a second start asks the registry")

    def test_evicted_and_read_again(self):
        for kind in ("estargz-small", "estargz-shared", "zstd-containers"):
            with self.subTest(kind):
                image = self.proxy.reference(kind)
                want = self.sums(image)
                self.assertIn(hashlib.sha256(TEXT).hexdigest() + "  /usr/text", want)
                self.assertIn(hashlib.sha256(HOLE).hexdigest() + "  /usr/hole", want)
                self.assertEqual(self.run_ok("check").returncode, 0)
                self.run_ok("evict", image)
                self.assertEqual(self.sums(image), want)
                self.lab.stop_server()
                self.assertEqual(self.sums(image, "--pull=never"), want)
                self.run_ok("gc")
                self.assertEqual(self.sums(image), want)
                self.run_ok("rmi", image)
                self.assertEqual(os.listdir(self.lab.store + "/layers"), [])

    def test_each_byte_comes_once(self):
        for kind in ("estargz-small", "zstd-containers"):
            with self.subTest(kind):
                image = self.proxy.reference(kind)
                self.sums(image)
                seen = [(r.path, r.range) for r in self.proxy.blobs()]
                self.assertEqual(len(seen), len(set(seen)), "a range came twice")
                n_chunks = sum(len(l.entries) for l in self.layers[kind])
                self.assertLess(len(seen), n_chunks / 4, "a request for each chunk")


class Others(ChunkedCase):
    """Made by other tools, and by bad networks."""

    kinds = ("estargz-small", "zstd-containers")

    def test_made_by_skopeo(self):
        where = self.lab.where + "/skopeo"
        p = shutil.which("skopeo") and subprocess.run(
            ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-compress", "--dest-compress-format", "zstd:chunked",
             f"oci:{self.lab.layout.path}:plain", f"oci:{where}:made"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not p or p.returncode:
            return self.skipTest("skopeo does not make zstd:chunked here: " + (p.stdout.strip() if p else "not installed"))
        image = self.lab.registry.push(oci.Layout(where), "made", "skopeo")
        want = self.sums(self.plain)
        self.run_ok("rmi", self.plain)  # a layer that is here whole comes first
        self.assertEqual(self.sums(image, "--require-lazy"), want)
        self.assertEqual(self.origins(image), ["zstd:chunked"] * 2)
        if self.root:
            self.assertEqual(self.capture(image), self.capture(self.plain))

    def test_server_and_fetcher_killed_all_the_time(self):
        want = self.sums(self.plain)
        for kind in self.kinds:
            with self.subTest(kind):
                image = self.images[kind]
                self.run_ok("pull", image)
                killer = kill9.Killer(self.lab.status()["supervisor_pid"], 0.15)
                try:
                    for _ in killer.rounds(6):
                        self.assertEqual(self.sums(image), want)
                        self.run_ok("evict", image)
                finally:
                    killer.stop()
                self.assertEqual(self.origins(image), [self.origin_of(kind)] * 2)
                self.assertEqual(self.lab.lazyrun("check").returncode, 0)

    def test_storm(self):
        """A network that cuts, corrupts, refuses and answers 200 for a range: every byte is right or the read fails."""
        if not self.root:
            return self.skipTest("looks at a mount from outside")
        want = {m.name: (m.mode, hashlib.sha256(d).hexdigest()) for m, d in base()
                if m.name.startswith("usr/") and m.isreg() and m.name != "usr/share/0007"}
        for n, kind in enumerate(self.kinds):
            with self.subTest(kind):
                tally, storm = chaos.Tally(), chaos.Chaos(self.lab.registry.address, 11 + n, slow=0.0)
                try:
                    for _ in range(2):
                        with self.only_usr():
                            chaos.pull(self.lab, storm, storm.reference(kind), want, tally)
                        self.fresh()
                finally:
                    storm.close()
                self.assertEqual(tally.wrong, [])
                self.assertEqual(tally.pulls, 2)

    @contextlib.contextmanager
    def only_usr(self):
        """The part of chaos.compare() that looks for files too many knows another image."""
        compare = chaos.compare

        def ours(at, want):
            return [w for w in compare(at, want) if "not of the image" not in w]
        chaos.compare = ours
        try:
            yield
        finally:
            chaos.compare = compare

    def test_damage_is_found(self):
        image = self.images["zstd-containers"]
        want = self.sums(image)
        self.run_ok("stop-server")
        data = max(glob.glob(self.lab.store + "/layers/toc-*/data"), key=os.path.getsize)
        with open(data, "r+b") as f:
            content = f.read()
            at = content.index(noise(3, 403003)[:64])
            gap = content.index(noise(4, 404004)[:64]) - 1  # before a body: no span's
            self.assertEqual(content[gap], 0)
            f.seek(at)
            f.write(b"damage")
        p = self.lab.lazyrun("check")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertIn("do not match their digest", p.stdout)
        self.assertEqual(self.sums(image), want)
        self.run_ok("stop-server")
        with open(data, "r+b") as f:
            f.seek(gap)
            f.write(b"x")
        self.assertIn("are not zeros", self.lab.lazyrun("check").stdout)
        self.assertEqual(self.sums(image), want)
        self.assertEqual(self.lab.lazyrun("check").returncode, 0)


class Converts(ChunkedCase):
    kinds = ()

    def convert(self, to, destination, image=None):
        return self.run_ok("convert", "-q", "--to", to, image or self.plain, destination).stdout.strip()

    def check_blob(self, layout, d):
        """The layer against its own table, by code that is not lazyrun's. Returns how many chunks it has."""
        blob = layout.read(d["digest"])
        if d["mediaType"].endswith("gzip"):
            at = int(blob[-35:-19], 16)
            self.assertEqual(blob[-19:-13], b"STARGZ")
            with tarfile.open(fileobj=io.BytesIO(zlib.decompress(blob[at:], 31))) as t:
                text = t.extractfile("stargz.index.json").read()
            self.assertEqual(d["annotations"][estargz.TOC_DIGEST], oci.sha256(text))
            with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz") as t:
                self.assertEqual(t.getnames()[-1], "stargz.index.json")
        else:
            prefix = estargz.PREFIX["containers"]
            at, size, plain, _ = map(int, d["annotations"][prefix + "manifest-position"].split(":"))
            self.assertEqual(d["annotations"][prefix + "manifest-checksum"], oci.sha256(blob[at:at + size]))
            text = estargz.unzstd(blob[at:], plain)
            self.assertEqual(len(text), plain)
            self.assertEqual(blob[-8:], b"GNUlInUx")
            at, size, plain = map(int, d["annotations"][prefix + "tarsplit-position"].split(":"))
            self.assertEqual(json.loads(text)["tarSplitDigest"], oci.sha256(blob[at:at + size]))
            self.check_split(estargz.unzstd(blob[at:], plain), json.loads(text))
        return self.check_chunks(blob, json.loads(text)["entries"], d["mediaType"].endswith("gzip"))

    def check_chunks(self, blob, entries, gzipped):
        n = 0
        for i, e in enumerate(entries):
            if "offset" not in e:
                continue
            last = i + 1 == len(entries) or entries[i + 1]["type"] != "chunk"
            size = e.get("chunkSize") or e["size"]
            data = zlib.decompressobj(31).decompress(blob[e["offset"]:]) if gzipped else estargz.unzstd(blob[e["offset"]:], size)
            self.assertEqual(oci.sha256(data[:size]), e.get("chunkDigest") or e["digest"], e["name"])
            n += 1
            self.assertTrue(last or entries[i + 1]["chunkOffset"] == e.get("chunkOffset", 0) + size)
        return n

    def check_split(self, lines, toc):
        """Its segments and the files' sizes are the tar; its names are the table's."""
        split = [json.loads(line) for line in lines.splitlines()]
        self.assertEqual([s["position"] for s in split], list(range(len(split))))
        self.assertEqual([s["name"] for s in split if s["type"] == 1], [e["name"] for e in toc["entries"] if e["type"] != "chunk"])
        by_name = {e["name"]: e for e in toc["entries"] if e["type"] == "reg"}
        for s in split:
            if s["type"] == 1 and s["name"] in by_name:
                self.assertEqual(s.get("size", 0), by_name[s["name"]]["size"])

    def test_into_a_layout(self):
        for to, kind in (("estargz", "gzip"), ("zstd:chunked", "zstd")):
            with self.subTest(to):
                where = f"{self.lab.where}/made-{kind}"
                digest = self.convert(to, f"oci:{where}:v1")
                layout = oci.Layout(where)
                self.assertEqual(layout.resolve("v1")["digest"], digest)
                manifest = layout.manifest("v1")
                self.assertGreater(sum(self.check_blob(layout, d) for d in manifest["layers"]), 600)
                config = layout.config("v1")
                self.assertEqual(config["config"], CONFIG)
                packer = oci.UNPACKERS[kind]
                for d, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
                    plain = subprocess.run(packer, input=layout.read(d["digest"]), stdout=subprocess.PIPE, check=True).stdout
                    self.assertEqual(oci.sha256(plain), diff_id)
                self.assertEqual(self.convert(to, f"oci:{where}-again:v2"), digest, "not the same again")

    def test_what_it_makes_starts_lazily_and_is_the_same_tree(self):
        want = self.sums(self.plain)
        tree_wanted = self.capture(self.plain) if self.root else None
        for to in ("estargz", "zstd:chunked"):
            with self.subTest(to):
                image = f"{self.lab.registry.address}/converted:{to.replace(':', '-')}"
                self.convert(to, image)
                self.run_ok("rmi", self.plain)
                self.assertEqual(self.sums(image, "--require-lazy"), want)
                self.assertEqual(self.origins(image), [to] * 2)
                if self.root:
                    self.assertEqual(self.capture(image), tree_wanted)
                self.run_ok("rmi", image)

    def test_what_the_format_cannot_hold(self):
        """Rare members: such layers have no table, and are what they were."""
        if not self.root:
            return self.skipTest("looks at a mount from outside")
        layout = self.lab.layout
        layout.build("odd", odd_layers(), {"Cmd": ["/bin/true"]})
        odd = self.lab.registry.push(layout, "odd")
        want = self.capture(odd)
        for to in ("estargz", "zstd:chunked"):
            with self.subTest(to):
                image = f"{self.lab.registry.address}/odd:{to.replace(':', '-')}"
                self.assertIn("without a table", self.run_ok("convert", "--to", to, odd, image).stdout)
                self.run_ok("rmi", odd)
                got = self.capture(image)
                got.pop(b"stargz.index.json", None)  # of small layers, which are streamed: the format's own member
                self.assertEqual(sorted(got), sorted(want))
                self.assertEqual([p for p in want if got[p] != want[p]], [])
                self.run_ok("rmi", image)

    def test_what_makes_no_sense_is_said(self):
        for argv, words in (([self.plain, "oci:/nowhere:x"], "--to"), (["--to", "zip", self.plain, "oci:/x:y"], "estargz or zstd:chunked"),
                            (["--to", "estargz", self.plain, "oci:" + self.lab.where + "/new"], "tag"),
                            (["--to", "estargz", self.plain], "DESTINATION|operand|argument")):
            self.assertFails(self.lab.lazyrun("convert", *argv), 125, words)


class Hostile(ChunkedCase):
    """Lies: a reason, and the image starts all the same, streamed; or its reads fail, and nothing wrong is read."""

    kinds = ()

    def build(self, name, form, change, **more):
        l = estargz.Layer(base(), form, **more)
        if change:
            change(l)
        layout = self.lab.layout
        layout.put_image(name, [l.seal(layout)], CONFIG)
        return self.lab.registry.push(layout, name)

    def entry(self, l, name):
        return next(e for e in l.entries if e["name"].rstrip("/") == name)

    def streams(self, image, words):
        p = self.lab.lazyrun("run", "--require-lazy", image, "true")
        self.assertFails(p, 125, "--require-lazy", words)
        out = self.run_ok("run", image, "sha256sum", "/" + ONE).stdout
        self.assertEqual(out.split()[0], hashlib.sha256(noise(7, 407007)).hexdigest())
        self.assertEqual(self.origins(image), ["tar"])
        self.assertRegex(self.lab.log(), words)
        self.run_ok("rmi", image)  # another lie about the same tar must not find it here

    def test_tables_that_lie(self):
        def set_field(file, **fields):
            return lambda l: self.entry(l, file).update(fields)

        def overlap(l):
            next(e for e in l.entries if e["type"] == "chunk").update(chunkOffset=1)
        cases = {
            "not JSON": (lambda l: setattr(l, "toc", b"{\"version\":1,\"entries\":[{]}"), "table of contents"),
            "a version that is not known": (lambda l: l.toc.update(version=2), "version"),
            "a file behind the layer's end": (set_field("usr/text", offset=1 << 40), "usr/text.*behind|cannot be read"),
            "a huge file": (set_field("usr/text", size=1 << 62), "cannot be read"),
            "chunks that overlap": (overlap, "overlap"),
            "no digest": (lambda l: [self.entry(l, ONE).pop(k, None) for k in ("digest", "chunkDigest")], "without a digest"),
            "another digest": (set_field(ONE, chunkDigest="sha512:" + "0" * 128), "not known"),
            "a name that climbs": (set_field("odd/empty", name="../up"), r"\.\."),
            "a hard link to itself": (set_field("odd/link", linkName="odd/link"), "hard link"),
            "a hard link to what comes later": (set_field("odd/link", linkName="odd/again"), "hard link"),
            "a type nobody knows": (set_field("odd/empty", type="door"), "cannot be read"),
            "a chunk of nothing": (lambda l: l.entries.insert(0, {"type": "chunk", "offset": 1, "chunkSize": 5}), "overlap|pass"),
        }
        for n, (what, (change, words)) in enumerate(cases.items()):
            with self.subTest(what):
                form = ("estargz-51", "zstd-containers")[n % 2]
                self.streams(self.build(f"lie{n}", form, change, chunk=150000), words)

    def test_a_table_that_the_manifest_does_not_name(self):
        for form in ("estargz-51", "zstd-containers", "zstd-stargz"):
            with self.subTest(form):
                l = estargz.Layer(base(), form)
                d, diff_id = l.seal(self.lab.layout)
                for key in d["annotations"]:
                    if "digest" in key or "checksum" in key:
                        d["annotations"][key] = "sha256:" + "5" * 64
                self.lab.layout.put_image("unnamed", [(d, diff_id)], CONFIG)
                self.streams(self.lab.registry.push(self.lab.layout, "unnamed", "unnamed-" + form), "does not match the digest")

    def test_no_footer(self):
        l = estargz.Layer(base(), "estargz-51")
        d, diff_id = l.seal(self.lab.layout)
        blob = bytes(l.blob) + estargz.gz(b"")
        d = {**d, **self.lab.layout.descriptor(self.lab.layout.put(blob), d["mediaType"])}
        self.lab.layout.put_image("footless", [(d, diff_id)], CONFIG)
        self.streams(self.lab.registry.push(self.lab.layout, "footless"), "no footer")

    def test_a_digest_that_is_wrong_is_never_read(self):
        def lie(l):
            for e in l.entries:
                if e["name"] == ONE:
                    e["digest"] = e["chunkDigest"] = "sha256:" + "0" * 64
        for form in ("estargz-51", "zstd-containers"):
            with self.subTest(form):
                image = self.build("wrong-" + form, form, lie)
                p = self.lab.lazyrun("run", "--require-lazy", image, "cat", "/" + ONE)
                self.assertNotEqual(p.returncode, 0)
                self.assertEqual(p.raw, b"")
                self.assertRegex(p.stderr, "I/O error|Input/output")
                out = self.run_ok("run", image, "sha256sum", "/usr/text").stdout
                self.assertEqual(out.split()[0], hashlib.sha256(TEXT).hexdigest())

    def test_a_million_entries_in_one_directory(self):
        def many(l):
            body = b",".join(b'{"name":"many/%d","type":"reg","size":0}' % i for i in range(1 << 20))
            l.toc = b'{"version":1,"entries":[' + body + b"]}"
        image = self.build("many", "zstd-containers", many)
        p = self.run_ok("cat", image, f"/many/{(1 << 20) - 1}")
        self.assertEqual(p.stdout, "")


if __name__ == "__main__":
    unittest.main()
