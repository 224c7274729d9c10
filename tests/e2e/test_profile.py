"""What a start needs is remembered: the next one, when bytes were evicted, asks for it before its readers do."""
import os
import shutil
import threading

from lab import Lab, wait_until
from test_artifact import ArtifactCase

# The beginnings of large files, so that no guess is made of what comes next: without a profile one follows the other.
ORDER = ["05", "01", "07", "03", "06", "00"]
READ = ("sh", "-c", "for f in " + " ".join(ORDER) + "; do head -c 1000 /data/$f | sha256sum; done")


class Gate:
    """Holds requests for a blob until two are there side by side: more are not asked for ahead on a slow link."""

    def __init__(self, digest):
        self.digest, self.n, self.opened, self.late = digest, 0, False, False
        self.moved = threading.Condition()

    def __call__(self, r):
        if self.digest in r.path:
            with self.moved:
                self.n += 1
                self.opened = self.opened or self.n >= 2
                self.moved.notify_all()
                if not self.moved.wait_for(lambda: self.opened, 20):
                    self.opened = self.late = True
        return None


class Profiles(ArtifactCase):
    def profiles(self):
        return [os.path.join(d, f) for d, _, files in os.walk(self.lab.store + "/profiles") for f in files]

    def read(self, *flags):
        return self.run_ok("run", "--fill=never", *flags, self.through, *READ).stdout

    def evicted(self):
        """A store in which one start left its profile, and no bytes."""
        out = self.read()
        self.run_ok("evict", self.through)
        ranges = self.ranges()
        self.proxy.forget()
        return out, ranges

    def ranges(self):
        return sorted(r.range for r in self.proxy.blobs() if self.layers[1] in r.path)

    def test_the_next_start_asks_before_its_readers(self):
        out, ranges = self.evicted()
        self.assertEqual(len(self.profiles()), 1)
        self.proxy.rule = gate = Gate(self.layers[1])
        self.assertEqual(self.read(), out)
        self.assertTrue(gate.opened and not gate.late, "its readers wait one after the other")
        self.assertEqual(self.ranges(), ranges)

    def test_a_streamed_layer_too(self):
        out = self.read("--trust=pinned")
        self.run_ok("evict", self.through)
        self.assertEqual(self.profiles(), [], "nothing was missing")
        self.assertEqual(self.read("--trust=pinned"), out)
        self.run_ok("evict", self.through)
        self.proxy.forget()
        self.proxy.rule = gate = Gate(self.layers[1])
        self.assertEqual(self.read("--trust=pinned"), out)
        self.assertTrue(gate.opened and not gate.late, "its readers wait one after the other")

    def test_another_command_has_another(self):
        self.evicted()
        self.run_ok("run", "--fill=never", self.through, "sh", "-c", "head -c 1000 /data/02 | sha256sum")
        self.assertEqual(len(self.ranges()), 1)
        wait_until("its profile", lambda: len(self.profiles()) == 2)

    def test_it_is_kept_without_an_evict(self):
        self.read()
        wait_until("a profile", self.profiles)
        self.lab.stop_server()
        self.assertEqual(len(self.profiles()), 1)

    def test_one_that_is_wrong_is_not_used(self):
        out, _ = self.evicted()
        path = self.profiles()[0]
        with open(path, "r+b") as f:
            f.seek(60)
            f.write(b"\xff" * 16)
        self.assertEqual(self.read(), out)
        p = self.lab.lazyrun("check")
        self.assertIn("profile", p.stdout + p.stderr)
        self.assertEqual(self.profiles(), [])
        self.run_ok("check")

    def test_it_goes_with_its_image(self):
        self.evicted()
        self.run_ok("gc")
        self.assertEqual(len(self.profiles()), 1)
        self.run_ok("rmi", self.through)
        self.assertEqual(self.profiles(), [])

    def test_gc_removes_what_no_image_has(self):
        self.evicted()
        directory = os.path.dirname(self.profiles()[0])
        shutil.copytree(directory, os.path.dirname(directory) + "/" + "7" * 64)
        self.assertIn("7" * 64, self.run_ok("gc").stdout)
        self.assertEqual(os.listdir(os.path.dirname(directory)), [os.path.basename(directory)])

    def test_there_are_so_many(self):
        """LIMIT_PROFILES: of more the oldest goes."""
        self.evicted()
        first = self.profiles()[0]
        for i in range(63):
            shutil.copy(first, f"{os.path.dirname(first)}/{i:064}")
        os.utime(first, (1, 1))
        self.run_ok("run", "--fill=never", self.through, "sh", "-c", "head -c 1000 /data/02 | sha256sum")
        wait_until("its profile", lambda: not os.path.exists(first))
        self.assertEqual(len(self.profiles()), 64)

    def test_where_none_can_be_written_starts_go_on(self):
        self.run_ok("run", "--fill=never", self.through, "true")
        wait_until("a profile", self.profiles)
        shutil.rmtree(self.lab.store + "/profiles")
        with open(self.lab.store + "/profiles", "w"):
            pass
        out = self.read()
        self.run_ok("evict", self.through)
        self.assertEqual(self.read(), out)
        self.run_ok("check")
        self.run_ok("gc")
        self.assertIn("cannot be kept", self.lab.log())


class Shared(ArtifactCase):
    """What starts on one machine were seen to need goes along with the artifact, to the first start on another."""

    @classmethod
    def index(cls, *flags, image=None):
        builder = Lab()
        try:
            builder.lazyrun("index", "--push", cls.image, check=0)
            builder.lazyrun("rmi", cls.image, check=0)
            builder.lazyrun("run", "--require-lazy", "--fill=never", cls.image, *READ, check=0)
            builder.stop_server()  # as when it is left alone: what was noted is kept
            cls.said = builder.lazyrun("index", "--push", "--profiles", cls.image, check=0).stdout
            cls.again = builder.lazyrun("index", "--push", cls.image, check=0).stdout
        finally:
            builder.close()

    def profile(self):
        return [d for d in self.artifact()[1]["layers"] if d["mediaType"].endswith("profile.v1")]

    def read(self):
        return self.run_ok("run", "--require-lazy", "--fill=never", self.through, *READ).stdout

    def test_the_first_start_asks_before_its_readers(self):
        self.assertEqual(len(self.profile()), 1)
        self.assertLess(self.profile()[0]["size"], 4096)
        self.proxy.rule = gate = Gate(self.layers[1])
        self.read()
        self.assertTrue(gate.opened and not gate.late, "its readers wait one after the other")
        self.assertEqual(os.listdir(f"{self.lab.store}/profiles/{self.manifest_hex()}"),
                         [self.profile()[0]["annotations"]["vnd.lazyrun.profile.command"][7:]])

    def manifest_hex(self):
        return self.artifact()[1]["subject"]["digest"][7:]

    def test_it_is_said_and_stays(self):
        self.assertIn("profiles of 1 commands", self.said)
        self.assertIn("profiles of 1 commands", self.again)

    def test_one_that_is_wrong_or_does_not_come_is_done_without(self):
        out = self.read()
        for act in ({"status": 404}, {"corrupt": 50}):
            self.fresh()
            self.proxy.rule = lambda r, act=act: act if self.profile()[0]["digest"] in r.path else None
            self.assertEqual(self.read(), out)
            self.assertIn("a profile is left", self.lab.log())


del ArtifactCase
