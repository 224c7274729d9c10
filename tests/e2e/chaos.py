"""chaos: a registry behind two hosts that do everything a registry may do wrong, and pulls through them.

The first host is what lazyrun is told of; it asks for a token now and then, and sends some blobs' requests to the
second one, at an address that works a few times. Both cut, delay, refuse and lie by dice that a seed decides. What
is a fault that must be survived and what may end in an honest error is counted, and every tree that is shown is
compared with what it must be.
"""
import collections
import email.utils
import hashlib
import os
import random
import stat
import time

import kill9
import oci
from lab import tiny
from odd_image import noise
from proxy import Proxy

# For each request: name, probability.
FAULTS = (("cut", 0.12), ("reset", 0.03), ("delay", 0.08), ("corrupt", 0.01), ("status 429", 0.03), ("status 5xx", 0.06),
          ("token expired", 0.06), ("redirect", 0.20), ("200 for a range", 0.20), ("wrong Content-Range", 0.02))
BURST = 3  # answers of 5xx in a row, at most
SIGNED = 4  # requests that a signed address is good for, at most
ERRORS = ("digest", "wrong bytes", "Content-Range", "again and again", "429", "50", "broke off", "refuses", "401", "403")


class Chaos:
    def __init__(self, upstream, seed, faults=FAULTS, slow=1.0):
        """slow: the seconds that Retry-After asks for; a delay is at most a third of it."""
        self.dice, self.faults, self.counts = random.Random(seed), faults, collections.Counter()
        self.burst, self.tokens, self.signed, self.leaks = 0, set(), {}, []
        self.serial, self.slow = 0, slow
        self.cdn = Proxy(upstream, self.at_the_cdn)
        self.cdn_host = self.cdn.address.replace("127.0.0.1", "localhost")  # another name is another host
        self.front = Proxy(upstream, self.at_the_front)
        self.calm = False

    def close(self):
        self.front.close()
        self.cdn.close()

    def reference(self, repository):
        return self.front.reference(repository)

    def pick(self):
        x = self.dice.random()
        for name, p in self.faults:
            if x < p:
                return name
            x -= p
        return None

    def count(self, name):
        self.counts[name] += 1

    def at_the_front(self, request):
        with self.front.lock:
            if request.path.startswith("/token"):
                self.serial += 1
                self.tokens.add(f"token{self.serial}")
                return {"status": 200, "body": b'{"token":"token%d","expires_in":300}' % self.serial}
            if self.calm:
                return None
            if self.burst:
                self.burst -= 1
                self.count("status 5xx")
                return {"status": self.dice.choice((500, 502, 503, 504))}
            fault = self.pick()
            if fault == "token expired":
                self.count(fault)
                return {"status": 401, "headers": {
                    "WWW-Authenticate": f'Bearer realm="http://{self.front.address}/token",service="x",scope="x"'}}
            if fault == "status 5xx":
                self.burst = self.dice.randrange(BURST)
                self.count(fault)
                return {"status": self.dice.choice((500, 502, 503, 504))}
            if fault == "redirect" and request.is_blob:
                self.count(fault)
                self.serial += 1
                self.signed[str(self.serial)] = self.dice.randint(1, SIGNED)
                where = f"http://{self.cdn_host}{request.path}?sig={self.serial}"
                return {"status": self.dice.choice((302, 307, 308)), "headers": {"Location": where}}
            return self.spoil(request, fault)

    def at_the_cdn(self, request):
        with self.front.lock:
            if request.authorization:
                self.leaks.append(request)
            sig = request.path.rpartition("sig=")[2]
            if not self.signed.get(sig):
                self.count("signed address expired")
                return {"status": 403, "body": b"<Error>expired</Error>"}
            self.signed[sig] -= 1
            return None if self.calm else self.spoil(request, self.pick())

    def spoil(self, request, fault):
        """Faults that either host may have."""
        large = 40000 if request.is_blob else 200
        act = None
        if fault == "cut":
            act = {"cut": self.dice.randrange(self.dice.choice((10, large, 30 * large)))}
        elif fault == "reset":
            act = {"reset": True}
        elif fault == "delay":
            act = {"delay": self.dice.random() * self.slow / 3}
        elif fault == "corrupt":
            act = {"corrupt": (request.range[0] if request.range else 0) + self.dice.randrange(large)}
        elif fault == "status 429":
            after = self.dice.choice(("0", f"{self.slow:.0f}", email.utils.formatdate(time.time() + self.slow, usegmt=True)))
            act = {"status": 429, "headers": {"Retry-After": after}}
        elif fault == "200 for a range" and request.range:
            act = {"whole": True}
        elif fault == "wrong Content-Range" and request.range:
            act = {"content_range": f"bytes {request.range[0] + 1}-{request.range[0] + 100}/100000000"}
        if act:
            self.count(fault)
        return act


def image(lab, name="chaos", forms=("gzip", "zstd", "none")):
    """An image of three layers, of these forms. Returns {path: (mode, sha256 or link)} of its tree."""
    files = {f"d{i % 7}/f{i:03}": noise(f"chaos{i}", i * i * 40 + i) for i in range(150)}
    big = {"big/zstd": noise("chaos zstd", 3 << 20), "big/gzip": noise("chaos gzip", 2 << 20),
           "big/none": noise("chaos none", 5 << 20)}
    names = sorted(files)
    top = [oci.directory(f"d{i}") for i in range(7)]
    one = tiny([oci.directory("big"), oci.member("big/gzip", big["big/gzip"])])
    two = oci.tar(top + [oci.member(n, files[n], 0o640) for n in names[::2]] + [oci.member("big/zstd", big["big/zstd"])])
    three = oci.tar([oci.member(n, files[n], 0o600) for n in names[1::2]] + [oci.member("big/none", big["big/none"])])
    layers = [lab.layout.put_layer(plain, form) for plain, form in zip((one, two, three), forms)]
    lab.layout.put_image(name, layers)
    lab.registry.push(lab.layout, name)
    want = {n: (0o640, sha(files[n])) for n in names[::2]}
    want.update({n: (0o600, sha(files[n])) for n in names[1::2]})
    want.update({n: (0o644, sha(d)) for n, d in big.items()})
    return want


def sha(data):
    return hashlib.sha256(data).hexdigest()


def compare(at, want):
    """What of `want` is otherwise below `at`: texts. An OSError is a read that failed honestly."""
    wrong = []
    for name, (mode, digest) in want.items():
        st = os.lstat(f"{at}/{name}")
        if stat.S_IMODE(st.st_mode) != mode or not stat.S_ISREG(st.st_mode):
            wrong.append(f"{name}: mode {st.st_mode:o}")
        with open(f"{at}/{name}", "rb") as f:
            if sha(f.read()) != digest:
                wrong.append(f"{name}: other bytes than the image's")
    there = {os.path.join(d, f)[len(at) + 1:] for d, _, files in os.walk(at) for f in files}
    there = {n for n in there if n.startswith(("d", "big/")) and not n.startswith("dev")}
    return wrong + [f"{n}: not of the image" for n in there - set(want)]


class Tally:
    """pulls, honest (errors that said why), wrong (what must not be)."""

    def __init__(self):
        self.pulls, self.retried, self.reads_failed, self.wrong = 0, 0, 0, []


def lazy_image(lab, form):
    """The same tree as an image that is lazy in one of make_lazy()'s forms: (repository and tag, its tree)."""
    name = "chaos-" + form.replace(":", "-")
    want = image(lab, name, ("gzip", "gzip", "gzip"))
    reference = kill9.make_lazy(lab, f"{lab.registry.address}/{name}:latest", form)
    return reference.partition("/")[2], want


def again_and_again(tally, tries, what, act):
    """Until it succeeds: whether it did. Its errors must say why."""
    for _ in range(tries):
        p = act()
        if p.returncode == 0:
            return True
        tally.retried += 1
        if not any(word in p.stderr for word in ERRORS):
            tally.wrong.append(f"{what}: an error that does not say why: {p.stderr!r}")
    tally.wrong.append(f"{what}: {tries} tries, the last: {p.stderr!r}")
    return False


def read_mounted(lab, reference, want, tally, tries, *flags):
    """Mounts it and compares all of it."""
    at = lab.where + "/mnt"
    os.makedirs(at, exist_ok=True)
    if not again_and_again(tally, tries, "mount", lambda: lab.lazyrun("mount", *flags, reference, at)):
        return
    try:
        for _ in range(tries):
            try:
                tally.wrong += compare(at, want)
                return
            except OSError as e:
                tally.reads_failed += 1
                last = e
        tally.wrong.append(f"reads fail {tries} times: {last}")
    finally:
        lab.lazyrun("umount", at, check=0)


def pull(lab, chaos, reference, want, tally, tries=8, evict=True):
    """One pull into an empty store, its tree, and the same again with the uncompressed layer's bytes evicted."""
    if not again_and_again(tally, tries, "pull", lambda: lab.lazyrun("pull", "-q", reference)):
        return
    tally.pulls += 1
    for evicted in (False, True) if evict else (False,):
        if evicted:
            lab.lazyrun("evict", reference, check=0)
        read_mounted(lab, reference, want, tally, tries)


def read_lazily(lab, reference, want, tally, tries=8):
    """From an empty store, every byte when it is read."""
    before = len(tally.wrong)
    read_mounted(lab, reference, want, tally, tries, "--require-lazy")
    tally.pulls += len(tally.wrong) == before
