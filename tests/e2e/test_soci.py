"""Layers with a SOCI index, of version 2 (named by the image) and 1 (beside it), start without being streamed."""
import hashlib
import json
import os
import re
import unittest

import chaos
import kill9
import oci
import soci
import test_chunked
from lab import CONFIG, Case, Lab, tiny
from odd_image import noise
from proxy import Proxy
from registry_fake import RegistryFake

SPAN = 300000
MIB = 1 << 20
BASE, UPPER = oci.tar(test_chunked.base()), oci.tar(test_chunked.upper())
PACKED = {"gzip": soci.gz, "flushed": lambda plain: soci.gz_flushed(plain, SPAN // 3),
          "members": lambda plain: soci.gz_members(plain, SPAN * 2 // 3), "uncompressed": bytes}


def packed_layer(layout, plain, form):
    """(descriptor, diffID)"""
    d = layout.descriptor(layout.put(PACKED[form](plain)), oci.LAYER + ("" if form == "uncompressed" else "+gzip"))
    return d, oci.sha256(plain)


def ztoc_of(layout, layer, **more):
    form = "gzip" if layer["mediaType"].endswith("gzip") else "none"
    return soci.Ztoc(layout.read(layer["digest"]), form, **{"span_size": SPAN, **more})


def publish(lab, name, layers, version, ztocs, registry=None):
    """An image with a SOCI index. Version 1, 2, or "2-index": only the image index knows. Returns its reference."""
    layout, registry = lab.layout, registry or lab.registry.address
    image = layout.put_image(name, layers, CONFIG)
    index = soci.put_index(layout, 1 if version == 1 else 2, ztocs, image if version == 1 else None)
    if version == 2:
        soci.annotate(layout, name, index, name)
    elif version == "2-index":
        platform = {"os": "linux", "architecture": "amd64"}
        layout.tag(name, layout.descriptor(layout.put_json({
            "schemaVersion": 2, "mediaType": oci.INDEX,
            "manifests": [{**image, "platform": platform},
                          {**index, "platform": platform,
                           "annotations": {"com.amazon.soci.image-manifest-digest": image["digest"]}}]}), oci.INDEX))
    reference = oci.Registry(registry).push(layout, name, name)
    soci.push(registry, layout, name, index, image if version == 1 else None)
    return reference


KINDS = {"v2-gzip": (2, "gzip", {}), "v2-flushed": (2, "flushed", {}), "v2-members": (2, "members", {}),
         "v2-uncompressed": (2, "uncompressed", {"span_size": SPAN | 1}), "v2-padded": (2, "gzip", {"padding": False}),
         "v2-padded-uncompressed": (2, "uncompressed", {"padding": False}), "v2-index": ("2-index", "gzip", {}),
         "v1-gzip": (1, "gzip", {"first_left_out": True}), "v1-one-span": (1, "gzip", {"span_size": 1 << 30})}


class SociCase(test_chunked.ChunkedCase):
    kinds = tuple(KINDS)

    @classmethod
    def prepare(cls):
        layout, cls.images, cls.packed = cls.lab.layout, {}, {}
        layout.put_image("plain", [layout.put_layer(t) for t in (BASE, UPPER)], CONFIG)
        cls.plain = cls.lab.registry.push(layout, "plain")
        for kind in cls.kinds:
            version, form, more = KINDS[kind]
            layers = [packed_layer(layout, t, form) for t in (BASE, UPPER)]
            cls.images[kind] = publish(cls.lab, kind, layers, version, [(d, ztoc_of(layout, d, **more)) for d, _ in layers])
            cls.packed[kind] = [d for d, _ in layers]

    def blobs_of(self, kind):
        return [r for r in self.proxy.blobs() if any(d["digest"] in r.path for d in self.packed[kind])]

    def log_says(self, pattern):
        self.assertRegex(self.lab.log(), pattern)


class Starts(SociCase):
    def test_the_tree_is_the_streamed_one(self):
        if not self.root:
            return self.skipTest("looks at a mount from outside")
        want = self.capture(self.plain)
        with open(self.layer_file("tar-", "index.erofs"), "rb") as f:
            index = f.read()
        for kind in self.kinds:
            with self.subTest(kind):
                self.fresh()
                self.assertEqual(self.capture(self.images[kind]), want)
                self.assertEqual(self.origins(self.images[kind]), ["soci"] * 2)
                key = "repo-" if kind.startswith("v1") else "toc-"
                if kind == "v2-padded":
                    continue  # a shorter layer file
                with open(self.layer_file(key, "index.erofs"), "rb") as f:
                    self.assertEqual(f.read(), index, "another index than the streamed layer's")

    def layer_file(self, key, name):
        """Of the larger one of the layers of this kind."""
        where = self.lab.store + "/layers"
        found = [f"{where}/{d}" for d in os.listdir(where)]
        self.assertTrue(all(os.path.basename(d).startswith(key) for d in found), found)
        return max((f"{d}/{name}" for d in found), key=os.path.getsize)

    def test_one_file_costs_little(self):
        want = hashlib.sha256(noise(7, 407007)).hexdigest()
        for kind in self.kinds:
            if kind == "v1-one-span":
                continue
            with self.subTest(kind):
                self.fresh()
                self.proxy.forget()
                image = self.proxy.reference(kind)
                trust = "repository" if kind.startswith("v1") else "pinned"
                p = self.run_ok("run", "--require-lazy", "--trust=" + trust, image, "sha256sum", "/" + test_chunked.ONE)
                self.assertEqual(p.stdout.split()[0], want)
                self.assertLess(sum(r.sent for r in self.blobs_of(kind)), self.packed[kind][0]["size"] / 2)
                self.assertFalse([r for r in self.blobs_of(kind) if r.status == 200], "a whole layer")
                self.proxy.forget()
                self.run_ok("run", "--trust=" + trust, image, "true")
                self.assertEqual(self.proxy.seen, [], "a second start asks the registry")

    def test_evicted_and_read_again(self):
        for kind in ("v2-gzip", "v2-uncompressed", "v1-gzip"):
            with self.subTest(kind):
                image = self.proxy.reference(kind)
                want = self.sums(image)
                self.assertIn(hashlib.sha256(test_chunked.TEXT).hexdigest() + "  /usr/text", want)
                seen = [(r.path, r.range) for r in self.blobs_of(kind)]
                self.assertEqual(len(seen), len(set(seen)), "a range came twice")
                self.assertEqual(self.run_ok("check").returncode, 0)
                self.run_ok("evict", image)
                self.assertEqual(self.sums(image), want)
                self.lab.stop_server()
                self.assertEqual(self.sums(image, "--pull=never"), want)
                self.run_ok("gc")
                self.proxy.forget()
                self.assertEqual(self.sums(image), want)
                self.assertEqual(self.proxy.seen, [])
                self.run_ok("rmi", image)
                for left in "layers", "blobs/sha256", "artifacts":
                    if os.path.isdir(f"{self.lab.store}/{left}"):
                        self.assertEqual(os.listdir(f"{self.lab.store}/{left}"), [], left)

    def test_pinned_streams_what_lies_beside(self):
        image = self.proxy.reference("v1-gzip")
        self.run_ok("run", "--trust=pinned", image, "true")
        self.assertEqual(self.origins(image), ["tar", "tar"])
        self.assertFalse([r for r in self.proxy.seen if "referrers" in r.path])
        self.fresh()
        self.assertFails(self.lab.lazyrun("run", "--trust=pinned", "--require-lazy", image, "true"), 125, "require-lazy")

    def test_server_and_fetcher_killed_all_the_time(self):
        image, want = self.images["v2-gzip"], self.sums(self.plain)
        self.run_ok("rmi", self.plain)
        self.run_ok("pull", image)
        killer = kill9.Killer(self.lab.status()["supervisor_pid"], 0.15)
        try:
            for _ in killer.rounds(6):
                self.assertEqual(self.sums(image), want)
                self.run_ok("evict", image)
        finally:
            killer.stop()
        self.assertEqual(self.origins(image), ["soci"] * 2)

    def test_storm(self):
        """A network that cuts, corrupts, refuses and answers 200 for a range: every byte is right or the read fails."""
        if not self.root:
            return self.skipTest("looks at a mount from outside")
        want = {m.name: (m.mode, hashlib.sha256(d).hexdigest()) for m, d in test_chunked.base()
                if m.name.startswith("usr/") and m.isreg() and m.name != "usr/share/0007"}
        tally, storm = chaos.Tally(), chaos.Chaos(self.lab.registry.address, 31, slow=0.0)
        self.addCleanup(storm.close)
        for _ in range(2):
            with test_chunked.Others.only_usr(self):
                chaos.pull(self.lab, storm, storm.reference("v2-gzip"), want, tally)
            self.fresh()
        self.assertEqual(tally.wrong, [])
        self.assertEqual(tally.pulls, 2)


class Choices(SociCase):
    """Which source counts, and what comes without one."""
    kinds = ()

    def setUp(self):
        super().setUp()
        self.layers = [packed_layer(self.lab.layout, t, "gzip") for t in (BASE, UPPER)]
        self.ztocs = [(d, ztoc_of(self.lab.layout, d)) for d, _ in self.layers]
        self.want = self.sums(self.plain)
        self.run_ok("rmi", self.plain)

    def test_small_layers_are_left_out(self):
        image = publish(self.lab, "left-out", self.layers, 2, self.ztocs[:1])
        self.assertEqual(self.sums(image, "--require-lazy"), self.want)
        self.assertEqual(self.origins(image), ["soci", "tar"])

    def test_ours_comes_between(self):
        builder = Lab()
        self.addCleanup(builder.close)
        for name, version, want in ("ours-2", 2, "soci"), ("ours-1", 1, "artifact"):
            image = publish(self.lab, name, self.layers, version, self.ztocs)
            builder.lazyrun("index", "--push", image, check=0)
            if version == 1:  # the list is one tag for both
                listed = self.referrers(name)
                self.assertEqual(len(listed), 2)
            self.assertEqual(self.sums(image, "--require-lazy"), self.want)
            self.assertEqual(self.origins(image), [want] * 2)

    def referrers(self, name):
        client = oci.Registry(self.lab.registry.address)
        accept = {"Accept": oci.MANIFEST + ", " + oci.INDEX}
        manifest = client.request("GET", f"/v2/{name}/manifests/latest", headers=accept)[2]
        tag = "sha256-" + hashlib.sha256(manifest).hexdigest()
        return json.loads(client.request("GET", f"/v2/{name}/manifests/{tag}", headers=accept)[2])["manifests"]

    def test_a_registry_with_the_referrers_api(self):
        for options in {}, {"filters": False}:
            with RegistryFake(**options) as fake:
                client = oci.Registry(fake.host)
                image = publish(self.lab, "api", self.layers, 1, self.ztocs, fake.host)
                del fake.manifests["api", self.lab.layout.resolve("api")["digest"].replace(":", "-")]  # no tag
                self.assertEqual(self.sums(image, "--require-lazy"), self.want)
                self.assertEqual(self.origins(image), ["soci"] * 2)
                self.fresh()

    def test_what_refers_to_an_image_is_asked_for_once(self):
        """One request for our artifact and SOCI's index, and one for the tag of registries that lack the API."""
        layout = self.lab.layout
        for options in {}, {"filters": False}, {"referrers": False}:
            for version in 0, 1, 2:
                with self.subTest((options, version)), RegistryFake(**options) as fake:
                    if version:
                        image = publish(self.lab, "once", self.layers, version, self.ztocs, fake.host)
                    else:
                        layout.put_image("once", self.layers, CONFIG)
                        image = oci.Registry(fake.host).push(layout, "once", "once")
                    fake.log.clear()
                    self.assertEqual(self.sums(image), self.want)
                    self.assertEqual(self.origins(image), ["soci" if version else "tar"] * 2)
                    self.assertEqual(len(fake.requests("/referrers/")), 1)
                    self.assertEqual(len(fake.requests("/manifests/sha256-")), 1)
                    self.fresh()

    def test_an_index_that_is_not_there(self):
        """As a tool leaves it that copies an image without what belongs to it."""
        layout = self.lab.layout
        layout.put_image("lost", self.layers, CONFIG)
        soci.annotate(layout, "lost", soci.put_index(layout, 2, self.ztocs), "lost")
        image = self.lab.registry.push(layout, "lost")
        self.assertEqual(self.sums(image), self.want)
        self.assertEqual(self.origins(image), ["tar", "tar"])
        self.log_says("starts without it: .*(not found|404|unknown|does not have)")
        self.fresh()
        self.assertFails(self.lab.lazyrun("run", "--require-lazy", image, "true"), 125, "require-lazy")

    def test_an_index_of_another_image(self):
        layout = self.lab.layout
        image = publish(self.lab, "victim", self.layers, 1, self.ztocs)
        digest = layout.resolve("victim")
        other = {**digest, "digest": "sha256:" + "1" * 64}
        index = soci.put_index(layout, 1, self.ztocs, other)
        soci.push(self.lab.registry.address, layout, "victim", index, digest)
        self.assertEqual(self.sums(image), self.want)
        self.assertEqual(self.origins(image), ["tar", "tar"])
        self.log_says("belongs to another image")

    def test_version_1_is_not_named_by_a_digest(self):
        """An annotation must not make what refers to an image into what the image vouches for, nor the other way."""
        layout = self.lab.layout
        d = layout.put_image("mixed", self.layers, CONFIG)
        index = soci.put_index(layout, 1, self.ztocs, d)
        soci.annotate(layout, "mixed", index, "mixed")
        image = self.lab.registry.push(layout, "mixed")
        soci.push(self.lab.registry.address, layout, "mixed", index)
        self.assertEqual(self.sums(image), self.want)
        self.assertEqual(self.origins(image), ["tar", "tar"])
        self.log_says("has the version 1")


def swap_digests(z):
    at = len(z.digests) // 2  # behind busybox
    z.digests[at:at + 2] = [z.digests[at + 1], z.digests[at]]


def move_span(z):
    z.points[len(z.points) // 2].off += 100


def change(name, slot, value):
    return lambda z: z.find(name).__setitem__(slot, value)


LIES = {  # the layer is streamed, and the log says why
    "overlap": (change("usr/text", 2, ("q", 512)), "lies where"),
    "past_the_end": (change("usr/hole", 3, ("q", 1 << 30)), "cannot be read"),
    "climbs": (change("usr/text", 0, "../text"), r"\.\."),
    "another_layers": (lambda z: setattr(z, "packed_size", z.packed_size + 1), "is of a layer of"),
    "sparse": (lambda z: z.find("usr/text").__setitem__(13, [{0: "GNU.sparse.map", 1: "0,1"}]), "is sparse"),
    "bomb": (lambda z: setattr(z, "size", 1 << 39), "limit|unpack to"),
    "cut": (lambda z: None, "is broken"),
}


class Lies(SociCase):
    kinds = ()

    def publish(self, name, lie, cut=0):
        layers = [packed_layer(self.lab.layout, BASE, "gzip")]
        z = ztoc_of(self.lab.layout, layers[0][0])
        lie(z)
        data = z.pack()
        return publish(self.lab, name, layers, 2, [(layers[0][0], data[:len(data) - cut])]), layers[0][0]

    def test_a_table_that_lies_is_refused(self):
        for n, (name, (lie, said)) in enumerate(LIES.items()):
            with self.subTest(name):
                image, layer = self.publish("lie" + name.replace("_", "-"), lie, 70000 if name == "cut" else 0)
                p = self.lab.lazyrun("run", "--require-lazy", image, "true")
                self.assertFails(p, 125, "layer 1 of 1", layer["digest"][:19], said, "--require-lazy")
                out = self.run_ok("run", image, "sha256sum", "/usr/text").stdout
                self.assertEqual(out.split()[0], hashlib.sha256(test_chunked.TEXT).hexdigest())
                self.assertEqual(self.origins(image), ["tar"])
                self.log_says(layer["digest"][:19] + ".*cannot start lazily: .*(" + said + ")")
                self.fresh()

    def test_spans_that_lie_are_never_read(self):
        lies = {"digests": swap_digests, "sizes": move_span}
        for name, lie in lies.items():
            with self.subTest(name):
                image, _ = self.publish("span-" + name, lie)
                p = self.lab.lazyrun("run", image, "sh", "-c", "cat /usr/lib/noise-* | sha256sum")
                self.assertIn("Input/output error", p.stderr)
                self.log_says("wrong bytes twice for layer toc-")
                self.fresh()

    def test_damage_on_the_disk_is_found_where_it_can_be(self):
        """Spans of gzip have a digest of their packed bytes alone."""
        layers = [packed_layer(self.lab.layout, BASE, "uncompressed")]
        image = publish(self.lab, "damage", layers, 2, [(layers[0][0], ztoc_of(self.lab.layout, layers[0][0]))])
        want = self.sums(image)
        self.run_ok("stop-server")
        where = self.lab.store + "/layers"
        with open(f"{where}/{os.listdir(where)[0]}/data", "r+b") as f:
            f.seek(f.read().index(noise(3, 403003)[:64]))
            f.write(b"damage")
        p = self.lab.lazyrun("check")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertIn("do not match their digest", p.stdout)
        self.assertEqual(self.sums(image), want)


SIZE = 2 << 20
ONE, TWO = noise("one", SIZE), noise("two", SIZE)


class Keys(Case):
    """An attacker's image names a good image's layer, with a zTOC of its own in which two files are exchanged."""

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        base = layout.put_layer(tiny())
        layer = packed_layer(layout, oci.tar([oci.directory("data"), oci.member("data/a", ONE), oci.member("data/b", TWO)]),
                             "gzip")
        good, evil = (ztoc_of(layout, layer[0]) for _ in range(2))
        one, two = evil.find("data/a"), evil.find("data/b")
        one[0], two[0] = two[0], one[0]
        for name, version, z in (("good2", 2, good), ("evil2", 2, evil), ("good1", 1, good), ("evil1", 1, evil)):
            setattr(cls, name, publish(cls.lab, name, [base, layer], version, [(layer[0], z)]))

    def setUp(self):
        self.addCleanup(test_chunked.ChunkedCase.fresh, self)

    def sums(self, image, *flags):
        out = self.run_ok("run", *flags, image, "sh", "-c", "sha256sum /data/a /data/b").stdout
        return [line.split()[0] for line in out.splitlines()]

    def test_each_image_sees_what_its_own_index_says(self):
        right = [hashlib.sha256(d).hexdigest() for d in (ONE, TWO)]
        for order in ("evil2", "good2", "evil1", "good1"), ("good1", "evil1", "good2", "evil2"):
            with self.subTest(order):
                for name in order:
                    want = right if name.startswith("good") else right[::-1]
                    self.assertEqual(self.sums(getattr(self, name), "--require-lazy"), want, name)
                for name in order:
                    self.run_ok("evict", getattr(self, name))
                    want = right if name.startswith("good") else right[::-1]
                    self.assertEqual(self.sums(getattr(self, name)), want, name)
                self.assertEqual(self.sums(self.evil1, "--trust=pinned"), right)
                self.assertEqual(self.sums(self.good2), right)
                test_chunked.ChunkedCase.fresh(self)

    def test_the_same_repository_of_another_registry(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        right = [hashlib.sha256(d).hexdigest() for d in (ONE, TWO)]
        self.assertEqual(self.sums(proxy.reference("evil1"), "--require-lazy"), right[::-1])
        self.assertEqual(self.sums(self.good1, "--require-lazy"), right)
        where = os.listdir(self.lab.store + "/layers")
        self.assertEqual(len([d for d in where if re.match("repo-", d)]), 2)


if __name__ == "__main__":
    unittest.main()
