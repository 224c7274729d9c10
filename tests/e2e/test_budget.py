"""The byte budget is held while a container reads, and what it reads is right all the while."""
import contextlib
import os
import unittest

import oci
from lab import CONFIG, Case, read_until, tiny, wait_until
from odd_image import noise

MIB = 1 << 20
BUDGET = 12 * MIB


def used(lab):
    blocks = 0
    for part in ("layers", "blobs", "tmp"):
        for top, _, files in os.walk(f"{lab.store}/{part}"):
            for f in files:
                with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                    blocks += os.lstat(os.path.join(top, f)).st_blocks
    return blocks * 512


class Budget(Case):
    lab_environ = {"LAZYRUN_BUDGET": str(BUDGET)}

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        cls.files = {f"{i:02}": noise(f"budget{i}", 2 * MIB + 999 * i) for i in range(16)}
        layers = [layout.put_layer(tiny(), "gzip")]
        names = sorted(cls.files)
        for part in (names[:8], names[8:]):
            layers.append(layout.put_layer(oci.tar([oci.member("data/" + n, cls.files[n]) for n in part]), "none"))
        layout.put_image("budget", layers, CONFIG)
        cls.image = cls.lab.registry.push(layout, "budget")

    def test_held_while_a_container_reads(self):
        """Rounds of reading everything past the cache of the kernel."""
        script = ("echo up; for round in 1 2 3 4; do for f in /data/*; do "
                  "dd if=$f bs=32k iflag=direct 2>/dev/null | sha256sum; done; echo round; done")
        self.run_ok("run", self.image, "sh", "-c", "dd if=/data/00 bs=32k iflag=direct of=/dev/null")
        p = self.lab.start("run", self.image, "sh", "-c", script)
        out = read_until(p.stdout.fileno(), b"round\n")
        wait_until("within the budget while it reads", lambda: used(self.lab) <= BUDGET)
        rest, _ = p.communicate(timeout=120)
        got = [line.split()[0].decode() for line in (out + rest).splitlines() if b" " in line]
        self.assertEqual(got, 4 * [oci.sha256(self.files[n])[7:] for n in sorted(self.files)])
        wait_until("within the budget", lambda: used(self.lab) <= BUDGET)
        self.assertIn("as it should be", self.run_ok("check").stdout)

    def test_a_way_back_is_made_before_packed_bytes_go(self):
        data = noise("gzipped", 16 * MIB)
        image = self.lab.image("gzipped", [tiny(), oci.tar([oci.member("f", data)])], CONFIG)
        self.run_ok("pull", "-q", image)
        wait_until("within the budget", lambda: used(self.lab) <= BUDGET)
        self.assertEqual(self.run_ok("run", image, "sha256sum", "/f").stdout.split()[0], oci.sha256(data)[7:])
        self.assertNotIn("kept", self.run_ok("evict", image).stdout)
        self.run_ok("rmi", image)

    def test_what_has_no_way_back_is_kept(self):
        """A frame that is larger than a span cannot be entered."""
        data = noise("kept", 80 * MIB)
        image = self.lab.image("kept", [tiny(), oci.tar([oci.member("f", data)])], CONFIG, form="zstd")
        self.run_ok("pull", "-q", image)
        wait_until("the other image has gone", lambda: used(self.lab) < 80 * MIB + 6 * MIB)
        self.assertEqual(self.run_ok("run", image, "sha256sum", "/f").stdout.split()[0], oci.sha256(data)[7:])
        self.run_ok("rmi", image)

    def test_left_over_packed_bytes_go_first(self):
        part = f"{self.lab.store}/tmp/{'0' * 64}.part"
        with open(part, "wb") as f:
            f.write(b"x" * BUDGET)
        self.run_ok("pull", "-q", self.image)
        wait_until("it is gone", lambda: not os.path.exists(part))


class Wrong(Case):
    lab_environ = {"LAZYRUN_BUDGET": "20Q"}

    def test_a_wrong_budget_is_said(self):
        self.assertFails(self.lab.lazyrun("status"), 0)
        self.assertFails(self.lab.lazyrun("pull", "oci:/nowhere"), 125, "LAZYRUN_BUDGET is '20Q'", "K, M, G or T")


if __name__ == "__main__":
    unittest.main()
