"""What the running processes have given up: seen in /proc, as root and as an ordinary user."""
import json
import unittest

import oci
from lab import CONFIG, Case, tiny

CAP_DAC_READ_SEARCH = 1 << 2  # root's fetcher reads the layouts of other users


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
                    self.assertEqual(int(f[name], 16) & ~(CAP_DAC_READ_SEARCH if role == "fetcher" else 0), 0, name)


class OfRoot(Sandboxed, Case):
    who = "root"


class OfUser(Sandboxed, Case):
    who = "user"
