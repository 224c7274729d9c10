"""kill9: a container that reads, maps, executes and lists an image of evicted layers, and what kills the server and the
fetcher meanwhile. Used by test_takeover.py (seconds) and bench/kill9 (minutes).
"""
import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time

import oci
from lab import CONFIG, Lab, mounts_below, read_until, tiny, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
FILES, WORDS, PROGRAMS, WORKERS = 24, 96 << 10, 8, 4  # files of 768 KiB


# What the layer with the load is, and as what it starts (`lazyrun inspect --layers`).
FORMATS = {"tar": "tar", "artifact": "artifact", "estargz": "estargz", "zstd:chunked": "zstd:chunked", "soci": "soci"}


def make_lazy(lab, image, form):
    """By a machine of its own. Returns the reference to what is lazy."""
    builder = Lab()
    try:
        if form == "artifact":
            builder.lazyrun("index", "--push", image, check=0)
        elif form == "soci":
            builder.lazyrun("index", "--push", "--format", "soci", image, check=0)
        else:
            lazy = image.rpartition(":")[0] + ":lazy"
            builder.lazyrun("convert", "--to", form, image, lazy, check=0)
            return lazy
    finally:
        builder.close()
    return image


def build(lab, form="tar"):
    """Builds the worker and its image, pulls and evicts it. Returns the reference."""
    worker, data = lab.where + "/worker", lab.where + "/data"
    subprocess.run(["cc", "-O2", "-static", "-o", worker, HERE + "/kill9_worker.c"], check=True)
    os.mkdir(data)
    subprocess.run([worker, "make", data, str(FILES), str(WORDS)], check=True)
    with open(worker, "rb") as f:
        program = f.read()
    members = [oci.directory("load")]
    for name in sorted(os.listdir(data)):
        with open(f"{data}/{name}", "rb") as f:
            members.append(oci.member("load/" + name, f.read()))
    members += [oci.member(f"bin/p{i}", program, 0o755) for i in range(PROGRAMS)]
    image = lab.image("kill9", [tiny(), oci.tar(members)], CONFIG, form="none" if form == "tar" else "gzip")
    if form != "tar":
        image = make_lazy(lab, image, form)
    lab.lazyrun("pull", image, check=0)
    lab.lazyrun("evict", image, check=0)
    shown = lab.lazyrun("inspect", "--layers", image, check=0).stdout.splitlines()[2].split()[-2]
    if shown != FORMATS[form]:
        raise AssertionError(f"the layer starts as {shown}, not as {form}")
    lab.kill9_image = image
    return image


def start(lab, image):
    p = lab.start("run", "-i", image, "/bin/p0", "load", "/load", FILES, WORDS, PROGRAMS, WORKERS,
                  stderr=subprocess.PIPE)
    read_until(p.stdout.fileno(), b"up\n")
    return p


def finish(p, seconds=90):
    """Ends the container. Returns (its counts, what it said on standard error)."""
    out, err = p.communicate(timeout=seconds)
    lines = out.decode().strip().splitlines()
    return (json.loads(lines[-1]) if lines else None), err.decode("utf-8", "backslashreplace")


def bad(counts):
    """How many operations failed, were wrong or got stuck; None: the container did not say."""
    if counts is None:
        return None
    return counts["stuck"] + sum(c["failed"] + c["wrong"] for c in counts.values() if isinstance(c, dict))


def children(supervisor):
    """{"server": pid, "fetcher": pid} of those that live."""
    found = {}
    with contextlib.suppress(OSError):
        with open(f"/proc/{supervisor}/task/{supervisor}/children") as f:
            pids = f.read().split()
        for pid in pids:
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/comm") as f:
                    found[f.read().strip().removeprefix("lazyrun-")] = int(pid)
    return found


class Killer(threading.Thread):
    """SIGKILL to server and fetcher at random, about every `interval` seconds, until stop() or `kills` servers."""

    def __init__(self, supervisor, interval, roles=("server", "fetcher"), kills=None):
        super().__init__(daemon=True)
        self.supervisor, self.interval, self.roles, self.limit = supervisor, interval, roles, kills
        self.killed = {"server": 0, "fetcher": 0}
        self.over = threading.Event()
        self.start()

    def run(self):
        last = {}
        while not self.over.wait(random.uniform(0, 2 * self.interval)):
            role = random.choice(self.roles)
            pid = children(self.supervisor).get(role)
            if pid and pid != last.get(role):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    last[role] = pid
                    self.killed[role] += 1
            if self.limit and self.killed["server"] >= self.limit:
                return

    def rounds(self, kills):
        """One round of the caller's loop after the other, until so many were killed; fails when that takes a minute."""
        end = time.monotonic() + 60
        while sum(self.killed.values()) < kills:
            assert time.monotonic() < end, f"only {self.killed} killed in a minute"
            yield

    def stop(self):
        self.over.set()
        self.join()


class Commands(threading.Thread):
    """Evicts the image again and again, so that bytes go on missing, and starts containers: all must succeed."""

    def __init__(self, lab, image, pause=0.5):
        super().__init__(daemon=True)
        self.lab, self.image, self.pause = lab, image, pause
        self.done, self.failed = 0, []
        self.over = threading.Event()
        self.start()

    def run(self):
        n = 0
        while not self.over.wait(self.pause):
            n += 1
            argv = ("run", self.image, "/bin/p1", "self") if n % 4 == 0 else ("evict", self.image)
            want = 42 if n % 4 == 0 else 0
            try:
                p = self.lab.lazyrun(*argv)
                said = p.stderr if p.returncode != want else None
            except subprocess.TimeoutExpired:
                said = "not over by its deadline"
            self.done += 1
            if said is not None:
                self.failed.append(f"{argv[0]}: {said}")

    def stop(self):
        self.over.set()
        self.join()


def number_of(pid, what):
    """Descriptors (sockets apart: connections to registries are kept), mappings, or kB of memory of its own ("RssAnon",
    "RssShmem")."""
    if what in ("fds", "sockets"):
        at = f"/proc/{pid}/fd/"
        return sum(os.readlink(at + fd).startswith("socket:") == (what == "sockets") for fd in os.listdir(at))
    if what == "maps":
        with open(f"/proc/{pid}/maps") as f:
            return len(f.readlines())
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith(what + ":")).split()[1])


def files_of(lab):
    found = set()
    for top in (lab.store, lab.run_dir):
        for where, directories, names in os.walk(top):
            if where == lab.run_dir:
                directories[:] = [d for d in directories if d != "fs"]
            found.update(f"{where}/{n}" for n in names + directories)
    return found


def settled(lab, supervisor):
    """What could leak, with no command at work but the container: {name: number}."""
    names = ("fds", "sockets", "maps", "RssAnon", "RssShmem")

    def measure():
        """None while a killed one is just being replaced."""
        with contextlib.suppress(OSError, StopIteration):
            lab.lazyrun("ls", lab.kill9_image, "/load", check=0)  # both are at work
            pids = {"supervisor": supervisor, **children(supervisor)}
            if len(pids) == 3:
                return {f"{who}.{n}": number_of(pid, n) for who, pid in pids.items() for n in names}
        return None
    numbers = wait_until("both processes", measure)
    numbers["mounts"] = len(mounts_below(lab.where))
    return numbers


def grown(before, after):
    """What grew more than noise allows: memory may move by 1 MiB, and a fetcher makes its workers as it needs them."""
    slack = {"fds": 2, "sockets": 8, "maps": 12, "fetcher.maps": 64, "RssAnon": 1024, "RssShmem": 1024, "mounts": 0}
    return {k: (before[k], after[k]) for k in before if after[k] > before[k] + (slack.get(k) or slack[k.rsplit(".")[-1]])}


def new_files(before, after):
    """Files that are there now and have no reason to be."""
    usual = ("have.synced", "log.old", "/idle", ".part")
    return sorted(f for f in after - before if not f.endswith(usual) and "/store/profiles" not in f)
