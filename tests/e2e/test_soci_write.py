"""`lazyrun index --format soci`: what it writes, against test code that shares nothing with it; and lazy starts from it."""
import hashlib
import json
import shutil

import oci
import soci
from lab import CONFIG, Case, Lab, tiny
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20
SPAN = 4 * MIB
SUMS = ("sh", "-c", "sha256sum /data/* /more/* /plain/*")


def large(name, size):
    m = [oci.directory(name)] + [oci.member(f"{name}/{i}", noise(f"{name}{i}", size)) for i in range(4)]
    return m + [oci.member(f"{name}/cap", b"c", xattrs={"user.note": b"\x00\xff"}), oci.hardlink(f"{name}/link", f"{name}/1"),
                oci.member(f"{name}/time", b"t", mtime="1234567890.5", uid=1000)]


class SociWrite(Case):
    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny()), layout.put_layer(oci.tar(large("data", 3 * MIB))),
                  layout.put_layer(oci.tar(large("more", 3 * MIB)), "zstd"),
                  layout.put_layer(oci.tar(large("plain", 3 * MIB)), "none")]
        cls.layers = [d for d, _ in layers]
        cls.subject = layout.put_image("app", layers, CONFIG)
        cls.image = cls.lab.registry.push(layout, "app")
        cls.sums = sorted(f"{hashlib.sha256(noise(f'{d}{i}', 3 * MIB)).hexdigest()}  /{d}/{i}"
                          for d in ("data", "more", "plain") for i in range(4))

    def setUp(self):
        self.addCleanup(self.fresh)
        self.proxy = Proxy(self.lab.registry.address)
        self.addCleanup(self.proxy.close)

    def fresh(self):
        self.lab.stop_server()
        shutil.rmtree(self.lab.store, ignore_errors=True)

    def index(self, *argv, before=()):
        """By a machine of its own. Returns what it said."""
        builder = Lab()
        try:
            for b in before:
                builder.lazyrun(*b, check=0)
            return builder.lazyrun("index", "--format", "soci", *argv, check=0)
        finally:
            builder.close()

    def get(self, what):
        accept = {"Accept": oci.MANIFEST + ", " + oci.INDEX}
        return oci.Registry(self.lab.registry.address).request("GET", "/v2/app/" + what, headers=accept)[2]

    def origins(self, image):
        return [line.split()[-2] for line in self.run_ok("inspect", "--layers", image).stdout.splitlines()[1:]]

    def check_sums(self, image, *flags):
        out = sorted(self.run_ok("run", *flags, image, *SUMS).stdout.splitlines())
        self.assertEqual([line for line in out if line.rpartition("/")[2].isdigit()], self.sums)

    def test_what_it_writes(self):
        p = self.index("--push", "--quiet", self.image)
        self.assertRegex(p.stderr, r"layer sha256:\w+ stays out of the SOCI index: .*cannot be entered")
        listed = json.loads(self.get("manifests/" + self.subject["digest"].replace(":", "-")))["manifests"]
        self.assertEqual(len(listed), 1)
        data = self.get("manifests/" + listed[0]["digest"])
        self.assertEqual(p.stdout.strip(), listed[0]["digest"])
        self.assertEqual((listed[0]["artifactType"], listed[0]["size"]), (soci.INDEX[1], len(data)))
        index, layers = json.loads(data), [self.layers[1], self.layers[3]]
        ztocs = [self.get("blobs/" + d["digest"]) for d in index["layers"]]
        self.assertEqual(index, {
            "schemaVersion": 2, "mediaType": oci.MANIFEST,
            "config": {"mediaType": soci.INDEX[1], "digest": oci.sha256(b"{}"), "size": 2},
            "layers": [{"mediaType": soci.ZTOC, "digest": oci.sha256(z), "size": len(z), "annotations": {
                "com.amazon.soci.image-layer-digest": d["digest"],
                "com.amazon.soci.image-layer-mediaType": d["mediaType"],
                "com.amazon.soci.span-size": str(SPAN)}} for d, z in zip(layers, ztocs)],
            "subject": {k: self.subject[k] for k in ("mediaType", "digest", "size")},
            "annotations": {"com.amazon.soci.build-tool-identifier": "lazyrun"}})
        self.assertEqual(self.get("blobs/" + oci.sha256(b"{}")), b"{}")
        for d, form, z in zip(layers, ("gzip", "none"), ztocs):
            want, got = soci.Ztoc(self.lab.layout.read(d["digest"]), form, SPAN, padding=False), soci.ReadZtoc(z)
            self.assertEqual((got.form, got.packed_size, got.size, got.digests, got.files),
                             (form, d["size"], want.size, want.digests, list(want.shown())))
            if form == "gzip":
                self.assertEqual(got.checkpoints, want._checkpoints())
        self.starts_lazily()
        self.says_the_same_again(p.stdout)

    def starts_lazily(self):
        through = self.proxy.reference("app")
        self.run_ok("run", through, "sha256sum", "/data/1", "/plain/1")
        self.assertEqual(self.origins(through), ["tar", "soci", "tar", "soci"])
        self.assertFalse([r for r in self.proxy.blobs() if r.status == 200 and (
            self.layers[1]["digest"] in r.path or self.layers[3]["digest"] in r.path)], "a whole layer")
        self.check_sums(through)
        self.assertEqual(self.origins(through), ["tar", "soci", "tar", "soci"])

    def says_the_same_again(self, said):
        """Also when the packed bytes have left the store, and come from the registry."""
        self.proxy.forget()
        through = self.proxy.reference("app")
        p = self.index("--push", "--quiet", through, before=[("pull", "--trust=pinned", through), ("evict", through)])
        self.assertEqual(p.stdout, said)
        self.assertEqual([r for r in self.proxy.seen if r.method == "POST"], [], "a blob was sent again")

    def test_a_layout_of_one_s_own(self):
        image = f"oci:{self.lab.where}/layout:app"
        first = self.index("--push", "--quiet", image).stdout
        self.assertEqual(self.index("--push", "--quiet", image).stdout, first)
        self.check_sums(image)
        self.assertEqual(self.origins(image), ["tar", "soci", "tar", "soci"])

    def test_what_makes_no_sense_is_said(self):
        self.lab.layout.put_image("small", [self.lab.layout.put_layer(tiny())], CONFIG)
        small = self.lab.registry.push(self.lab.layout, "small")
        for argv, words in ((["--format", "soci", "--record", self.image], ["start packs"]),
                            (["--format", "nydus", self.image], ["lazyrun or soci"]),
                            (["--format", "soci", small], ["smaller than 10 MiB"])):
            self.assertFails(self.lab.lazyrun("index", *argv), 125, *words)
