"""An attacker's image names a good image's layer, with a config, diffIDs, an artifact and a registry of its own: the good
image never sees a byte of it, and it reads nothing of the good one's that it does not have itself."""
import hashlib
import json
import unittest

import oci
from lab import CONFIG, Case, Lab, tiny
from odd_image import noise
from proxy import Proxy

SIZE = 2 << 20
ONE, TWO = noise("one", SIZE), noise("two", SIZE)
SUM_ONE, SUM_TWO = (hashlib.sha256(d).hexdigest() for d in (ONE, TWO))
READ = ("sh", "-c", "sha256sum /data/a /data/b")
SECRET = noise("secret", 300000)


def data(first, second):
    """Two files of one size: what is exchanged has the same bytes at the same places under other names."""
    return oci.tar([oci.directory("data"), oci.member("data/" + first, ONE), oci.member("data/" + second, TWO)])


class Keys(Case):
    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        base = layout.put_layer(tiny(), "gzip")
        cls.good_layer = layout.put_layer(data("a", "b"), "gzip")
        layout.put_image("good", [base, cls.good_layer], CONFIG)
        layout.put_image("twin", [base, layout.put_layer(data("b", "a"), "gzip")], CONFIG)
        layout.put_image("evil", [base, cls.good_layer], {**CONFIG, "Env": CONFIG["Env"] + ["EVIL=1"]})
        secret = layout.put_layer(oci.tar([oci.member("secret", SECRET)]), "gzip")
        cls.mine = layout.put_layer(oci.tar([oci.member("mine", noise("mine", 300000))]), "gzip")
        cls.secret_layer = secret
        layout.put_image("secret", [base, secret], CONFIG)
        cls.base = base
        for name in "good", "twin", "evil", "secret":
            setattr(cls, name, cls.lab.registry.push(layout, name))
        builder = Lab()
        try:
            for image in cls.good, cls.twin:
                builder.lazyrun("index", "--push", image, check=0)
        finally:
            builder.close()
        cls.registry = oci.Registry(cls.lab.registry.address)
        cls.forge()

    @classmethod
    def get(cls, repository, kind, name):
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}
        status, _, body = cls.registry.request("GET", f"/v2/{repository}/{kind}/{name}", headers=accept)
        assert status == 200, (repository, name, status)
        return body

    @classmethod
    def put(cls, repository, blob):
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        path = f"{cls.lab.where}/blob"
        with open(path, "wb") as f:
            f.write(blob)
        cls.registry.put_blob(repository, digest, path)

    @classmethod
    def artifact(cls, repository):
        digest = hashlib.sha256(cls.get(repository, "manifests", "latest")).hexdigest()
        listed = json.loads(cls.get(repository, "manifests", "sha256-" + digest))["manifests"]
        return json.loads(cls.get(repository, "manifests", listed[-1]["digest"]))

    @classmethod
    def forge(cls):
        """The attacker's artifact of the good layer: its spans, with the index in which the names are exchanged."""
        good, twin = cls.artifact("good"), cls.artifact("twin")
        is_index = lambda d: "layer-index" in d["mediaType"]
        theirs = [d for d in twin["layers"] if is_index(d)][-1]
        ours = [d for d in good["layers"] if is_index(d)][-1]
        assert ours["digest"] != theirs["digest"]
        ours.update(digest=theirs["digest"], size=theirs["size"])
        manifest = cls.get("evil", "manifests", "latest")
        digest = hashlib.sha256(manifest).hexdigest()
        good["subject"].update(digest="sha256:" + digest, size=len(manifest))
        for d in good["layers"] + [good["config"]]:
            for repository in "good", "twin":
                status, _, blob = cls.registry.request("GET", f"/v2/{repository}/blobs/{d['digest']}")
                if status == 200:
                    cls.put("evil", blob)
                    break
        forged = json.dumps(good).encode()
        name = "sha256:" + hashlib.sha256(forged).hexdigest()
        cls.registry.put_manifest("evil", name, forged, good["mediaType"])
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                 "manifests": [{"mediaType": good["mediaType"], "digest": name, "size": len(forged),
                                "artifactType": good["artifactType"]}]}
        cls.registry.put_manifest("evil", "sha256-" + digest, json.dumps(index).encode(), index["mediaType"])

    def setUp(self):
        self.addCleanup(self.fresh)

    def fresh(self):
        for image in [i["reference"] for i in json.loads(self.run_ok("images", "--json").stdout)]:
            self.lab.lazyrun("rmi", image)
        self.run_ok("gc")

    def sums(self, image, *flags):
        out = self.run_ok("run", *flags, image, *READ).stdout
        return [line.split()[0] for line in out.splitlines()]

    def test_an_index_of_ones_own(self):
        """What the attacker's artifact says counts for the attacker's image alone, in any order."""
        self.assertEqual(self.sums(self.evil, "--require-lazy"), [SUM_TWO, SUM_ONE])  # the forgery does work
        self.assertEqual(self.sums(self.good), [SUM_ONE, SUM_TWO])
        self.assertEqual(self.sums(self.evil), [SUM_TWO, SUM_ONE])
        self.run_ok("evict", self.good)
        self.run_ok("evict", self.evil)
        self.assertEqual(self.sums(self.good), [SUM_ONE, SUM_TWO])
        self.assertEqual(self.sums(self.good, "--trust=pinned"), [SUM_ONE, SUM_TWO])

    def test_the_good_one_first(self):
        self.assertEqual(self.sums(self.good, "--require-lazy"), [SUM_ONE, SUM_TWO])
        self.assertEqual(self.sums(self.evil, "--require-lazy"), [SUM_TWO, SUM_ONE])
        self.assertEqual(self.sums(self.good), [SUM_ONE, SUM_TWO])

    def test_pinned_does_not_ask_the_forger(self):
        self.assertEqual(self.sums(self.evil, "--trust=pinned"), [SUM_ONE, SUM_TWO])

    def test_the_same_repository_of_another_registry(self):
        """The keys say the host too: a proxy is one that may answer what it likes."""
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        self.assertEqual(self.sums(proxy.reference("evil"), "--require-lazy"), [SUM_TWO, SUM_ONE])
        self.assertEqual(self.sums(self.good, "--require-lazy"), [SUM_ONE, SUM_TWO])
        before = len(proxy.blobs())
        self.assertEqual(self.sums(self.evil, "--require-lazy"), [SUM_TWO, SUM_ONE])
        self.assertEqual(len(proxy.blobs()), before)

    def forge_image(self, name, layers):
        self.lab.layout.put_image(name, [self.base, *layers], CONFIG)
        return self.lab.registry.push(self.lab.layout, name)

    def test_a_diff_id_that_is_not_its_own(self):
        """Neither does a blob take the place of another layer, nor does naming a layer's diffID give its bytes."""
        blob, diff_id = self.mine[0], self.secret_layer[1]
        thief = self.forge_image("thief", [(blob, diff_id)])
        for before in (), (self.secret,):
            for image in before:
                self.run_ok("run", image, "true")
            with self.subTest(secret_is_here=bool(before)):
                p = self.lab.lazyrun("run", thief, "cat", "/secret")
                self.assertEqual(p.raw, b"")
                self.assertFails(p, 125, "the image config says", "layer 2 of 2")
        out = self.run_ok("run", self.secret, "sha256sum", "/secret").stdout
        self.assertEqual(out.split()[0], hashlib.sha256(SECRET).hexdigest())

    def test_the_same_layer_packed_otherwise(self):
        """It is shared once its own blob was seen to unpack to the layer."""
        plain = oci.tar([oci.member("secret", SECRET)])
        other = self.lab.layout.put_layer(plain, "zstd")
        self.assertEqual(other[1], self.secret_layer[1])
        image = self.forge_image("other", [other])
        self.run_ok("run", self.secret, "true")
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        through = proxy.reference("other")
        for blobs in 1, 0:
            proxy.forget()
            self.run_ok("run", "--pull=always", through, "true")
            self.assertEqual(sum(other[0]["digest"] in r.path for r in proxy.blobs()), blobs)
        self.run_ok("run", image, "true")

    def test_a_blob_of_another_layers_digest(self):
        """A registry that serves other bytes under a good layer's digest harms nobody."""
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        wrong = self.lab.layout.read(self.mine[0]["digest"])
        proxy.rule = lambda r: ({"status": 200, "body": wrong} if self.secret_layer[0]["digest"] in r.path else None)
        self.assertFails(self.lab.lazyrun("run", "--trust=pinned", proxy.reference("secret"), "true"), 125, "digest|bytes")
        out = self.run_ok("run", self.secret, "sha256sum", "/secret").stdout
        self.assertEqual(out.split()[0], hashlib.sha256(SECRET).hexdigest())


if __name__ == "__main__":
    unittest.main()
