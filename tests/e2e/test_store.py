"""The store under use: what is in use stays, what is removed is gone, what was damaged or cut is made anew."""
import json
import os
import signal
import subprocess
import threading
import unittest

import oci
from lab import CONFIG, Case, Lab, read_until, tiny, wait_until
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20


def layers_of(lab):
    return sorted(os.listdir(lab.store + "/layers"))


def open_files(pid):
    """The paths of a process's descriptors and mappings, below any store."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    with open(f"/proc/{pid}/maps") as f:
        found += [line.split(None, 5)[5].strip() for line in f if "/" in line]
    return found


class InUse(Case):
    @classmethod
    def prepare(cls):
        cls.image = cls.lab.image("used", [tiny()], CONFIG)

    def mount(self):
        at = self.lab.where + "/mnt"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", self.image, at)
        return at

    def test_a_running_container_keeps_its_image(self):
        p = self.lab.start("run", "-i", self.image, "sh", "-c", "echo up; read x; cat /etc/os-release")
        read_until(p.stdout.fileno(), b"up\n")
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "used", "container [0-9a-f]{12}", "end it first")
        out, _ = p.communicate(b"\n", 30)
        self.assertIn(b"tiny", out)
        self.run_ok("rmi", self.image)
        self.assertEqual(layers_of(self.lab), [])

    def test_a_mounted_image_stays(self):
        at = self.mount()
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "mounted at " + at, "umount")
        os.kill(self.lab.status()["fetcher_pid"], signal.SIGKILL)
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "mounted at " + at, "umount")
        self.run_ok("umount", at)
        self.run_ok("rmi", self.image)
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "not in the store")

    def test_a_killed_containers_lock_is_gone(self):
        p = self.lab.start("run", "-i", self.image, "sh", "-c", "echo up; read x")
        read_until(p.stdout.fileno(), b"up\n")
        p.kill()
        p.wait()
        wait_until("the image is free", lambda: self.lab.lazyrun("rmi", self.image).returncode == 0, 10)


class Leaks(Case):
    """What was removed is closed: neither disk space nor descriptors stay behind."""

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny(), "gzip"),
                  layout.put_layer(oci.tar([oci.member("f", noise("leak", 3 * MIB + 5))]), "none")]
        layout.put_image("leaks", layers, CONFIG)
        cls.image = cls.lab.registry.push(layout, "leaks")

    ROUNDS = int(os.environ.get("LAB_STORE_ROUNDS", "12"))

    def test_rounds_of_pull_evict_read_rmi(self):
        sizes = []
        for _ in range(self.ROUNDS):
            self.run_ok("pull", "-q", self.image)
            self.run_ok("evict", self.image)
            self.run_ok("cat", self.image, "/f")
            self.run_ok("rmi", self.image)
            self.assertEqual(layers_of(self.lab), [])
            status = self.lab.status()
            for who in ("fetcher_pid", "server_pid"):
                gone = [f for f in open_files(status[who]) if "/store/" in f and "deleted" in f]
                self.assertEqual(gone, [], who)
            sizes.append([len(os.listdir(f"/proc/{status[who]}/fd")) for who in ("fetcher_pid", "server_pid")] +
                         [len(os.listdir(f"/proc/{status['fetcher_pid']}/task"))])
        self.assertLessEqual(max(s[0] for s in sizes[1:]), sizes[0][0] + 4, sizes)
        self.assertLessEqual(max(s[1] for s in sizes[1:]), sizes[0][1] + 2, sizes)
        self.assertLessEqual(max(s[2] for s in sizes), 16, sizes)


if __name__ == "__main__":
    unittest.main()
