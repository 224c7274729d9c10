"""peers: podman, crun and runc as the benches run them, and what measuring needs.

crun 1.8 refuses a hybrid cgroup tree whose v2 side owns a controller, so peers run in a mount
namespace of their own without /sys/fs/cgroup/unified. Entering it is never inside a measured time.
"""
import contextlib
import ctypes
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/e2e"))

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)


def need_root(name):
    if os.geteuid() != 0:
        sys.exit(f"{name}: podman's and crun's stores and namespaces need root here; run it as root")


class Namespace:
    """A mount namespace for peers. `with peers.namespace:` is inside it."""

    def __init__(self):
        self.home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        _check(libc.unshare(CLONE_NEWNS), "unshare")
        _check(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount")
        libc.umount2(b"/sys/fs/cgroup/unified", 2)  # not there on a pure v2 machine
        self.fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._enter(self.home)

    def _enter(self, fd):
        cwd = os.getcwd()
        _check(libc.setns(fd, CLONE_NEWNS), "setns")
        os.chdir(cwd)

    def __enter__(self):
        self._enter(self.fd)

    def __exit__(self, *_):
        self._enter(self.home)


def _check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)


def tmpfs(at):
    os.makedirs(at, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", at], check=True)


def podman(where, *args, runtime="crun"):
    """The argv of a podman with a store of its own in `where`."""
    return ["podman", "--root", where + "/podman", "--runroot", where + "/podman-run",
            "--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--runtime=" + runtime, *args]


# Without CAP_SYS_RESOURCE podman's own default of higher limits fails.
PODMAN_RUN = ["run", "--rm", "-q", "--tls-verify=false", "--net=host", "--ulimit=nofile=1024:1024",
              "--ulimit=nproc=1000:1000"]

CAPS = ["CAP_" + c for c in ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
                             "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE").split()]


def bundle(where, layout, tag, argv, seccomp):
    """An unpacked bundle as `lazyrun run` would make it. Made without the store's help, by umoci."""
    if not os.path.isdir(where + "/rootfs"):
        subprocess.run(["umoci", "unpack", "--image", f"{layout.path}:{tag}", where], check=True,
                       stdin=subprocess.DEVNULL)

    def mount(at, kind, *options, source=None):
        return {"destination": at, "type": kind, "source": source or kind, "options": list(options)}
    safe = ("nosuid", "noexec", "nodev")
    config = {
        "ociVersion": "1.0.2",
        "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/",
                    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")}},
        "root": {"path": "rootfs"}, "hostname": "bench",
        "mounts": [mount("/proc", "proc", *safe), mount("/dev", "tmpfs", "nosuid", "mode=755", "size=65536k"),
                   mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
                   mount("/dev/shm", "tmpfs", *safe, "mode=1777", "size=65536k", source="shm"),
                   mount("/dev/mqueue", "mqueue", *safe), mount("/sys", "sysfs", *safe, "ro"),
                   mount("/sys/fs/cgroup", "cgroup", *safe, "relatime", "ro")],
        "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "cgroup")],
                  "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                                  "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                                  "/proc/scsi", "/sys/firmware"],
                  "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
                  "resources": {"devices": [{"allow": False, "access": "rwm"}]}}}
    if seccomp:
        config["linux"]["seccomp"] = oci_seccomp()
    with open(where + "/config.json", "w") as f:
        json.dump(config, f)


def oci_seccomp(path="/usr/share/containers/seccomp.json"):
    """containers-common's default profile as the runtime-spec has it, for CAPS on x86-64."""
    with open(path) as f:
        profile = json.load(f)
    architectures = []
    for a in profile["archMap"]:
        if a["architecture"] == "SCMP_ARCH_X86_64":
            architectures = [a["architecture"], *a["subArchitectures"]]
    rules = []
    for r in profile["syscalls"]:
        only, never = r.get("includes") or {}, r.get("excludes") or {}
        if set(only.get("caps") or []) - set(CAPS) or set(never.get("caps") or []) & set(CAPS):
            continue
        if only.get("arches") and not set(only["arches"]) & {"amd64", "x86", "x32"}:
            continue
        if set(never.get("arches") or []) & {"amd64", "x86", "x32"}:
            continue
        rule = {"names": r["names"], "action": r["action"]}
        if r.get("args"):
            rule["args"] = [{k: a[k] for k in ("index", "value", "valueTwo", "op") if a.get(k) is not None}
                            for a in r["args"]]
        if r.get("errnoRet") is not None and r["action"] == "SCMP_ACT_ERRNO":
            rule["errnoRet"] = r["errnoRet"]
        rules.append(rule)
    result = {"defaultAction": profile["defaultAction"], "architectures": architectures, "syscalls": rules}
    if profile.get("defaultErrnoRet") is not None:
        result["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return result


def to_end(argv, environ=None, cwd=None):
    """Seconds until the command has ended well; nothing but spawn and wait is inside."""
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)]
    back = os.getcwd()
    if cwd:
        os.chdir(cwd)
    try:
        start = time.perf_counter()
        pid = os.posix_spawnp(argv[0], argv, environ or os.environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = time.perf_counter() - start
    finally:
        os.chdir(back)
        os.close(null)
    if status:
        raise RuntimeError(f"{' '.join(argv)}: exit code {os.waitstatus_to_exitcode(status)}")
    return took


def to_output(argv, pattern, environ=None, seconds=300):
    """Seconds until `pattern` (a regex of bytes) is in the output, which must then end well."""
    start = time.perf_counter()
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         env=environ, start_new_session=True)
    got = b""
    try:
        while not re.search(pattern, got):
            left = seconds - (time.perf_counter() - start)
            block = os.read(p.stdout.fileno(), 65536) if select.select([p.stdout], [], [], max(0, left))[0] else b""
            if not block:
                raise RuntimeError(f"{' '.join(argv)}: no {pattern!r} in its output: {got[-2000:]!r}")
            got += block
        took = time.perf_counter() - start
        p.stdout.read()
        if p.wait():
            raise RuntimeError(f"{' '.join(argv)}: exit code {p.returncode}: {got[-2000:]!r}")
        return took
    finally:
        if p.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            p.wait()
        p.stdout.close()


def spread(values, scale=1.0, digits=2):
    """"median (lowest..highest)"."""
    v = [x * scale for x in values]
    return f"{statistics.median(v):.{digits}f} ({min(v):.{digits}f}..{max(v):.{digits}f})"


class Verdicts:
    """Claims and whether they held; end() is the script's exit."""

    def __init__(self):
        self.bad = 0

    def claim(self, text, held):
        self.bad += not held
        print(f"{'ok  ' if held else 'FAIL'}  {text}", flush=True)

    def at_most(self, what, value, limit, unit="", digits=2):
        self.claim(f"{what}: {value:.{digits}f}{unit}, at most {limit:g}{unit}", value <= limit)

    def at_least(self, what, value, limit, unit=""):
        self.claim(f"{what}: {value:.2f}{unit}, at least {limit:g}{unit}", value >= limit)

    def end(self):
        sys.exit(1 if self.bad else 0)
