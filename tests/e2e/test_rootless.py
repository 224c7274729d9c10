"""What is special for an ordinary user: ids, mounts nobody else sees, no privilege to borrow."""
import os
import subprocess
import unittest

import oci
from lab import CONFIG, Case, Lab, tiny
from odd_image import CAP_NET_BIND
from test_run import has_ranges


class Rootless(Case):
    who = "user"

    @classmethod
    def prepare(cls):
        extra = [oci.directory("o"), oci.member("o/root", b"r", 0o600), oci.member("o/user", b"u", 0o600, uid=1000, gid=1000),
                 oci.member("o/far", b"f", 0o644, uid=60000, gid=60000),
                 oci.member("o/beyond", b"b", 0o644, uid=3000000000, gid=3000000000),
                 oci.member("o/null", mode=0o666, type=b"3", device=(1, 3)),
                 oci.member("o/suid", b"s", 0o4755), oci.member("o/cap", b"c", 0o755, xattrs={"security.capability": CAP_NET_BIND})]
        cls.image = cls.lab.image("tiny", [tiny(extra)], CONFIG)

    def test_root_inside_is_the_user_outside(self):
        here = self.lab.where + "/volume"
        os.makedirs(here, exist_ok=True)
        self.assertEqual(self.run_ok("run", "-v", f"{here}:/v", self.image, "sh", "-c", "id -u; echo x >/v/made").stdout, "0\n")
        self.assertEqual(os.stat(here + "/made").st_uid, os.geteuid())

    def test_owners_inside(self):
        if not has_ranges():
            self.skipTest("no subordinate ids")
        out = self.run_ok("run", self.image, "stat", "-c", "%u:%g", "/o/root", "/o/user", "/o/far").stdout
        self.assertEqual(out.split(), ["0:0", "1000:1000", "60000:60000"])
        self.run_ok("run", self.image, "cat", "/o/user")
        self.assertEqual(self.run_ok("run", "-u", "1000:1000", self.image, "cat", "/o/user").stdout, "u")
        self.assertEqual(self.lab.lazyrun("run", "-u", "1000:1000", self.image, "cat", "/o/root").returncode, 1)

    def test_an_owner_beyond_the_ranges(self):
        self.assertEqual(self.run_ok("run", self.image, "cat", "/o/beyond").stdout, "b")

    def test_change_of_owner(self):
        if not has_ranges():
            self.skipTest("no subordinate ids")
        out = self.run_ok("run", self.image, "sh", "-c", "chown 1000:1000 /o/root && stat -c %u /o/root && touch /new && chown 5 /new && stat -c %u /new")
        self.assertEqual(out.stdout.split(), ["1000", "5"])

    def test_one_id_alone(self):
        lab = Lab(PATH="/nowhere")  # newuidmap is not to be found
        self.addCleanup(lab.close)
        layout = f"oci:{self.lab.layout.path}:tiny"
        p = lab.lazyrun("run", layout, "sh", "-c", "id -u; stat -c %u /o/user; cat /o/user; wc -l </proc/self/uid_map", check=0)
        self.assertEqual(p.stdout.split(), ["0", "0", "u1"])

    def test_mounts_are_seen_by_unshare_only(self):
        at = self.lab.where + "/mnt"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", self.image, at)
        self.assertEqual(os.listdir(at), [])
        self.assertIn("etc", self.run_ok("unshare", "--", "ls", at).stdout.split())
        self.assertEqual(self.run_ok("unshare", "id", "-u").stdout, "0\n")
        self.assertEqual(self.lab.lazyrun("unshare", "--", "sh", "-c", "exit 3").returncode, 3)
        self.run_ok("umount", at)

    def test_devices_of_an_image_are_dead(self):
        p = self.lab.lazyrun("run", self.image, "sh", "-c", "echo x >/o/null")
        self.assertNotEqual(p.returncode, 0)
        self.run_ok("run", self.image, "sh", "-c", "echo x >/dev/null; head -c 5 /dev/urandom | wc -c")

    def test_copy_up_of_everything(self):
        out = self.run_ok("run", self.image, "sh", "-c", "for f in root suid cap; do chmod 700 /o/$f && cat /o/$f; done; echo more >>/o/root; cat /o/root")
        self.assertEqual(out.stdout, "rscrmore\n")

    def test_no_way_out(self):
        self.assertNotEqual(self.lab.lazyrun("run", self.image, "sh", "-c", "mount -t tmpfs x /tmp").returncode, 0)
        self.assertNotEqual(self.lab.lazyrun("run", self.image, "mknod", "/x", "b", "7", "0").returncode, 0)

    def test_store_and_run_directory_are_private(self):
        self.run_ok("run", self.image, "true")
        for d in (self.lab.store, self.lab.run_dir):
            self.assertEqual(os.stat(d).st_mode & 0o077, 0, d)

    def test_default_places(self):
        lab = Lab()
        self.addCleanup(lab.close)
        for name in ("LAZYRUN_STORE", "LAZYRUN_RUN_DIR"):
            del lab.environ[name]
        runtime = lab.where + "/xdg"
        os.mkdir(runtime, 0o700)
        lab.environ["XDG_RUNTIME_DIR"] = runtime
        try:
            lab.lazyrun("run", f"oci:{self.lab.layout.path}:tiny", "true", check=0)
            self.assertTrue(os.path.isdir(lab.home + "/.local/share/lazyrun/layers"))
            self.assertTrue(os.listdir(runtime + "/lazyrun"))
        finally:
            lab.lazyrun("stop-server", "--force")

    def test_doctor(self):
        out = self.run_ok("doctor").stdout
        self.assertRegex(out, "subuid|newuidmap")

    def test_leaves_no_process_behind(self):
        self.run_ok("run", self.image, "true")
        self.run_ok("stop-server")
        ps = subprocess.run(["ps", "-u", str(os.geteuid()), "-o", "args="], stdout=subprocess.PIPE, text=True).stdout
        self.assertNotIn(self.lab.run_dir, ps)


if __name__ == "__main__":
    unittest.main()
