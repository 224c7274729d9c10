"""The store under use: what is in use stays, what is removed is gone, what was damaged or cut is made anew."""
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import unittest

import oci
from lab import CONFIG, Case, read_until, tiny, wait_until
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


def anonymous_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:"))


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
        self.assertEqual(layers_of(self.lab), [], "also what lost its name")

    def test_a_mounted_image_stays(self):
        at = self.mount()
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "mounted at " + at, "umount")
        os.kill(self.lab.status()["fetcher_pid"], signal.SIGKILL)
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "mounted at " + at, "umount")
        self.run_ok("umount", at)
        self.run_ok("rmi", self.image)
        self.assertFails(self.lab.lazyrun("rmi", self.image), 125, "not in the store")

    def test_a_container_whose_tag_was_moved_keeps_its_layers(self):
        layout, first = self.lab.layout, oci.tar([oci.member("first", b"first\n" * 1000)])
        shared = layout.put_layer(tiny(), "gzip")
        layout.put_image("moved", [shared, layout.put_layer(first, "gzip")], CONFIG)
        image = self.lab.registry.push(layout, "moved")
        p = self.lab.start("run", "-i", image, "sh", "-c", "echo up; read x; exec cat /first /bin/sed | wc -c")
        read_until(p.stdout.fileno(), b"up\n")
        layout.put_image("moved", [shared, layout.put_layer(oci.tar([oci.member("second", b"2")]), "gzip")], CONFIG)
        self.lab.registry.push(layout, "moved")
        self.run_ok("pull", "--pull=always", image)
        self.run_ok("rmi", image)
        out, _ = p.communicate(b"\n", 30)
        self.assertGreater(int(out), 100000, out)

    def test_a_killed_containers_lock_is_gone(self):
        p = self.lab.start("run", "-i", self.image, "sh", "-c", "echo up; read x")
        read_until(p.stdout.fileno(), b"up\n")
        p.kill()
        p.wait()
        wait_until("the image is free", lambda: self.lab.lazyrun("rmi", self.image).returncode == 0, 10)


class Killed(Case):
    """kill -9 of the fetcher in the middle of a stream: the next one goes on where the file ends."""

    @classmethod
    def prepare(cls):
        cls.files = {f"{i}": noise(f"killed{i}", 4 * MIB) for i in range(3)}
        layout = cls.lab.layout
        layers = [layout.put_layer(oci.tar([oci.member(n, d)]), "gzip") for n, d in cls.files.items()]
        layout.put_image("killed", layers, CONFIG)
        cls.digests = [d["digest"] for d, _ in layers]
        cls.lab.registry.push(layout, "killed")

    def test_killed_while_streaming(self):
        proxy = Proxy(self.lab.registry.address, lambda r: {"rate": 4 * MIB} if r.is_blob else None)
        self.addCleanup(proxy.close)
        self.run_ok("status")
        p = self.lab.start("pull", "-q", proxy.reference("killed"))
        kills = 0
        while p.poll() is None and kills < 6:
            sent = sum(r.sent for r in proxy.blobs())
            wait_until("more bytes", lambda: p.poll() is not None or sum(r.sent for r in proxy.blobs()) > sent + MIB)
            if p.poll() is None:
                os.kill(self.lab.status()["fetcher_pid"], signal.SIGKILL)
                kills += 1
        out, _ = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 0, out)
        self.assertGreaterEqual(kills, 3)
        blobs = [r for r in proxy.blobs() if any(d in r.path for d in self.digests)]
        self.assertTrue(any(r.range and r.range[0] > 0 for r in blobs), blobs)
        whole = sum(os.path.getsize(self.lab.layout.blob_path(d)) for d in self.digests)
        # What was sent and not written when the fetcher died is sent again: sockets' buffers at most.
        self.assertLess(sum(r.sent for r in blobs), whole + kills * 3 * 5 * MIB // 2)
        for n, d in self.files.items():
            self.assertEqual(self.run_ok("cat", proxy.reference("killed"), "/" + n).raw, d)
        # They stay until their checkpoints are made.
        wait_until("no packed bytes", lambda: not [f for f in os.listdir(self.lab.store + "/tmp") if f.endswith(".part")])


class Wide(Case):
    """A large layer from a host that gives each connection only so much, and from one that knows no ranges."""

    SIZE = 112 << 20

    @classmethod
    def prepare(cls):
        data = noise("wide", cls.SIZE)
        cls.sum = hashlib.sha256(data).hexdigest()
        layout = cls.lab.layout
        layer = layout.put_layer(tiny([oci.member("f", data)]), "none")
        cls.layer = layer[0]["digest"]
        layout.put_image("wide", [layer], CONFIG)
        cls.lab.registry.push(layout, "wide")

    def pull(self, rule):
        proxy = Proxy(self.lab.registry.address, lambda r: rule(r) if self.layer in r.path else None)
        self.addCleanup(proxy.close)
        self.addCleanup(shutil.rmtree, self.lab.store)
        self.addCleanup(self.lab.stop_server)
        image = proxy.reference("wide")
        self.run_ok("pull", "-q", image)
        self.assertEqual(self.run_ok("run", image, "sha256sum", "/f").stdout.split()[0], self.sum)
        return [r for r in proxy.blobs() if self.layer in r.path]

    def test_several_connections(self):
        ranges = sorted(r.range for r in self.pull(lambda r: {"rate": 20e6}))
        self.assertGreater(len(ranges), 8)
        self.assertTrue(all(a[1] + 1 == b[0] for a, b in zip(ranges, ranges[1:])), f"{ranges}: gaps, or bytes came twice")

    def test_one_that_breaks(self):
        cut = []

        def rule(r):
            if r.range[0] > 40 << 20 and not cut:
                cut.append(r)
                return {"cut": 1 << 20}
            return {"rate": 20e6}
        self.pull(rule)
        self.assertEqual(len(cut), 1)

    def test_no_ranges(self):
        self.assertEqual(len(self.pull(lambda r: {"whole": True})), 1)


class Odd(Case):
    """Images that are valid, or nearly."""

    def put(self, name, layers, diff_ids=None):
        layout = self.lab.layout
        layout.put_image(name, layers, CONFIG)
        return self.lab.registry.push(layout, name)

    def test_the_same_layer_twice_and_an_empty_one(self):
        layout = self.lab.layout
        one = layout.put_layer(oci.tar([oci.member("a", b"a")]), "gzip")
        two = layout.put_layer(oci.tar([oci.whiteout("a"), oci.member("b", b"b")]), "gzip")
        empty = layout.put_layer(oci.tar([]), "gzip")
        image = self.put("twice", [one, two, empty, one, empty])
        self.assertEqual(self.run_ok("ls", image, "/").stdout.split(), ["a", "b"])
        self.assertEqual(self.run_ok("cat", image, "/a").stdout, "a")

    def test_256_layers(self):
        layout = self.lab.layout
        layers = [layout.put_layer(oci.tar([oci.member(f"f{i:03}", b"%d" % i)]), "gzip") for i in range(257)]
        image = self.put("many", layers[:256])
        self.assertEqual(len(self.run_ok("ls", image, "/").stdout.split()), 256)
        self.assertEqual(self.run_ok("cat", image, "/f255").stdout, "255")
        image = self.put("toomany", layers)
        self.assertFails(self.lab.lazyrun("pull", image), 125, "256")

    def test_a_layer_of_no_bytes(self):
        layout = self.lab.layout
        digest = layout.put(b"")
        layer = (layout.descriptor(digest, "application/vnd.oci.image.layer.v1.tar"), digest)
        image = self.put("nothing", [layer, layout.put_layer(oci.tar([oci.member("a", b"a")]), "none")])
        self.assertEqual(self.run_ok("cat", image, "/a").stdout, "a")
        self.run_ok("evict", image)
        self.assertEqual(self.run_ok("cat", image, "/a").stdout, "a")

    def test_one_blob_with_two_diff_ids(self):
        layout = self.lab.layout
        descriptor, diff_id = layout.put_layer(oci.tar([oci.member("x", b"secret")]), "gzip")
        other = layout.put_layer(oci.tar([oci.member("y", b"y")]), "gzip")
        image = self.put("diffids", [(descriptor, diff_id), (descriptor, oci.sha256(b"wrong"))])
        for _ in range(2):
            p = self.lab.lazyrun("pull", image)
            self.assertFails(p, 125, "layer 2 of 2", "diffI[dD]|config says")
        self.assertFails(self.lab.lazyrun("run", "--pull=never", image, "true"), 125, "not in the store")
        self.assertEqual(len([k for k in layers_of(self.lab) if diff_id[7:] in k]), 1)
        self.assertFalse([k for k in layers_of(self.lab) if oci.sha256(b"wrong")[7:] in k], other)


class Races(Case):
    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        base = layout.put_layer(oci.tar([oci.member("base", noise("racebase", 2 * MIB))]), "none")
        cls.images = []
        for i in range(4):
            layout.put_image(f"race{i}", [base, layout.put_layer(oci.tar([oci.member("own", b"%d" % i)]), "gzip")], CONFIG)
            cls.images.append(cls.lab.registry.push(layout, f"race{i}"))
        cls.base = noise("racebase", 2 * MIB)

    def test_pulls_reads_evicts_and_removals_at_once(self):
        ends = threading.Event()
        wrong, done = [], []

        def puller(image, n):
            while not ends.is_set():
                p = self.lab.lazyrun("cat", image, "/own")
                if p.returncode != 0 or p.stdout != str(n):
                    wrong.append((image, p.returncode, p.stdout, p.stderr))
                p = self.lab.lazyrun("cat", image, "/base")
                if p.returncode == 0 and p.raw != self.base:
                    wrong.append((image, "other bytes"))
                elif p.returncode != 0:
                    wrong.append((image, p.returncode, p.stderr))
                done.append(image)

        def disturber(*argv):
            while not ends.is_set():
                p = self.lab.lazyrun(*argv)
                if p.returncode != 0 and not any(t in p.stderr for t in ("not in the store", "being fetched")):
                    wrong.append((argv, p.returncode, p.stderr))

        threads = [threading.Thread(target=puller, args=(image, i)) for i, image in enumerate(self.images[:3])]
        threads += [threading.Thread(target=disturber, args=("evict", self.images[1])),
                    threading.Thread(target=disturber, args=("pull", "-q", self.images[3])),
                    threading.Thread(target=disturber, args=("rmi", self.images[3]))]
        for t in threads:
            t.start()
        ends.wait(float(os.environ.get("LAB_RACE_SECONDS", "5")))
        ends.set()
        for t in threads:
            t.join()
        self.assertEqual(wrong[:5], [])
        self.assertGreater(len(done), 6)
        self.assertNotRegex(self.lab.log(), "Sanitizer|signal (6|7|11) ")


class Damaged(Case):
    """Files of the store that are cut or changed, under a running server and a stopped one."""

    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        cls.other = noise("other", 300000)
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar([oci.member("f", cls.other)]), "none")]
        layout.put_image("damaged", layers, CONFIG)
        cls.key = "tar-" + layers[1][1][7:]
        cls.image = cls.lab.registry.push(layout, "damaged")

    def works(self, why):
        p = self.lab.lazyrun("run", self.image, "sha256sum", "/f")
        self.assertEqual((p.returncode, p.stdout.split()[:1]), (0, [oci.sha256(self.other)[7:]]), (why, p.stderr))

    def test_cut_files(self):
        self.works("at first")
        for running in (True, False):
            for name in ("index.erofs", "spans", "have", "data"):
                for size in (0, 100, 4096):
                    with self.subTest(f"{name} {size} running={running}"):
                        path = f"{self.lab.store}/layers/{self.key}/{name}"
                        if not running:
                            self.run_ok("stop-server")
                        if os.path.getsize(path) <= size:
                            continue
                        os.truncate(path, size)
                        self.lab.lazyrun("images", check=0)
                        self.works("after the cut")
        self.assertNotRegex(self.lab.log(), "giving up|goes on dying")

    def test_changed_bytes(self):
        self.works("at first")
        before = self.lab.status()
        good = self.lab.store + "/good"
        at = f"{self.lab.store}/layers/{self.key}"
        subprocess.run(["cp", "-a", at, good], check=True)
        for running in (True, False):
            for name in ("index.erofs", "spans", "have"):
                for seed in range(4):
                    with open(f"{at}/{name}", "r+b") as f:
                        data = bytearray(f.read())
                        for byte, i in zip(noise(f"{name}{seed}", 64), range(64)):
                            data[(byte * 7919 + i * 104729 * (seed + 1)) % len(data)] ^= 1 << byte % 8
                        f.seek(0)
                        f.write(data)
                    if not running:
                        self.run_ok("stop-server")
                    p = self.lab.lazyrun("run", self.image, "sha256sum", "/f", seconds=60)
                    self.assertNotIn("Sanitizer", p.stderr)
                    self.run_ok("images")
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(at + "/bad")
                    self.run_ok("stop-server", "--force")
                    subprocess.run(["rm", "-rf", at], check=True)
                    subprocess.run(["cp", "-a", good, at], check=True)
                    self.works(f"{name} {seed}")
        self.assertNotRegex(self.lab.log(), "Sanitizer|giving up|goes on dying|signal (4|6|8|11) ")
        del before


class FullDisk(Case):
    who = "root"

    def test_every_size(self):
        lab = self.lab
        tars = [oci.tar([oci.member("a", noise("full", 2 * MIB))]), oci.tar([oci.member("b", noise("full2", 2 * MIB))])]
        image = lab.image("full", tars, CONFIG)
        at = lab.where + "/small"
        os.mkdir(at)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", at], check=True)
        environ = {"LAZYRUN_STORE": at + "/store"}
        failed = 0
        for size in range(1, 16):
            subprocess.run(["mount", "-o", f"remount,size={size}m", at], check=True)
            p = lab.lazyrun("pull", image, environ=environ)
            if p.returncode == 0:
                break
            failed += 1
            self.assertFails(p, 125, "[Nn]o space (is )?left")
            self.assertNotIn("full", lab.lazyrun("images", environ=environ).stdout)
            kept = os.listdir(at + "/store/tmp") if os.path.exists(at + "/store/tmp") else []
            self.assertEqual([f for f in kept if not f.endswith(".part")], [])
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertGreater(failed, 2)
        self.assertEqual(lab.lazyrun("cat", image, "/b", environ=environ).raw, noise("full2", 2 * MIB))


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
                wait_until(f"{who} lets go of what is removed", lambda pid=status[who]: not any(
                    "/store/" in f and "deleted" in f for f in open_files(pid)), 10)
            sizes.append([len(os.listdir(f"/proc/{status[who]}/fd")) for who in ("fetcher_pid", "server_pid")] +
                         [len(os.listdir(f"/proc/{status['fetcher_pid']}/task"))] +
                         [anonymous_kib(status[who]) for who in ("fetcher_pid", "server_pid")])
        self.assertLessEqual(max(s[0] for s in sizes[1:]), sizes[0][0] + 4, sizes)
        self.assertLessEqual(max(s[1] for s in sizes[1:]), sizes[0][1] + 2, sizes)
        self.assertLessEqual(max(s[2] for s in sizes), 16, sizes)
        for column in (3, 4):
            self.assertLess(sizes[-1][column], sizes[min(10, self.ROUNDS - 1)][column] + 4096, sizes)


if __name__ == "__main__":
    unittest.main()
