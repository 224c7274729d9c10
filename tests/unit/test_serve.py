#!/usr/bin/python3
"""The processes and the file server, with a fetcher of our own (tests/fakes/fetcher.c) that fills pages
when it is told to. As root, then as an ordinary user (lazyrun-test, where tests/e2e/run.py has made it).

usage: test_serve.py BUILD-DIR [-k PART]
"""
import ctypes
import errno
import json
import mmap
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))
import oci  # noqa: E402
from lab import pid_alive, tiny, wait_until  # noqa: E402
from odd_image import noise  # noqa: E402

BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
MIB = 1 << 20
N = 60  # files of 1 MiB
KEY = "a" * 64
READER = """
import mmap, os, sys
path, how, off = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if how == "direct" else 0))
print("up", flush=True)
if how == "mmap":
    m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    x = m[off:off + 4096]
elif how == "direct":
    b = mmap.mmap(-1, 4096)
    os.preadv(fd, [b], off)
    x = b[:]
else:
    x = os.pread(fd, 4096, off)
import hashlib
print(hashlib.sha256(x).hexdigest(), flush=True)
"""


class Serve(unittest.TestCase):
    """One store, one image: busybox, and N files whose bytes are missing at first."""

    idle = "0"

    @classmethod
    def setUpClass(cls):
        cls.where = tempfile.mkdtemp(prefix="lazyrun-serve-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.where, True)
        cls.environ = {**os.environ, "LAZYRUN_STORE": cls.where + "/store", "LAZYRUN_RUN_DIR": cls.where + "/run",
                       "LAZYRUN_IDLE_TIMEOUT": "0"}
        cls.files = {f"{i:02}": noise(f"serve{i}", MIB + i) for i in range(N)}
        layout = oci.Layout(cls.where + "/oci")
        members = [oci.directory("data")] + [oci.member("data/" + n, d) for n, d in cls.files.items()]
        layers = [layout.put_layer(tiny(), "none"), layout.put_layer(oci.tar(members), "none")]
        layout.put_image("t", layers, {})
        lazyrun = [BUILD + "/lazyrun-image"]
        subprocess.run(lazyrun + ["pull", "-q", f"oci:{cls.where}/oci:t"], env=cls.environ, check=True)
        subprocess.run(lazyrun + ["stop-server"], env=cls.environ, check=True)
        at = cls.where + "/store/layers"
        cls.layers = sorted(os.listdir(at), key=lambda k: os.path.getsize(f"{at}/{k}/data"))
        assert len(cls.layers) == 2, cls.layers
        for k in cls.layers:
            shutil.copy(f"{at}/{k}/data", f"{at}/{k}/full")

    def setUp(self):
        self.environ = {**type(self).environ, "LAZYRUN_IDLE_TIMEOUT": self.idle}
        self.addCleanup(self.stop)
        self.ask({"op": "image", "key": KEY, "layers": self.layers})
        self.ask({"op": "punch", "layer": self.layers[1]})
        self.root = f"{self.where}/run/fs/images/{KEY}"

    def client(self, *args, **kw):
        return subprocess.run([BUILD + "/tests/serve_client", *args], env=self.environ, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, text=True, **kw)

    def ask(self, request, *flags):
        p = self.client(*flags, json.dumps(request))
        if p.returncode:
            raise AssertionError(f"{request}: {p.stderr}")
        return json.loads(p.stdout.splitlines()[-1])

    def status(self):
        return self.ask({"op": "status"})

    def stop(self):
        pid = None
        try:
            pid = self.ask({"op": "status"}, "--running")["supervisor_pid"]
        except AssertionError:
            return
        self.client("--running", '{"op": "stop"}')
        wait_until("the supervisor's end", lambda: not pid_alive(pid), 10)
        with open(self.where + "/run/log") as f:  # a crash is survived, so nothing else would tell
            self.assertNotRegex(f.read(), "Sanitizer|runtime error|[Aa]ssert|signal (4|6|7|8|11) ")

    def inside(self, *argv):
        return [BUILD + "/tests/serve_client", "--join", *argv]

    def read(self, name, how="read", off=0):
        """Starts a reader that has said "up"."""
        p = subprocess.Popen(self.inside("/usr/bin/python3", "-c", READER, f"{self.root}/data/{name}", how, str(off)),
                             env=self.environ, stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), "up\n")
        return p

    def result(self, p):
        got = p.stdout.readline().strip()
        p.wait(30)
        return got

    def want(self, name, off=0):
        return oci.sha256(self.files[name][off:off + 4096]).removeprefix("sha256:")

    def waiting(self, n):
        wait_until(f"{n} waiting reads", lambda: self.status()["waiting"] >= n, 20)

    def sh(self, script):
        p = subprocess.run(self.inside("/bin/sh", "-c", script), env=self.environ, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=100, text=True)
        return p.returncode, p.stdout

    # The tree

    def test_reads_right_bytes(self):
        code, out = self.sh(f"cd {self.root}/data && sha256sum *")
        self.assertEqual(code, 0, out)
        got = {line.split()[1]: line.split()[0] for line in out.splitlines()}
        self.assertEqual(got, {n: oci.sha256(d).removeprefix("sha256:") for n, d in self.files.items()})

    def test_lists_like_a_file_system(self):
        code, out = self.sh(f"cd {self.root} && ls -a . && find . -xdev | wc -l && stat -c '%i %h %F' data data/00 bin/sh "
                            f"&& stat -c %i data/00 && ls nothing; readlink bin/sh; ls -a {self.where}/run/fs")
        self.assertEqual(code, 0, out)
        lines = out.splitlines()
        self.assertEqual(lines[:2], [".", ".."])
        self.assertIn("directory", out)
        self.assertIn("busybox", lines)
        self.assertIn("images", lines)

    def test_runs_through_overlay(self):
        code, out = self.sh(
            f"cd {self.where} && rm -rf u w m && mkdir u w m && mount -t overlay o -o "
            f"lowerdir={self.root},upperdir=u,workdir=w{'' if os.geteuid() == 0 else ',userxattr'},xino=on m && "
            "echo new >>m/etc/passwd && m/bin/busybox tail -n1 m/etc/passwd && mv m/etc/passwd m/etc/p2 && "
            "rm m/data/00 && m/bin/busybox sha256sum m/data/01 && chroot m /bin/sh -c 'echo exec; ls /data | wc -l'; "
            "r=$?; umount m; rm -rf u w m; exit $r")
        self.assertEqual(code, 0, out)
        self.assertIn("new\n", out)
        self.assertIn(oci.sha256(self.files["01"]).removeprefix("sha256:"), out)
        self.assertIn(f"exec\n{N - 1}\n", out)

    def test_removed_image_is_gone_and_comes_back(self):
        self.assertEqual(self.sh(f"ls {self.root}")[0], 0)
        self.ask({"op": "remove", "key": KEY})
        wait_until("the image's end", lambda: self.sh(f"ls {self.root}")[0] != 0)
        self.ask({"op": "image", "key": KEY, "layers": self.layers})
        self.assertEqual(self.sh(f"ls {self.root}")[0], 0)
        self.assertIn(KEY, self.sh(f"ls {self.where}/run/fs/images")[1])

    def test_a_truncated_index_is_an_error_and_no_crash(self):
        pid = self.status()["server_pid"]
        self.assertEqual(self.sh(f"ls {self.root}/data/00")[0], 0)
        path = f"{self.where}/store/layers/{self.layers[1]}/index.erofs"
        with open(path, "rb") as f:
            index = f.read()
        try:
            os.truncate(path, 0)
            code, out = self.sh(f"ls {self.root}/data; ls {self.root}/data/59")
            self.assertIn("Input/output", out)
        finally:
            with open(path, "r+b") as f:
                f.write(index)
        self.assertEqual(self.status()["server_pid"], pid)

    # Readers that wait

    def test_kill_9_ends_waiting_readers(self):
        self.ask({"op": "hold", "hold": 1})
        for i, how in enumerate(("read", "mmap", "direct")):
            with self.subTest(how):
                p = self.read(f"{i:02}", how)
                self.waiting(i + 1)
                start = time.monotonic()
                p.kill()
                p.wait(10)
                self.assertLess(time.monotonic() - start, 0.5)
        self.ask({"op": "hold", "hold": 0})

    def test_waiting_readers_stall_nobody(self):
        self.ask({"op": "hold", "hold": 1})
        readers = [self.read(f"{i:02}", ("read", "mmap", "direct")[i % 3], 512 * 1024) for i in range(40)]
        self.waiting(40)
        start = time.monotonic()
        code, out = self.sh(f"find {self.root} | wc -l; cat {self.root}/bin/busybox | wc -c")
        self.assertEqual(code, 0, out)
        self.assertLess(time.monotonic() - start, 2)
        self.ask({"op": "hold", "hold": 0})
        for i, p in enumerate(readers):
            self.assertEqual(self.result(p), self.want(f"{i:02}", 512 * 1024))

    def test_failed_pages_are_an_error_and_can_be_had_later(self):
        self.ask({"op": "fail", "with": 5})
        code, out = self.sh(f"cat {self.root}/data/00 | wc -c")
        self.assertIn("Input/output", out)
        self.ask({"op": "fail", "with": 0})
        p = self.read("00")
        self.assertEqual(self.result(p), self.want("00"))

    def test_what_the_fetcher_forgets_is_asked_again(self):
        self.ask({"op": "lose", "n": 1})
        p = self.read("00")
        self.assertEqual(self.result(p), self.want("00"))

    def test_survives_the_fetchers_death(self):
        self.ask({"op": "hold", "hold": 1})
        readers = [self.read(f"{i:02}", ("read", "mmap", "direct")[i % 3]) for i in range(12)]
        self.waiting(12)
        os.kill(self.status()["fetcher_pid"], signal.SIGKILL)  # the next one holds nothing back
        for i, p in enumerate(readers):
            self.assertEqual(self.result(p), self.want(f"{i:02}"))

    def test_survives_the_servers_death(self):
        self.ask({"op": "hold", "hold": 1})
        readers = [self.read(f"{i:02}", ("read", "mmap", "direct")[i % 3]) for i in range(12)]
        self.waiting(12)
        for _ in range(2):
            pid = self.status()["server_pid"]
            os.kill(pid, signal.SIGKILL)
            wait_until("a new server", lambda: self.status()["server_pid"] != pid)
        p = self.read("20")
        p.kill()
        p.wait(10)
        readers.pop().kill()
        self.ask({"op": "hold", "hold": 0})
        for i, p in enumerate(readers):
            self.assertEqual(self.result(p), self.want(f"{i:02}"))

    def test_servers_killed_under_load(self):
        over = threading.Event()
        results = []

        def load():
            while not over.is_set():
                results.append(self.sh(f"cd {self.root} && find . | wc -l && cat data/3* | wc -c"))
        self.ask({"op": "delay", "ms": 1})
        threads = [threading.Thread(target=load) for _ in range(3)]
        for t in threads:
            t.start()
        try:
            for _ in range(12):
                os.kill(self.status()["server_pid"], signal.SIGKILL)
                time.sleep(0.1)
        finally:
            over.set()
            for t in threads:
                t.join()
        self.assertGreater(len(results), 3)
        self.assertEqual({r for r in results}, {results[0]})
        self.assertEqual(results[0][0], 0, results[0][1])

    # The processes

    def test_answers_are_kept_for_a_new_fetcher(self):
        self.ask({"op": "delay", "ms": 3}, "--remember", "key-1")
        self.ask({"op": "delay", "ms": 4}, "--remember", "key-1")
        self.ask({"op": "delay", "ms": 4}, "--remember", "key-2")
        os.kill(self.status()["fetcher_pid"], signal.SIGKILL)
        self.assertEqual(self.status()["replayed"], 2)

    def test_a_fetcher_that_goes_on_being_killed_is_not_started_all_the_time(self):
        supervisor = self.status()["supervisor_pid"]

        def fetcher(but=None):
            out = subprocess.run(["pgrep", "-P", str(supervisor), "^lazyrun-fetcher$"], stdout=subprocess.PIPE, text=True).stdout
            return [int(pid) for pid in out.split() if int(pid) != but]
        pid, begun = None, time.monotonic()
        for _ in range(10):
            pid = wait_until("another fetcher", lambda: fetcher(pid))[0]
            os.kill(pid, signal.SIGKILL)
        self.assertGreaterEqual(time.monotonic() - begun, 8 * 0.05)
        self.status()

    def test_a_request_that_kills_every_fetcher_is_given_up(self):
        before = self.status()
        for _ in range(5):
            p = self.client("--timeout", "20", '{"op": "die"}')
            self.assertEqual(p.returncode, errno.EIO)
            self.assertRegex(p.stdout + p.stderr, "fetcher crashed 3 times over this request")
        self.assertEqual(self.status()["server_pid"], before["server_pid"])
        p = self.read("03")
        self.assertEqual(self.result(p), self.want("03"))

    def test_a_read_that_kills_every_fetcher_is_an_error(self):
        poison = self.where + "/run/poison"
        with open(poison, "w"):
            self.addCleanup(lambda: os.path.exists(poison) and os.unlink(poison))
        before = self.status()
        code, out = self.sh(f"cat {self.root}/data/04 | wc -c")
        self.assertIn("Input/output", out)
        self.assertEqual(self.sh(f"cat {self.root}/bin/busybox | wc -c")[0], 0)
        os.unlink(poison)
        after = self.status()
        self.assertEqual([after[k] for k in ("server_pid", "supervisor_pid")],
                         [before[k] for k in ("server_pid", "supervisor_pid")])
        p = self.read("04")
        self.assertEqual(self.result(p), self.want("04"))

    def test_a_request_goes_to_the_next_fetcher(self):
        p = subprocess.Popen([BUILD + "/tests/serve_client", "--timeout", "20", '{"op": "once"}'], env=self.environ,
                             stdout=subprocess.PIPE)
        self.addCleanup(p.stdout.close)
        wait_until("the request", lambda: self.status()["open"] == 1)
        os.kill(self.status()["fetcher_pid"], signal.SIGKILL)
        wait_until("the request, again", lambda: self.status()["open"] == 1)  # requests go in no order
        self.ask({"op": "release"})
        self.assertEqual(p.wait(10), 0)

    def test_stopped_processes_are_named(self):
        s = self.status()
        for who in ("fetcher", "supervisor"):
            with self.subTest(who):
                os.kill(s[who + "_pid"], signal.SIGSTOP)
                try:
                    start = time.monotonic()
                    p = self.client("--timeout", "1", '{"op": "status"}')
                    self.assertLess(time.monotonic() - start, 6)
                    self.assertNotEqual(p.returncode, 0)
                    self.assertRegex(p.stderr, f"{who} .pid {s[who + '_pid']}. is stopped.*run/log")
                finally:
                    os.kill(s[who + "_pid"], signal.SIGCONT)

    def test_many_starts_at_once(self):
        self.stop()
        ps = [subprocess.Popen([BUILD + "/tests/serve_client", '{"op": "status"}'], env=self.environ,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(12)]
        out = [p.communicate(timeout=30) for p in ps]
        pids = {json.loads(o)["supervisor_pid"] for o, _ in out}
        self.assertEqual(len(pids), 1, out)
        # Whoever starts it may be told that this user has no ranges; nobody hears of the race.
        said = [line for _, e in out for line in e.splitlines() if "no ranges of user ids" not in line]
        self.assertEqual(said, [])

    def test_ends_with_the_mount(self):
        pid = self.status()["supervisor_pid"]
        self.stop()
        self.assertFalse(os.path.exists(self.where + "/run/socket"))
        with open("/proc/self/mountinfo") as f:
            self.assertNotIn(self.where, f.read())
        self.assertFalse(pid_alive(pid))

    def test_a_killed_supervisor_leaves_nothing(self):
        s = self.status()
        os.kill(s["supervisor_pid"], signal.SIGKILL)
        wait_until("the others' end", lambda: not any(pid_alive(s[w + "_pid"]) for w in ("server", "fetcher")), 5)
        self.ask({"op": "image", "key": KEY, "layers": self.layers})
        self.assertEqual(self.sh(f"ls {self.root}")[0], 0)

    def test_in_use_is_said(self):
        p = subprocess.Popen([BUILD + "/tests/serve_client", '{"op": "never"}'], env=self.environ)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        wait_until("the request", lambda: self.status()["open"] == 1)
        q = self.client('{"op": "stop"}')
        self.assertNotEqual(q.returncode, 0)
        self.assertIn(str(p.pid), q.stderr)

    def test_small_server(self):
        self.sh(f"cd {self.root} && find . -type f -exec cat {{}} + | wc -c")
        with open(f"/proc/{self.status()['server_pid']}/status") as f:
            rss = int(next(line for line in f if line.startswith("RssAnon")).split()[1])
        self.assertLess(rss, 20480)


class Idle(Serve):
    idle = "1"

    def test_leaves_when_idle(self):
        pid = self.status()["supervisor_pid"]
        wait_until("the idle end", lambda: not pid_alive(pid), 10)
        self.assertFalse(os.path.exists(self.where + "/run/socket"))


for name in list(vars(Serve)):
    if name.startswith("test_"):
        setattr(Idle, name, None)  # only its own


def as_user():
    """The same tests as an ordinary user, from a copy of the programs that it can reach."""
    try:
        user = pwd.getpwnam("lazyrun-test")
    except KeyError:
        print("skipped as an ordinary user: there is no user lazyrun-test (tests/e2e/run.py makes it)")
        return 0
    with tempfile.TemporaryDirectory(prefix="lazyrun-serve-user-", dir="/var/tmp") as where:
        os.chmod(where, 0o755)
        os.makedirs(where + "/build/tests")
        for f in ("lazyrun-image", "tests/lazyrun-image", "tests/serve_client"):
            shutil.copy2(f"{BUILD}/{f}", f"{where}/build/{f}")
        for d in ("unit", "e2e"):
            shutil.copytree(f"{HERE}/../{d}", f"{where}/tests/{d}", ignore=shutil.ignore_patterns("__pycache__"))
        return subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups",
                               "--inh-caps=-all", "/usr/bin/python3", f"{where}/tests/unit/test_serve.py",
                               where + "/build", *sys.argv[2:]],
                              env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": user.pw_dir,
                                   "PYTHONDONTWRITEBYTECODE": "1"}, cwd=where).returncode


if __name__ == "__main__":
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("skipped: /dev/fuse cannot be opened")
        sys.exit(77)
    result = unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]], exit=False).result
    code = 0 if result.wasSuccessful() else 1
    if os.geteuid() == 0:
        code = code or as_user()
    sys.exit(code)
