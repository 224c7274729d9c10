"""What the running processes have given up: seen in /proc, as root and as an ordinary user."""
import json
import os
import shutil
import unittest

import oci
from lab import CONFIG, Case, tiny

CAP_DAC_READ_SEARCH = 1 << 2


class Sandboxed:
    @classmethod
    def prepare(cls):
        cls.image = cls.lab.image("tiny", [tiny()], CONFIG)

    def fields(self, role):
        pid = json.loads(self.run_ok("status", "--json").stdout)[role + "_pid"]
        with open(f"/proc/{pid}/status") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)

    def test_given_up(self):
        self.run_ok("run", self.image, "true")
        for role in ("fetcher", "server"):
            with self.subTest(role=role):
                f = self.fields(role)
                self.assertEqual((f["Seccomp"], f["NoNewPrivs"]), ("2", "1"))
                for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                    self.assertEqual(int(f[name], 16), 0, name)


class OfRoot(Sandboxed, Case):
    who = "root"

    @unittest.skipUnless(os.path.isdir("/sys/fs/cgroup/pids"), "no pids controller of version 1 on this host")
    def test_number_of_threads(self):
        self.run_ok("run", self.image, "true")
        pid = json.loads(self.run_ok("status", "--json").stdout)["fetcher_pid"]
        with open(f"/proc/{pid}/cgroup") as f:
            path = [line.rstrip("\n").split(":")[2] for line in f if ":pids:" in line][0]
        self.assertTrue(path.endswith("/lazyrun/serve"), path)
        with open(f"/sys/fs/cgroup/pids{path}/pids.max") as f:
            self.assertEqual(f.read(), "4096\n")

    def test_what_another_user_keeps_for_himself(self):
        """Root may read it; the fetcher keeps one capability for as long as it needs that."""
        self.lab.image("theirs", [tiny()], CONFIG)
        layout = self.lab.where + "/theirs"
        shutil.copytree(self.lab.layout.path, layout)
        for dir_path, _, names in os.walk(layout):
            for name in [".", *names]:
                os.chown(os.path.join(dir_path, name), 12345, 12345)
                os.chmod(os.path.join(dir_path, name), 0o700)
        self.run_ok("run", f"oci:{layout}:theirs", "true")
        f = self.fields("fetcher")
        self.assertEqual(int(f["CapEff"], 16), CAP_DAC_READ_SEARCH)
        shutil.rmtree(layout)
        self.lab.stop_server()
        self.test_given_up()


class OfUser(Sandboxed, Case):
    who = "user"
