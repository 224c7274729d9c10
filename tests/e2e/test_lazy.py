"""The lazy path: evicted bytes of an uncompressed layer come back by range, verified, once; whoever
waits can be killed and disturbs nobody; processes that die or stop are survived or named."""
import contextlib
import gzip
import hashlib
import os
import signal
import statistics
import subprocess
import threading
import time
import unittest

import oci
from lab import CONFIG, DEADLINE, Case, Lab, end_process, port_open, read_until, tiny, wait_until
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20
# A process that reads in one of three ways, after it has said its pid.
READER = """
import ctypes, mmap, os, sys
path, how = sys.argv[1:]
print(os.getpid(), flush=True)
if how == "mmap":
    with open(path, "rb") as f:
        m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    x = m[len(m) // 2]
elif how == "direct":
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    x = os.readv(fd, [mmap.mmap(-1, 65536)])
else:
    with open(path, "rb", buffering=0) as f:
        x = f.read(65536)
print("read", flush=True)
"""

# Reads a file in the way that is named, and says its sha256: each asks the kernel for its pages in another way.
WAYS = {
    "read": "while b := os.read(fd, 5000): out(b)",
    "read of much": "while b := os.read(fd, 1 << 20): out(b)",
    "backwards": "[parts.insert(0, os.pread(fd, 9000, at)) for at in range(size // 9000 * 9000, -1, -9000)]",
    "mmap": "out(mmap.mmap(fd, 0, prot=mmap.PROT_READ)[:])",
    "mmap, page by page": "m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); [m[at] for at in range(size - 1, 0, -12288)]; out(m[:])",
    "willneed": "m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); m.madvise(mmap.MADV_WILLNEED); out(m[:])",
    "populate": "m = mmap.mmap(fd, 0, mmap.MAP_SHARED | 0x8000, mmap.PROT_READ); out(m[:])",
    "fadvise": "os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED); out(os.read(fd, size))",
    "random": "os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM); out(os.read(fd, size))",
    "sendfile": "while os.sendfile(to.fileno(), fd, None, 1 << 20): pass",
    "splice": "r, w = os.pipe()\nwhile n := os.splice(fd, w, 65536): out(os.read(r, n))",
    "direct": "fd = os.open(path, os.O_RDONLY | os.O_DIRECT); b = mmap.mmap(-1, 12288)\n"
              "while n := os.readv(fd, [b]): out(b[:n])",
}
READ_SO = """
import hashlib, mmap, os, sys, tempfile
path, how = sys.argv[1:]
fd, to, parts = os.open(path, os.O_RDONLY), tempfile.TemporaryFile(), []
size, out = os.fstat(fd).st_size, parts.append
exec(how)
to.seek(0)
print(hashlib.sha256(to.read() + b"".join(parts)).hexdigest())
"""


class LazyCase(Case):
    """An image of an uncompressed layer with 20 files of 2 MiB and some, behind a proxy."""

    N = 20

    @classmethod
    def prepare(cls):
        cls.files = {f"{i:02}": noise(f"lazy{i}", 2 * MIB + 1000 * i + 1) for i in range(cls.N)}
        m = [oci.directory("data")] + [oci.member("data/" + n, d) for n, d in cls.files.items()]
        present = [oci.directory("here")] + [oci.member(f"here/{i:03}", noise(f"here{i}", 300000)) for i in range(120)]
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar(m), "none"),
                  layout.put_layer(oci.tar(present), "gzip")]
        layout.put_image("lazy", layers, CONFIG)
        cls.layer = layers[1][0]["digest"]
        cls.lab.registry.push(layout, "lazy")
        cls.sums = {n: hashlib.sha256(d).hexdigest() for n, d in cls.files.items()}

    def setUp(self):
        self.proxy = Proxy(self.lab.registry.address)
        self.addCleanup(self.lab.stop_server)
        self.addCleanup(self.proxy.close)
        self.image = self.proxy.reference("lazy")
        self.run_ok("pull", self.image)
        self.evict()

    def evict(self):
        """Drops the bytes, and with the server every page the kernel has of them. Those of the compressed layers,
        where the programs are, come back at once."""
        self.run_ok("evict", self.image)
        self.run_ok("run", self.image, "find", "/", "-xdev", "-type", "f", "-not", "-path", "/data/*",
                    "-exec", "cat", "{}", "+")
        self.run_ok("stop-server", "--force")
        self.proxy.forget()

    def ranges(self):
        return [r for r in self.proxy.blobs() if self.layer in r.path]

    def mount(self, name="mnt"):
        at = f"{self.lab.where}/{name}"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", self.image, at)
        self.addCleanup(self.lab.lazyrun, "umount", at)
        return at

    def view(self, *argv):
        """The argv that runs a host command where mounts are seen."""
        return list(argv) if self.root else self.lab.argv("unshare", "--", *argv)

    def check_sums(self, out):
        got = {os.path.basename(path): digest for digest, path in (line.split() for line in out.splitlines())}
        self.assertEqual(got, self.sums)


class Ranges(LazyCase):
    SCRIPT = "sha256sum /data/*"

    def test_each_span_once(self):
        self.check_sums(self.run_ok("run", self.image, "sh", "-c", self.SCRIPT).stdout)
        got = self.ranges()
        self.assertTrue(got)
        self.assertTrue(all(r.range and r.range[1] is not None and r.status == 206 for r in got), got)
        spans = sorted(r.range for r in got)
        for (_, end), (start, _) in zip(spans, spans[1:]):
            self.assertGreater(start, end, "two requests have bytes in common")
        size = os.path.getsize(self.lab.layout.blob_path(self.layer))
        self.assertLessEqual(sum(e - s + 1 for s, e in spans), size)

    def test_evicted_bytes_leave_memory_too(self):
        """The server runs on, so the kernel has all pages; and a mount keeps the files open."""
        self.mount()
        self.run_ok("run", self.image, "sh", "-c", self.SCRIPT)
        self.proxy.forget()
        self.run_ok("run", self.image, "sh", "-c", self.SCRIPT)
        self.assertEqual(self.ranges(), [])
        self.run_ok("evict", self.image)

        def read_again():
            self.check_sums(self.run_ok("run", self.image, "sh", "-c", self.SCRIPT).stdout)
            return self.ranges()
        wait_until("reads that fetch again", read_again)

    def test_only_what_is_read(self):
        self.run_ok("run", self.image, "sh", "-c", "head -c 10 /data/07 >/dev/null")
        self.assertLessEqual(sum(r.sent for r in self.ranges()), 3 * MIB)

    def test_refused_readahead_is_no_error(self):
        """Readahead of which not all is here is refused; whatever way a program reads in, it never hears of it."""
        at = self.mount()
        self.proxy.rule = lambda r: {"delay": 0.01} if r.range else None
        for name, (way, how) in zip(self.files, WAYS.items()):
            with self.subTest(way):
                p = subprocess.run(self.view("/usr/bin/python3", "-c", READ_SO, f"{at}/data/{name}", how),
                                   stdout=subprocess.PIPE, env=self.lab.environ, timeout=DEADLINE)
                self.assertEqual(p.stdout.decode().strip(), self.sums[name])
        name = list(self.files)[len(WAYS)]
        out = self.run_ok("run", self.image, "sh", "-c", f"echo more >>/data/{name}; sha256sum /data/{name}").stdout
        self.assertEqual(out.split()[0], hashlib.sha256(self.files[name] + b"more\n").hexdigest(), "copied up")

    def test_many_readers_of_one_span(self):
        self.proxy.rule = lambda r: {"delay": 0.3} if r.range else None
        script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sha256sum /data/03 & done; wait"
        out = self.run_ok("run", self.image, "sh", "-c", script).stdout
        self.assertEqual({line.split()[0] for line in out.splitlines()}, {self.sums["03"]})
        self.assertEqual(len(out.splitlines()), 12)
        spans = [r.range for r in self.ranges()]
        self.assertEqual(len(spans), len(set(spans)), spans)

    def test_fetcher_killed_all_the_time(self):
        self.proxy.rule = lambda r: {"delay": 0.05} if r.range else None
        over, killed = threading.Event(), []

        def killer():
            while not over.wait(0.2):
                with contextlib.suppress(Exception):
                    pid = self.lab.status()["fetcher_pid"]
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        thread = threading.Thread(target=killer)
        p = self.lab.start("run", self.image, "sh", "-c", self.SCRIPT + "; sleep 3; /bin/true && echo done")
        thread.start()
        try:
            out, _ = p.communicate(timeout=DEADLINE)
        finally:
            over.set()
            thread.join()
        self.assertEqual(p.returncode, 0, out)
        lines = out.decode().splitlines()
        self.assertEqual(lines.pop(), "done")
        self.check_sums("\n".join(lines))
        self.assertGreaterEqual(len(set(killed)), 3, "too few kills to say anything")
        # What was on its way when the fetcher died is asked for again, nothing else.
        spans = [r.range for r in self.ranges()]
        self.assertLessEqual(len(spans) - len(set(spans)), 16 * len(killed))
        for s in set(spans):
            self.assertLessEqual(spans.count(s), 1 + len(killed))

    def test_server_killed_while_reading(self):
        self.proxy.rule = lambda r: {"delay": 0.05} if r.range else None
        p = self.lab.start("run", self.image, "sh", "-c", self.SCRIPT)
        wait_until("some ranges", lambda: len(self.ranges()) > 2)
        for _ in range(3):
            pid = self.lab.status()["server_pid"]
            os.kill(pid, signal.SIGKILL)
            wait_until("a new server", lambda: self.lab.status()["server_pid"] not in (0, None, pid))
        out, _ = p.communicate(timeout=DEADLINE)
        self.assertEqual(p.returncode, 0, out)
        self.check_sums(out.decode())

    def test_programs_are_executed_from_evicted_layers(self):
        layout = self.lab.layout
        layout.build("evicted", [tiny([oci.member("own", b"no other image has this layer")])], CONFIG, form="none")
        self.lab.registry.push(layout, "evicted")
        image = self.proxy.reference("evicted")
        self.run_ok("pull", image)
        self.run_ok("evict", image)
        self.run_ok("stop-server", "--force")
        self.proxy.forget()
        self.assertEqual(self.run_ok("run", image, "sh", "-c", "echo works | cat").stdout, "works\n")
        self.assertTrue(self.proxy.blobs())

    def test_a_corrupt_span_is_never_shown(self):
        self.proxy.rule = lambda r: {"corrupt": 5 * MIB} if r.range else None
        p = self.lab.lazyrun("run", self.image, "sh", "-c", self.SCRIPT)
        self.assertNotEqual(p.returncode, 0)
        good = 0
        for line in p.stdout.splitlines():
            digest, path = line.split()
            self.assertEqual(digest, self.sums[os.path.basename(path)])
            good += 1
        self.assertGreaterEqual(good, self.N - 3)
        self.assertIn("Input/output", p.stderr + p.stdout)
        self.proxy.rule = None
        self.check_sums(self.run_ok("run", self.image, "sh", "-c", self.SCRIPT).stdout)

    def test_a_registry_that_is_away_for_a_while(self):
        port = int(self.proxy.address.rsplit(":", 1)[1])
        self.proxy.close()
        p = self.lab.start("run", self.image, "sh", "-c", "sha256sum /data/05; sha256sum /data/06")
        waiting = lambda: self.lab.status().get("waiting")  # none before there is a server
        wait_until("a read that waits", waiting)
        self.assertRegex(waiting(), "no connection")
        self.assertRegex(self.run_ok("status").stdout, "reads wait: .*no connection")
        self.assertRegex(self.lab.log(), "readers wait, at most 600 seconds")
        self.assertIsNone(p.poll())
        self.proxy = Proxy(self.lab.registry.address, port=port)
        self.addCleanup(self.proxy.close)
        out, _ = p.communicate(timeout=DEADLINE)
        self.assertEqual([line.split()[0] for line in out.decode().splitlines()], [self.sums["05"], self.sums["06"]])
        self.assertEqual(waiting(), "")

    def test_reads_do_not_wait_for_ever(self):
        self.proxy.close()
        p = self.lab.lazyrun("run", "--read-timeout=1", self.image, "cat", "/data/05")
        self.assertEqual(p.returncode, 1)
        self.assertIn("Input/output", p.stderr)
        self.assertFails(self.lab.lazyrun("run", "--read-timeout=soon", self.image, "true"), 125, "--read-timeout=soon")

    def test_offline(self):
        """What is here works, what is missing fails at once, and nobody is connected to: for a layout neither."""
        self.proxy.forget()
        self.assertEqual(self.run_ok("run", "--offline", self.image, "echo", "here").stdout, "here\n")
        p = self.lab.lazyrun("run", "--offline", self.image, "cat", "/data/05")
        self.assertEqual(p.returncode, 1)
        self.assertIn("Input/output", p.stderr)
        self.assertRegex(self.lab.log(), "--offline")
        self.assertFails(self.lab.lazyrun("run", "--offline", self.proxy.reference("other"), "true"), 125, "--pull=never|offline")
        self.assertFails(self.lab.lazyrun("pull", "--offline", "--pull=always", self.image), 125, "exclude")
        self.assertEqual(self.proxy.seen, [])
        self.assertTrue(self.run_ok("run", self.image, "sha256sum", "/data/05").stdout.startswith(self.sums["05"]))

    def test_a_blob_that_is_gone_is_an_io_error(self):
        self.proxy.rule = lambda r: {"status": 404} if r.is_blob else None
        p = self.lab.lazyrun("run", self.image, "cat", "/data/05")
        self.assertEqual(p.returncode, 1)
        self.assertIn("Input/output", p.stderr)
        self.assertRegex(self.lab.log(), "404")

    def test_a_registry_that_knows_no_ranges(self):
        def rule(r):
            if r.range:
                r.range = None
                return {"status": 200, "body": self.blob(), "headers": {"Content-Type": "application/octet-stream"}}
            return None
        self.proxy.rule = rule
        p = self.lab.lazyrun("run", self.image, "sha256sum", "/data/05")
        if p.returncode == 0:  # taken out of the whole body: fine; refused: fine; wrong bytes: never
            self.assertTrue(p.stdout.startswith(self.sums["05"]))

    def blob(self):
        with open(self.lab.layout.blob_path(self.layer), "rb") as f:
            return f.read()


class Compressed(Case):
    """Layers of gzip, of many gzip members and of many zstd frames: dropped, and fetched again span by span."""

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        text = b"".join(b"line %d of a text that packs well, %d\n" % (i, i * i % 977) for i in range(150000))
        cls.files = {f"{i:02}": noise(f"packed{i}", 700001) + text[i * 1000:i * 1000 + 900000] for i in range(8)}
        plain = oci.tar([oci.directory("data")] + [oci.member("data/" + n, d) for n, d in cls.files.items()])
        cls.sums = {n: hashlib.sha256(d).hexdigest() for n, d in cls.files.items()}
        pieces = [plain[i:i + 300000] for i in range(0, len(plain), 300000)]
        blobs = {"gzip": gzip.compress(plain, 6, mtime=0),
                 "members": b"".join(gzip.compress(p, 6, mtime=0) for p in pieces),
                 "frames": b"".join(subprocess.run(["zstd", "-q", "-c"], input=p, stdout=subprocess.PIPE,
                                                   check=True).stdout for p in pieces)}
        cls.layers = {}
        for name, blob in blobs.items():
            digest, size = layout.put(blob), len(blob)
            suffix = "zstd" if name == "frames" else "gzip"
            layer = {"mediaType": f"application/vnd.oci.image.layer.v1.tar+{suffix}", "digest": digest, "size": size}
            cls.layers[name] = (digest, size)
            layout.put_image(name, [layout.put_layer(tiny([oci.member("of", name.encode())]), "gzip"),
                                    (layer, "sha256:" + hashlib.sha256(plain).hexdigest())], CONFIG)
            cls.lab.registry.push(layout, name)

    def setUp(self):
        self.proxy = Proxy(self.lab.registry.address)
        self.addCleanup(self.lab.stop_server)
        self.addCleanup(self.proxy.close)

    def read(self, name, kill=False):
        p = self.lab.start("run", "-q", self.proxy.reference(name), "sh", "-c", "cd /data; sha256sum *")
        while kill and p.poll() is None:
            os.kill(self.lab.status()["fetcher_pid"], signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(0.3)
        out = p.communicate(timeout=DEADLINE)[0].decode()
        self.assertEqual(p.returncode, 0, out)
        self.assertEqual({path: digest for digest, path in (line.split() for line in out.splitlines())}, self.sums)

    def test_span_by_span(self):
        for name, (digest, size) in self.layers.items():
            with self.subTest(name):
                image = self.proxy.reference(name)
                self.run_ok("pull", "-q", image)
                self.run_ok("evict", image)
                self.assertEqual([f for f in os.listdir(self.lab.store + "/tmp") if f.endswith(".part")], [])
                self.run_ok("stop-server", "--force")
                self.proxy.forget()
                self.run_ok("run", "-q", image, "head", "-c", "10", "/data/05")
                some = [r for r in self.proxy.blobs() if digest in r.path]
                wait_until("answers to guesses, too", lambda: all(r.status for r in some))
                self.assertTrue(some and all(r.range and r.status == 206 for r in some), some)
                self.assertLess(sum(r.sent for r in some), size / 4)
                self.read(name)
                got = [r.range for r in self.proxy.blobs() if digest in r.path]
                self.assertEqual(len(got), len(set(got)), "a span was fetched twice")
                self.run_ok("check")
                self.run_ok("rmi", image)

    def test_fetcher_killed_meanwhile(self):
        for name in self.layers:
            with self.subTest(name):
                image = self.proxy.reference(name)
                self.run_ok("pull", "-q", image)
                self.run_ok("evict", image)
                self.proxy.rule = lambda r: {"delay": 0.05} if r.range else None
                self.read(name, kill=True)
                self.proxy.rule = None
                self.run_ok("rmi", image)

    def test_in_idle_time_too(self):
        """Packed bytes that were kept go when the way back is made."""
        self.run_ok("pull", "-q", self.proxy.reference("gzip"))
        wait_until("no packed bytes", lambda: not [f for f in os.listdir(self.lab.store + "/tmp") if f.endswith(".part")])
        self.assertNotIn("kept", self.run_ok("evict", self.proxy.reference("gzip")).stdout)
        self.read("gzip")
        self.run_ok("rmi", self.proxy.reference("gzip"))

    def test_wrong_bytes_are_never_shown(self):
        image = self.proxy.reference("members")
        self.run_ok("pull", "-q", image)
        self.run_ok("evict", image)
        self.run_ok("run", "-q", image, "true")
        self.proxy.rule = lambda r: {"corrupt": self.layers["members"][1] // 2} if r.range else None
        p = self.lab.lazyrun("run", "-q", image, "sh", "-c", "sha256sum /data/*")
        self.assertNotEqual(p.returncode, 0)
        self.assertIn("Input/output", p.stderr)
        self.proxy.rule = None
        self.read("members")
        self.run_ok("rmi", image)


class Parked(LazyCase):
    """Readers that wait for bytes that do not come."""

    def reader(self, path, how):
        """Starts a reader; returns (Popen, its pid)."""
        p = subprocess.Popen(self.view("/usr/bin/python3", "-c", READER, path, how), stdout=subprocess.PIPE,
                             env=self.lab.environ)
        self.addCleanup(p.stdout.close)
        self.addCleanup(end_process, p)
        return p, int(read_until(p.stdout.fileno(), b"\n").split()[0])

    def assertDiesAtOnce(self, p, pid, how):
        start = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        p.wait(10)
        took = time.monotonic() - start
        self.assertLess(took, 1, f"{how}: it took {took:.1f} s to die")

    def test_kill_9_ends_a_waiting_reader(self):
        self.proxy.rule = lambda r: {"stall": True} if r.range else None
        at = self.mount()
        for i, how in enumerate(("read", "mmap", "direct")):
            with self.subTest(how):
                p, pid = self.reader(f"{at}/data/{i:02}", how)
                self.assertTrue(self.proxy.stalled.acquire(timeout=30), "no range was asked for")
                wait_until("the reader to be parked", lambda: self.lab.status()["parked_reads"])
                self.assertIsNone(p.poll())
                self.assertDiesAtOnce(p, pid, how)
        self.proxy.rule = None
        self.proxy.go.set()
        out = subprocess.run(self.view("sha256sum", f"{at}/data/00"), stdout=subprocess.PIPE, env=self.lab.environ,
                             timeout=DEADLINE).stdout
        self.assertTrue(out.decode().startswith(self.sums["00"]))

    def test_kill_9_through_the_containers_overlay(self):
        if not self.root:
            self.skipTest("another process's /proc/PID/root needs root")
        self.proxy.rule = lambda r: {"stall": True} if r.range else None
        c = self.lab.start("run", self.image, "sh", "-c", "echo up; exec sleep 1002")
        read_until(c.stdout.fileno(), b"up")
        inside = wait_until("the container", lambda: pid_of(b"sleep\0001002\0"))
        for i, how in enumerate(("read", "mmap", "direct")):
            with self.subTest(how):
                p, pid = self.reader(f"/proc/{inside}/root/data/1{i}", how)
                self.assertTrue(self.proxy.stalled.acquire(timeout=30), "no range was asked for")
                time.sleep(0.1)
                self.assertIsNone(p.poll())
                self.assertDiesAtOnce(p, pid, how)
        os.kill(inside, signal.SIGKILL)
        self.assertEqual(c.wait(30), 137)

    def test_parked_readers_slow_nobody(self):
        at = self.mount()
        program = ("import sys, time\n"
                   "for path in sys.argv[1:]:\n"
                   "    t = time.perf_counter()\n"
                   "    with open(path, 'rb', buffering=0) as f:\n"
                   "        while f.read(65536): pass\n"
                   "    print(time.perf_counter() - t)\n")

        def read_present(numbers):
            paths = [f"{at}/here/{i:03}" for i in numbers]
            out = subprocess.run(self.view("/usr/bin/python3", "-c", program, *paths), stdout=subprocess.PIPE,
                                 env=self.lab.environ, timeout=DEADLINE, check=True).stdout
            return [float(x) for x in out.split()]
        without = read_present(range(0, 60))
        self.proxy.rule = lambda r: {"stall": True} if r.range else None
        for i in range(40):  # 20 files, two spans of each
            path = f"{at}/data/{i % 20:02}"
            script = f"import os\nfd = os.open({path!r}, os.O_RDONLY)\nprint(1, flush=True)\nos.pread(fd, 4096, {(i // 20) * (MIB + 500000)})"
            p = subprocess.Popen(self.view("/usr/bin/python3", "-c", script), stdout=subprocess.PIPE, env=self.lab.environ)
            self.addCleanup(p.stdout.close)
            self.addCleanup(end_process, p)
            read_until(p.stdout.fileno(), b"1")
        wait_until("40 parked readers", lambda: self.lab.status()["parked_reads"] >= 40)
        with_parked = read_present(range(60, 120))
        a, b = statistics.median(without), statistics.median(with_parked)
        self.assertLess(b, 2 * a + 0.002, f"median {1000 * b:.2f} ms with parked readers, {1000 * a:.2f} ms without")


def pid_of(cmdline):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read() == cmdline:
                    return int(pid)
        except OSError:
            pass
    return None


class KeptUpper(Case):
    """What copy-up writes down about the file below must be right after the server has changed."""

    who = "root"

    def test_after_a_restart_with_other_numbers(self):
        lab = self.lab
        files = {f"f{i}": noise(f"kept{i}", 50000 + i) for i in range(8)}
        image = lab.image("kept", [tiny([oci.directory("d")] + [oci.member(f"d/{n}", d) for n, d in files.items()])], CONFIG)
        other = lab.image("other", [tiny([oci.directory("d")] + [oci.member(f"d/o{i}", b"%d" % i) for i in range(300)]),
                                    oci.tar([oci.member("x", b"x")])], CONFIG)
        lower, merged = lab.where + "/lower", lab.where + "/merged"
        os.mkdir(lower)
        os.mkdir(merged)
        # Not index=on: it wants the handle of the lower root itself unchanged, and that has the image's number.
        for options in ("xino=on", "xino=on,redirect_dir=on,metacopy=on"):
            with self.subTest(options):
                top = lab.where + "/" + options.replace("=", "-").replace(",", "_")
                os.makedirs(top + "/upper")
                os.makedirs(top + "/work")

                def overlay():
                    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                                    f"lowerdir={lower},upperdir={top}/upper,workdir={top}/work,{options}", merged], check=True)
                lab.lazyrun("mount", image, lower, check=0)
                overlay()
                os.chmod(merged + "/d/f0", 0o600)
                with open(merged + "/d/f1", "ab") as f:
                    f.write(b"more")
                os.rename(merged + "/d/f2", merged + "/d/renamed")
                os.utime(merged + "/d", (1, 1))
                subprocess.run(["umount", merged], check=True)
                lab.lazyrun("umount", lower, check=0)
                lab.lazyrun("stop-server", check=0)
                lab.lazyrun("run", other, "true", check=0)  # takes the first numbers of the new server
                lab.lazyrun("mount", image, lower, check=0)
                overlay()
                try:
                    want = {**files, "f1": files["f1"] + b"more", "renamed": files["f2"]}
                    del want["f2"]
                    self.assertEqual(sorted(os.listdir(merged + "/d")), sorted(want))
                    for n, data in want.items():
                        with open(f"{merged}/d/{n}", "rb") as f:
                            self.assertEqual(f.read(), data, n)
                    self.assertEqual(os.stat(merged + "/d/f0").st_mode & 0o777, 0o600)
                finally:
                    subprocess.run(["umount", merged], check=True)
                    lab.lazyrun("umount", lower, check=0)
                    lab.lazyrun("stop-server", check=0)


class Stopped(Case):
    """A process that hangs (SIGSTOP): every command ends by its deadline and names it."""

    TIMEOUT = 4

    def setUp(self):
        self.lab = Lab(LAZYRUN_TIMEOUT=str(self.TIMEOUT))
        self.addCleanup(self.lab.close)
        self.image = self.lab.image("tiny", [tiny()], CONFIG)
        self.lab.lazyrun("run", self.image, "true", check=0)
        self.at = self.lab.where + "/mnt"
        os.mkdir(self.at)

    def commands(self):
        return (["images"], ["status"], ["inspect", self.image], ["ls", self.image, "/etc"], ["cat", self.image, "/etc/passwd"],
                ["run", self.image, "true"], ["mount", self.image, self.at], ["pull", self.image])

    def check(self, pid, names, seconds):
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: os.kill(pid, signal.SIGCONT))
        named = 0
        for argv in self.commands():
            with self.subTest(argv[0]):
                start = time.monotonic()
                try:
                    p = self.lab.lazyrun(*argv, seconds=seconds)
                except subprocess.TimeoutExpired:
                    self.fail(f"not over after {time.monotonic() - start:.0f} s")
                if p.returncode:
                    self.assertFails(p, 125, names)
                    named += 1
        self.assertTrue(named, "nothing noticed")

    def test_stopped_server(self):
        self.check(self.lab.status()["server_pid"], "server", self.TIMEOUT + 15)

    def test_a_signal_before_the_command(self):
        """Init waits for a silent server: who asks the command to end does not wait with it."""
        pid = self.lab.status()["server_pid"]
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: os.kill(pid, signal.SIGCONT))
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                p = self.lab.start("--timeout=300", "run", self.image, "true")
                wait_until("init", lambda: open(f"/proc/{p.pid}/task/{p.pid}/children").read().strip())
                p.send_signal(number)
                self.assertIn(p.wait(60), (128 + number, -number))  # to a shell the same

    def test_stopped_fetcher(self):
        self.check(self.lab.status()["fetcher_pid"], "fetcher|server", self.TIMEOUT + 15)

    def test_stopped_supervisor(self):
        self.check(self.lab.status()["supervisor_pid"], "server|supervisor", self.TIMEOUT + 15)

    def test_stopped_registry(self):
        registry = self.lab.registry
        os.kill(registry.process.pid, signal.SIGSTOP)
        self.addCleanup(lambda: os.kill(registry.process.pid, signal.SIGCONT))
        self.lab.lazyrun("run", self.image, "true", check=0)
        start = time.monotonic()
        p = self.lab.lazyrun("pull", f"{registry.address}/other", seconds=150)
        self.assertFails(p, 125, registry.address)
        self.assertLess(time.monotonic() - start, 120)
        self.assertTrue(port_open(registry.port))  # it listens, and says nothing


if __name__ == "__main__":
    unittest.main()
