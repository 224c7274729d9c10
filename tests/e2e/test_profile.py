"""What a start needs is remembered: the next one, when bytes were evicted, asks for it before its readers do."""
import os
import shutil
import threading

from lab import wait_until
from test_artifact import ArtifactCase

# The beginnings of large files, so that no guess is made of what comes next: without a profile one follows the other.
ORDER = ["05", "01", "07", "03", "06", "00"]
READ = ("sh", "-c", "for f in " + " ".join(ORDER) + "; do head -c 1000 /data/$f | sha256sum; done")
AT_ONCE = 4


class Gate:
    """Holds requests for a blob until so many are there side by side."""

    def __init__(self, digest):
        self.digest, self.n, self.closed = digest, 0, True
        self.moved = threading.Condition()

    def __call__(self, r):
        if self.digest in r.path:
            with self.moved:
                self.n += 1
                self.closed = self.closed and self.n < AT_ONCE
                self.moved.notify_all()
                if not self.moved.wait_for(lambda: not self.closed, 30):
                    return {"status": 500}
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
        self.assertFalse(gate.closed, "its readers wait one after the other")
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
        self.assertFalse(gate.closed, "its readers wait one after the other")

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


del ArtifactCase
