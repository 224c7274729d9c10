"""`lazyrun check` finds what is wrong in a store and drops it; `lazyrun gc` removes what nothing needs, and only that."""
import glob
import json
import os
import unittest

import oci
from lab import CONFIG, Case, read_until, tiny, wait_until
from odd_image import layers as odd_layers
from odd_image import noise

MIB = 1 << 20


def flip(path, at=None):
    """Changes one byte, in the middle of the file or at `at`, and says which."""
    with open(path, "r+b") as f:
        size = f.seek(0, os.SEEK_END)
        f.seek(size // 2 if at is None else at)
        at = f.tell()
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x5a]))
    return at


class StoreCase(Case):
    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        cls.plain, cls.packed = noise("check", 3 * MIB + 5), noise("packed", 2 * MIB + 7)
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar([oci.member("f", cls.plain)]), "none"),
                  layout.put_layer(oci.tar([oci.member("g", cls.packed)]), "gzip")]
        layout.put_image("check", layers, CONFIG)
        cls.layers = [f"{cls.lab.store}/layers/tar-{d[7:]}" for _, d in layers]
        cls.image = cls.lab.registry.push(layout, "check")

    def setUp(self):
        self.run_ok("pull", "-q", self.image)

    def works(self):
        p = self.run_ok("run", self.image, "sha256sum", "/f", "/g")
        self.assertEqual([line.split()[0] for line in p.stdout.splitlines()],
                         [oci.sha256(d)[7:] for d in (self.plain, self.packed)])


class Check(StoreCase):
    def check(self, *flags, code=0):
        p = self.lab.lazyrun("check", *flags)
        self.assertEqual(p.returncode, code, p.stdout + p.stderr)
        return p.stdout

    def synced(self):
        for path in self.layers:
            wait_until("have.synced", lambda path=path: os.path.exists(path + "/have.synced"))

    def finds(self, path, *words, at=None):
        """Damage at the next byte of `path`: said, left alone by --dry-run, dropped, and then all is well."""
        self.run_ok("stop-server")
        flip(path, at)
        found = json.loads(self.check("--dry-run", "--json", code=1))["problems"]
        self.assertTrue(found, path)
        for word in words:
            self.assertRegex(found[0]["what"] + ": " + found[0]["why"], word)
        self.assertIn("dropped", self.check())
        self.works()
        self.assertIn("as it should be", self.check())

    def test_a_good_store(self):
        self.works()
        self.assertIn("as it should be", self.check())

    def test_bytes_that_come_back(self):
        self.finds(self.layers[1] + "/data", "tar-", r"bytes at \d+ do not match")

    def test_bytes_of_a_compressed_layer(self):
        self.finds(self.layers[2] + "/data", "tar-", "diffID")

    def test_an_index(self):
        self.synced()
        size = os.path.getsize(self.layers[1] + "/index.erofs")
        self.finds(self.layers[1] + "/index.erofs", "index", at=size - 100)

    def test_an_index_that_was_never_synced(self):
        self.synced()
        self.run_ok("stop-server")
        flip(self.layers[2] + "/index.erofs", os.path.getsize(self.layers[2] + "/index.erofs") - 100)
        os.unlink(self.layers[2] + "/have.synced")
        self.assertIn("index", self.check("--dry-run", code=1))
        self.assertIn("dropped", self.check())
        self.works()

    def test_a_span_table(self):
        self.synced()
        self.finds(self.layers[1] + "/spans", "span table", at=100)  # in the first span's digest

    def test_a_torn_have_synced(self):
        self.synced()
        self.finds(self.layers[0] + "/have.synced", "have.synced")

    def test_blobs_and_names(self):
        for path in glob.glob(self.lab.store + "/blobs/sha256/*") + glob.glob(self.lab.store + "/names/*"):
            self.finds(path, os.path.basename(path), at=10)

    def test_a_layer_without_a_file(self):
        self.run_ok("stop-server")
        os.unlink(self.layers[2] + "/data")
        self.assertIn("missing, short or wrong", self.check())
        self.works()

    def test_the_odd_image(self):
        """Sparse files expanded behind the tar's end, hard links, xattrs: the index made anew is the same."""
        image = self.lab.image("odd-check", odd_layers(), {"Cmd": ["/bin/true"]})
        self.run_ok("pull", "-q", image)
        self.assertIn("as it should be", self.check())
        for path in glob.glob(self.lab.store + "/layers/*"):  # the last byte of an expanded file
            size, used = os.path.getsize(path + "/data"), os.stat(path + "/spans").st_size
            if (used - 16) // 72 * MIB < size - MIB:
                self.run_ok("stop-server")
                flip(path + "/data", size - 1)
                self.assertIn("sparse", self.check())
                self.run_ok("pull", "-q", image)
                self.assertIn("as it should be", self.check())
                break
        self.run_ok("rmi", image)


class Gc(StoreCase):
    def gc(self, *flags):
        return json.loads(self.run_ok("gc", "--json", *flags).stdout)

    def test_nothing_to_do(self):
        self.works()
        self.gc()
        wait_until("the container's directory is gone", lambda: not os.listdir(self.lab.store + "/removed"))
        self.assertEqual(self.gc()["removed"], [])
        self.works()
        self.assertIn("Total reclaimed space: 0 B", self.run_ok("gc").stdout)

    def test_everything_that_nothing_needs(self):
        layout, store = self.lab.layout, self.lab.store
        old = layout.put_layer(oci.tar([oci.member("old", noise("old", MIB))]), "gzip")
        layout.put_image("moving", [old], CONFIG)
        image = self.lab.registry.push(layout, "moving")
        self.run_ok("pull", "-q", image)
        layout.put_image("moving", [layout.put_layer(oci.tar([oci.member("new", b"new")]), "gzip")], CONFIG)
        self.lab.registry.push(layout, "moving")
        self.run_ok("pull", "-q", image)
        with open(store + "/tmp/" + "0" * 64 + ".part", "wb") as f:
            f.write(bytes(3 * MIB))
        os.makedirs(store + "/containers/dead/upper/x", exist_ok=True)
        with open(store + "/containers/dead/upper/x/y", "wb") as f:
            f.write(bytes(MIB))
        with open(store + "/blobs/sha256/." + "1" * 64 + ".salt", "wb") as f:
            f.write(b"x")
        before = self.gc("--dry-run")
        self.assertTrue(os.path.exists(f"{store}/layers/tar-{old[1][7:]}"))
        after = self.gc()
        self.assertEqual(after["removed"], before["removed"])
        self.assertGreater(after["freed_bytes"], 5 * MIB)
        self.assertFalse(os.path.exists(f"{store}/layers/tar-{old[1][7:]}"))
        left = os.listdir(store + "/tmp")  # packed bytes of layers that are needed: their ways back are made from them
        self.assertTrue(all(f.endswith(".part") for f in left), left)
        self.assertFalse({"0" * 64 + ".part", old[0]["digest"][7:] + ".part"} & set(left))
        self.assertFalse(os.path.exists(store + "/containers/dead/upper"))
        kinds = {r["what"].split()[0] for r in after["removed"]}
        self.assertEqual(kinds, {"layer", "blob", "leftover", "container"})
        self.assertEqual(self.run_ok("cat", "--pull=never", image, "/new").stdout, "new")
        self.works()

    def test_what_a_container_uses_stays(self):
        layout = self.lab.layout
        layout.put_image("running", [layout.put_layer(tiny(), "gzip"),
                                     layout.put_layer(oci.tar([oci.member("r", b"here")]), "gzip")], CONFIG)
        image = self.lab.registry.push(layout, "running")
        p = self.lab.start("run", "-i", image, "sh", "-c", "echo up; read x; cat /r")
        read_until(p.stdout.fileno(), b"up\n")
        layout.put_image("running", [layout.put_layer(oci.tar([oci.member("other", b"o")]), "gzip")], CONFIG)
        self.lab.registry.push(layout, "running")
        self.run_ok("pull", "-q", image)
        self.gc()
        out, _ = p.communicate(b"\n", 30)
        self.assertIn(b"here", out)
        self.assertIn("layer", [r["what"].split()[0] for r in self.gc()["removed"]], "when it has ended")

    def test_a_broken_image_is_no_excuse(self):
        layout = self.lab.layout
        layout.put_image("broken", [layout.put_layer(oci.tar([oci.member("b", noise("broken", MIB))]), "gzip")], CONFIG)
        image = self.lab.registry.push(layout, "broken")
        self.run_ok("pull", "-q", image)
        os.unlink(f"{self.lab.store}/blobs/sha256/{layout.manifest('broken')['config']['digest'][7:]}")
        kinds = [r["what"].split()[0] for r in self.gc()["removed"]]
        self.assertIn("broken", kinds)
        self.assertIn("layer", kinds)
        self.assertNotIn("broken", self.run_ok("images").stdout)
        self.works()
        self.run_ok("pull", "-q", image)


if __name__ == "__main__":
    unittest.main()
