"""What a crash of the machine may leave behind: torn and empty files of the store are never believed.

A new boot is made by writing another boot's id into the store's file "boot".
"""
import glob
import os
import subprocess
import unittest

import oci
from lab import CONFIG, Case, tiny, wait_until
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20


def new_boot(lab):
    """As if the machine had been started anew."""
    lab.lazyrun("stop-server", "--force", check=0)
    with open(lab.store + "/boot", "w") as f:
        f.write("00000000-0000-0000-0000-000000000000\n")


def layer(lab, diff_id):
    return f"{lab.store}/layers/tar-{diff_id[7:]}"


class NewBoot(Case):
    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        cls.data = noise("crash", 3 * MIB + 5)
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar([oci.member("f", cls.data)]), "none")]
        layout.put_image("crash", layers, CONFIG)
        cls.packed, cls.diff_ids = layers[0][0]["digest"], [d for _, d in layers]
        cls.lab.registry.push(layout, "crash")
        cls.proxy = Proxy(cls.lab.registry.address)
        cls.addClassCleanup(cls.proxy.close)
        cls.image = cls.proxy.reference("crash")

    def setUp(self):
        self.addCleanup(self.lab.lazyrun, "rmi", self.image)
        self.run_ok("pull", "-q", self.image)

    def works(self, requests=None):
        self.proxy.forget()
        p = self.run_ok("run", self.image, "sha256sum", "/f")
        self.assertEqual(p.stdout.split()[0], oci.sha256(self.data)[7:])
        if requests is not None:
            self.assertEqual(len(self.proxy.blobs()), requests, self.proxy.blobs())

    def synced(self):
        for d in self.diff_ids:
            wait_until("have.synced", lambda d=d: os.path.exists(layer(self.lab, d) + "/have.synced"))

    def test_what_was_synced_in_idle_time_stays(self):
        self.synced()
        new_boot(self.lab)
        self.works(requests=0)

    def test_the_end_of_the_server_syncs(self):
        self.run_ok("stop-server")
        self.synced()
        new_boot(self.lab)
        self.works(requests=0)

    def test_what_was_not_synced_is_fetched_again(self):
        new_boot(self.lab)
        for d in self.diff_ids:
            os.unlink(layer(self.lab, d) + "/have.synced")
        for name in ("data", "have", "index.erofs"):  # torn: zeros where bytes were
            path = layer(self.lab, self.diff_ids[1]) + "/" + name
            size = os.path.getsize(path)
            os.truncate(path, 0)
            os.truncate(path, size)
        self.works(requests=2)

    def test_torn_small_files(self):
        self.synced()
        for change in (lambda size: b"", lambda size: bytes(size)):
            new_boot(self.lab)
            for path in glob.glob(self.lab.store + "/names/*") + glob.glob(self.lab.store + "/blobs/sha256/*"):
                size = os.path.getsize(path)
                with open(path, "wb") as f:
                    f.write(change(size))
            with open(self.lab.store + "/version", "wb") as f:
                f.write(change(2))
            self.works()

    def test_torn_packed_bytes(self):
        """A .part of the right size with wrong bytes would be blamed on the registry."""
        new_boot(self.lab)
        subprocess.run(["rm", "-rf", layer(self.lab, self.diff_ids[0])], check=True)
        with open(f"{self.lab.store}/tmp/{self.packed[7:]}.part", "wb") as f:
            f.truncate(5000)
        self.works()


if __name__ == "__main__":
    unittest.main()
