#!/usr/bin/env python3
"""A layer made by its zTOC is, byte for byte, the one made by streaming its tar; and zTOCs that lie are refused.

    test_ztoc_layer.py ZTOC_MAKE LAYER_MAKE      runs the cases
    test_ztoc_layer.py --corpus DIRECTORY        writes small ones as files for tests/hostile/ztoc
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import oci
import odd_image
import soci

MEMBERS = [oci.directory("d"), oci.member("d/a", odd_image.noise("a", 3000), xattrs={"user.k": b"v\xff"}),
           oci.member("d/b", odd_image.noise("b", 100000).hex().encode()), oci.symlink("d/s", "a"), oci.hardlink("d/h", "d/a"),
           oci.member("d/c", b"text " * 40000, mtime="1700000000.25")]
SMALL = oci.tar(MEMBERS)


def packed_in_all_ways(name, plain):
    """[(name, blob, what more Ztoc() gets)]"""
    span = max(len(plain) // 9, 1000)
    blobs = {"gzip": soci.gz(plain), "gzip-1": soci.gz(plain, 1), "stored-blocks": soci.gz(plain, 0),
             "flushed": soci.gz_flushed(plain, span), "members": soci.gz_members(plain, span),
             "small-members": soci.gz_members(plain, 3 * span // 10), "named": soci.gz_named(plain)}
    for form, blob in blobs.items():
        yield f"{name} {form}", blob, {"span_size": span}
    yield f"{name} first left out", blobs["gzip"], {"span_size": span, "first_left_out": True}
    yield f"{name} one span", blobs["gzip"], {"span_size": 1 << 30}
    yield f"{name} uncompressed", plain, {"form": "none", "span_size": span | 1}


def change(name, slot, value):
    return lambda z: z.find(name).__setitem__(slot, value)


def sparse(z):
    z.find("d/a")[13] = [{0: "GNU.sparse.major", 1: "1"}]


def swap_digests(z):
    z.digests[1:3] = [z.digests[2], z.digests[1]]


def many_records(z):
    z.find("d/a")[13] = [{0: "SCHILY.xattr.user.%d" % i, 1: "x" * 60000} for i in range(3)]


def shared_record(z):
    """A megabyte of table that would be read as more than a gigabyte."""
    records = soci.Shared([{0: "comment", 1: "x" * 600000}])
    z.files = [{0: f"f{i}", 1: "fifo", 2: ("q", 512 * (i + 1)), 13: records} for i in range(2000)]
    z.size = z.packed_size = 1 << 20


def wrong_bits(z):
    p = next(p for p in z.points if p.bits > 1)
    p.bits -= 1


def short_span(z):
    z.points[1].off += 100


def long_span(z):
    z.points[-1].off -= 100
    z.size -= 100
    z.files.clear()


LIES = {  # name: (what is changed, what is said)
    "overlap": (change("d/b", 2, ("q", 2048)), "d/b lies where"),
    "no_room_for_a_header": (change("d/b", 2, ("q", 1024 + 3072)), "lies where"),
    "not_at_a_block": (change("d/b", 2, ("q", 7777)), "lies where"),
    "before_the_first_header": (change("d/", 2, ("q", 0)), "d/ lies where"),
    "larger_than_it_is": (change("d/a", 3, ("q", 90000)), "lies where"),
    "past_the_end": (change("d/c", 3, ("q", 1 << 20)), "cannot be read"),
    "climbs": (change("d/b", 0, "../b"), "\\.\\."),
    "link_to_nothing": (change("d/h", 4, "nowhere"), "does not hold"),
    "device_0_0": (change("d/s", 1, "char"), "0:0"),
    "below_a_file": (change("d/b", 0, "d/a/b"), "below"),
    "sparse": (sparse, "is sparse"),
    "xattrs_too_large": (many_records, "bytes of xattrs"),
    "text_without_end": (shared_record, "bytes of names and xattrs"),
    "name_too_long": (change("d/b", 0, "x" * 5000), "cannot be read"),
    "packed_size_of_a_bomb": (lambda z: setattr(z, "size", 1 << 39), "no zTOC|unpack to"),
    "digests_swapped": (swap_digests, "another digest"),
    "bits_of_another_place": (wrong_bits, "another digest|cannot be decoded"),
    "span_longer_than_its_bytes": (short_span, "cannot be decoded"),
    "span_shorter_than_its_bytes": (long_span, "cannot be decoded"),
}


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Run:
    def __init__(self, where, ztoc_make, layer_make):
        self.where, self.ztoc_make, self.layer_make = where, ztoc_make, layer_make
        self.failed = self.n = 0

    def make(self, ztoc, blob):
        """(index, layer file), or what was said."""
        a, b, index, layer = (f"{self.where}/{n}" for n in ("ztoc", "blob", "index", "layer"))
        write(a, ztoc)
        write(b, blob)
        p = subprocess.run([self.ztoc_make, a, b, index, layer], stderr=subprocess.PIPE, timeout=60)
        if p.returncode not in (0, 1):
            raise RuntimeError(f"ztoc_make: {p.returncode}: {p.stderr!r}")
        return p.stderr.decode("utf-8", "replace") if p.returncode else (read(index), read(layer))

    def oracle(self, plain):
        tar, index, layer = (f"{self.where}/{n}" for n in ("tar", "index", "layer"))
        write(tar, plain)
        subprocess.run([self.layer_make, tar, index, layer], check=True)
        return read(index), read(layer)

    def check(self, name, right, what=""):
        self.n += 1
        if not right:
            self.failed += 1
            print("FAIL", name, what)


def layers():
    yield "small", SMALL
    yield "empty", oci.tar([])
    for name, data in (("links", odd_image.links_pax()), ("names", odd_image.base_gnu())):
        yield name, data


def main():
    with tempfile.TemporaryDirectory() as d:
        run = Run(d, *sys.argv[1:])
        for name, plain in layers():
            want = run.oracle(plain)
            for case, blob, more in packed_in_all_ways(name, plain):
                z = soci.Ztoc(blob, **more)
                got = run.make(z.pack(), blob)
                run.check(case, got == want, got if isinstance(got, str) else "is another layer")
        z = soci.Ztoc(soci.gz(SMALL), span_size=1000)
        z.files.reverse()  # in any order
        run.check("reversed", run.make(z.pack(), z.blob) == run.oracle(SMALL))
        for name, (lie, said) in LIES.items():
            z = soci.Ztoc(soci.gz(SMALL), span_size=20000)
            lie(z)
            got = run.make(z.pack(), z.blob)
            run.check(name, isinstance(got, str) and re.search(said, got), got)
        print(f"{run.n} cases, {run.failed} failed")
        return run.failed != 0


def corpus(where):
    small = oci.tar(MEMBERS[:2] + MEMBERS[3:5])
    for name, (lie, _) in {"right": (lambda z: None, ""), **LIES}.items():
        z = soci.Ztoc(small, form="none", span_size=4000)
        try:
            lie(z)
        except (StopIteration, AttributeError):  # about what the small one does not have
            continue
        data = z.pack()
        if len(data) < 20000:
            write(f"{where}/layer_{name}", data)


if __name__ == "__main__":
    sys.exit(corpus(sys.argv[2]) if sys.argv[1] == "--corpus" else main())
