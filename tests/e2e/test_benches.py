"""Short versions of the benches that try what goes wrong: a cut of the power, a full disk, failing system calls."""
import os
import shutil
import subprocess
import unittest

from lab import LAZYRUN, TOP, Case


class Benches(Case):
    who = "root"

    def bench(self, name, *argv):
        p = subprocess.run([f"{TOP}/bench/{name}", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=170, env={**os.environ, "LAZYRUN": LAZYRUN})
        self.assertEqual(p.returncode, 0, p.stdout[-4000:])
        self.assertRegex(p.stdout, r"wrong: 0: ok")

    def test_power_cut(self):
        if not os.path.exists("/dev/loop-control") or not shutil.which("mkfs.xfs"):
            self.skipTest("no loop devices, or no mkfs.xfs")
        self.bench("power_cut", "--copies", "5", "--seed", "1")

    def test_full_disk(self):
        self.bench("full_disk", "--step", "448")

    def test_failing_system_calls(self):
        if not shutil.which("strace"):
            self.skipTest("no strace")
        self.bench("inject", "--story", "run", "--calls", "open,mmap,clone,send", "--places", "3")


if __name__ == "__main__":
    unittest.main()
