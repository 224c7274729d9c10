"""lab: what the end-to-end tests and the benches share: a registry, a store of one's own, lazyrun.

A Lab is one temporary directory with a store and a run directory; close() ends all it started.
Everything waits for a sign of readiness, with a deadline, and never sleeps blindly.
"""
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import oci

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
LAZYRUN = os.environ.get("LAZYRUN", TOP + "/build/lazyrun")
DEADLINE = float(os.environ.get("LAB_DEADLINE", "60"))  # seconds for one command
# Tests need room and an upper directory that overlayfs accepts: not a tmpfs of unknown size.
TMP = os.environ.get("LAB_TMP", "/var/tmp")


def wait_until(what, ready, seconds=DEADLINE):
    """Polls ready() until it is true; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds:g} s")
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def port_open(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def end_process(p):
    """TERM, then KILL; a stopped one is let go on first."""
    if p.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            p.send_signal(signal.SIGCONT)
            p.terminate()
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def pid_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class DockerRegistry:
    """Debian's docker-registry on a port of its own. tls: serve https with a made-up CA (self.ca).
    user: "name:password" that it asks for."""

    LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) (?P<size>\d+)')

    def __init__(self, where, tls=False, user=None):
        self.where, self.user = where, user
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.ca = None
        os.makedirs(where + "/data", exist_ok=True)
        lines = ["version: 0.1", "log: {level: warn, accesslog: {disabled: false}}",
                 f"storage: {{filesystem: {{rootdirectory: {where}/data}}, delete: {{enabled: true}}}}",
                 "http:", f"  addr: {self.address}"]
        if tls:
            self.address = f"localhost:{self.port}"
            self.ca = make_certificate(where)
            lines.append(f"  tls: {{certificate: {where}/server.crt, key: {where}/server.key}}")
        if user:
            name, password = user.split(":")
            hashed = subprocess.run(["htpasswd", "-nbB", name, password], check=True,
                                    stdout=subprocess.PIPE, text=True).stdout.strip()
            with open(where + "/htpasswd", "w") as f:
                f.write(hashed + "\n")
            lines.append(f"auth: {{htpasswd: {{realm: lab, path: {where}/htpasswd}}}}")
        with open(where + "/config.yml", "w") as f:
            f.write("\n".join(lines) + "\n")
        self.log_path = where + "/log"
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", self.where + "/config.yml"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.where, env={"PATH": os.environ["PATH"]})
        wait_until("docker-registry", lambda: self.process.poll() is not None or port_open(self.port))
        if self.process.poll() is not None:
            with open(self.log_path) as f:
                raise RuntimeError("docker-registry ended: " + f.read()[-2000:])

    def stop(self):
        end_process(self.process)

    def push(self, layout, name, repository=None, tag="latest"):
        """Returns the reference."""
        client = oci.Registry(self.address, self.ca, self.user)
        return client.push(layout, name, repository or name, tag)

    def requests(self):
        """All requests so far: [(method, path, status, bytes)]."""
        with open(self.log_path, errors="replace") as f:
            found = [self.LINE.search(line) for line in f]
        return [(m["method"], m["path"], int(m["status"]), int(m["size"])) for m in found if m]


def make_certificate(where):
    """A CA (ca.crt) and a server certificate for localhost and 127.0.0.1. Returns the CA's path."""
    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, cwd=where, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(where + "/ext", "w") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "3",
            "-subj", "/CN=lab CA")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "3", "-extfile", "ext", "-out", "server.crt")
    return where + "/ca.crt"


class Lab:
    """A temporary directory, with a store, a run directory and an environment for lazyrun."""

    def __init__(self, **environ):
        self.where = tempfile.mkdtemp(prefix="lazyrun-lab-", dir=TMP)
        self.store, self.run_dir = self.where + "/store", self.where + "/run"
        self.home = self.where + "/home"
        os.mkdir(self.home)
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": self.home, "LAZYRUN_STORE": self.store,
            "LAZYRUN_RUN_DIR": self.run_dir, "LAZYRUN_IDLE_TIMEOUT": "600", "TERM": "xterm",
            "LAZYRUN_RETRY_BASE_MS": "20",
            **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **environ}
        self.cleanup = contextlib.ExitStack()
        self._registry = None
        self._layout = None

    @property
    def registry(self):
        if not self._registry:
            self._registry = self.add_registry("registry")
        return self._registry

    def keep_registry(self, where):
        """The lab's registry is in a directory that outlives the lab."""
        self._registry = DockerRegistry(os.path.abspath(where))
        self.cleanup.callback(self._registry.stop)

    def add_registry(self, name, **options):
        os.mkdir(f"{self.where}/{name}")
        r = DockerRegistry(f"{self.where}/{name}", **options)
        self.cleanup.callback(r.stop)
        return r

    @property
    def layout(self):
        if not self._layout:
            self._layout = oci.Layout(self.where + "/layout")
        return self._layout

    def image(self, name, tars, config=None, form="gzip", **kw):
        """Builds an image and pushes it to the registry. Returns its reference."""
        self.layout.build(name, tars, config, form, **kw)
        return self.registry.push(self.layout, name)

    def argv(self, *args):
        return [LAZYRUN, *map(str, args)]

    def lazyrun(self, *args, input=b"", seconds=DEADLINE, check=None, environ=None, **kw):
        """Runs lazyrun to its end. check: the exit code it must have. Returns a CompletedProcess with
        texts; a run that passes its deadline is an error that shows what it said."""
        p = subprocess.run(self.argv(*args), input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=seconds, env={**self.environ, **(environ or {})}, **kw)
        p.raw = p.stdout
        p.stdout, p.stderr = (x.decode("utf-8", "backslashreplace") for x in (p.stdout, p.stderr))
        if check is not None and p.returncode != check:
            raise AssertionError(f"{' '.join(map(str, args))}: exit code {p.returncode}, not {check}\n"
                                 f"stdout: {p.stdout[-2000:]}\nstderr: {p.stderr[-2000:]}\n{self.log()}")
        return p

    def start(self, *args, **kw):
        """A lazyrun that goes on; ended by close()."""
        p = subprocess.Popen(self.argv(*args), stdin=kw.pop("stdin", subprocess.PIPE),
                             stdout=kw.pop("stdout", subprocess.PIPE),
                             stderr=kw.pop("stderr", subprocess.STDOUT), env=self.environ, **kw)
        self.cleanup.callback(end_process, p)
        return p

    def status(self):
        return json.loads(self.lazyrun("status", "--json", check=0).stdout)

    def log(self):
        """The end of the server's log, for messages."""
        text = ""
        for top, _, files in os.walk(self.run_dir):
            for name in files if top == self.run_dir else []:
                if name.endswith("log"):
                    with open(f"{top}/{name}", errors="replace") as f:
                        text += f"--- {name}:\n{f.read()[-3000:]}"
            break
        return text

    def stop_server(self):
        """Ends the server of this lab, kindly or by force."""
        if not os.path.exists(self.run_dir):
            return
        pids = server_pids(self.run_dir)
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            subprocess.run(self.argv("stop-server", "--force"), env=self.environ, timeout=15,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            wait_until("the server's end", lambda: not any(map(pid_alive, pids)), 10)

    def close(self):
        self.cleanup.close()
        self.stop_server()
        for at in reversed(mounts_below(self.where)):
            subprocess.run(["umount", "-l", at], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.where, onerror=_make_writable)


def _make_writable(function, path, _):
    """For rmtree: directories without w, and what an ordinary user's container left behind."""
    with contextlib.suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700, follow_symlinks=not os.path.islink(path))
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            function(path)


def server_pids(run_dir):
    """Processes that have LAZYRUN_RUN_DIR=run_dir and run `serve`, as /proc shows them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            with open(f"/proc/{pid}/environ", "rb") as f:
                environ = f.read().split(b"\0")
        except OSError:
            continue
        if words and b"lazyrun" in words[0] and f"LAZYRUN_RUN_DIR={run_dir}".encode() in environ:
            found.append(int(pid))
    return found


def mounts_below(where):
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4].encode().decode("unicode_escape") for line in f]
    return [p for p in points if p.startswith(where + "/")]


def tiny(extra=()):
    """A plain tar with busybox and what the tests' commands need; `extra`: more members."""
    with open(shutil.which("busybox") or "/bin/busybox", "rb") as f:
        busybox = f.read()
    names = ("sh cat ls true false echo id pwd env sleep stat find touch mkdir rm ln mount umount hostname kill "
             "head tail wc dd cp mv grep sed awk tty stty ps test seq md5sum sha256sum ip tr cut ulimit "
             "readlink chmod chown mknod df sort uniq yes od nproc ping printf").split()
    m = [oci.directory(d) for d in ("bin", "etc", "root", "dev", "proc", "sys", "home/user")]
    m += [oci.directory("tmp", mode=0o1777), oci.member("bin/busybox", busybox, 0o755)]
    m += [oci.symlink("bin/" + n, "busybox") for n in names]
    m += [oci.member("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"),
          oci.member("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\nmore:x:2001:user,root\n"),
          oci.member("etc/os-release", b'NAME="tiny"\n')]
    return oci.tar(m + list(extra))


CONFIG = {"Env": ["PATH=/bin:/usr/bin", "IMAGE=yes"], "Cmd": ["/bin/sh"]}


def read_until(fd, text, seconds=DEADLINE):
    """Reads a descriptor until `text` (bytes) was seen. Returns all that was read."""
    got, end = b"", time.monotonic() + seconds
    while text not in got:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            raise TimeoutError(f"waited for {text!r}, got {got!r}")
        block = os.read(fd, 65536)
        if not block:
            raise EOFError(f"waited for {text!r}, got {got!r}")
        got += block
    return got


class Case(unittest.TestCase):
    """A test case with a lab for the whole class. `who` says who runs it: "root", "user" or "both"."""

    who = "both"
    lab_environ = {}

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(**cls.lab_environ)
        cls.addClassCleanup(cls.lab.close)
        cls.prepare()

    @classmethod
    def prepare(cls):
        """For subclasses: images that all tests of the class use."""

    @property
    def root(self):
        return os.geteuid() == 0

    def run_ok(self, *args, **kw):
        return self.lab.lazyrun(*args, check=0, **kw)

    def assertFails(self, p, code, *words):
        """The exit code, and that the last line of the message names each of `words` (regexes)."""
        self.assertEqual(p.returncode, code, f"stdout {p.stdout!r} stderr {p.stderr!r}")
        for w in words:
            self.assertRegex(p.stderr, w)
        self.assertNotRegex(p.stderr, r"[Aa]ssert|Sanitizer|core dumped")
