#!/usr/bin/env python3
"""SOCI's table of a layer, as we write it, says what test code that shares nothing with it says; and our reader reads it.

    test_ztoc_write.py ZTOC_WRITE ZTOC_MAKE
"""
import io
import os
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import oci
import odd_image
import soci

SPAN = 4 << 20
LARGE = oci.tar([oci.directory("d"), oci.member("d/a", odd_image.noise("a", 3000), xattrs={"user.k": b"v\xff", "user.l": b""}),
                 oci.member("d/b", odd_image.noise("b", 6 << 20).hex().encode()), oci.symlink("d/s", "a"),
                 oci.hardlink("d/h", "d/a"), oci.member("d/c", odd_image.noise("c", 9 << 20), mtime="1700000000.25"),
                 oci.member("d/" + "long" * 60, b"text", mtime="-1.5", uid=3000000)])


def global_header():
    """A record that counts for all members, between them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as t:
        t.addfile(tarfile.TarInfo("a"))
    return out.getvalue()


def cases():
    """(name, blob, form)"""
    names = odd_image.base_gnu()
    for name, plain in ("links", odd_image.links_pax()), ("names", names), ("ustar", odd_image.spellings_ustar()):
        yield name, soci.gz(plain), "gzip"
        yield name + " uncompressed", plain, "none"
    yield "empty", soci.gz(oci.tar([])), "gzip"
    yield "no end mark", soci.gz(names[:soci.Ztoc(names, "none").end()]), "gzip"
    for name, pack in (("gzip", soci.gz), ("stored blocks", lambda p: soci.gz(p, 0)),
                       ("flushed", lambda p: soci.gz_flushed(p, 1 << 20)), ("named", soci.gz_named),
                       ("members", lambda p: soci.gz_members(p, 3 << 20)),
                       ("small members", lambda p: soci.gz_members(p, 100000))):
        yield name, pack(LARGE), "gzip"
    yield "uncompressed", LARGE, "none"
    yield "uncompressed, whole spans", LARGE + bytes(-len(LARGE) % SPAN), "none"


REFUSED = {"global header": soci.gz(global_header()), "behind the end": soci.gz(oci.tar([])) + b"no gzip at all",
           "cut": soci.gz(LARGE)[:-9], "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
           "year 10000": soci.gz(oci.tar([oci.member("a", mtime="253402300800")]))}


def run(where, write, data):
    with open(where + "/blob", "wb") as f:
        f.write(data)
    p = subprocess.run([write, where + "/blob", where + "/ztoc"], stderr=subprocess.PIPE, timeout=60, check=False)
    if p.returncode not in (0, 1):
        raise RuntimeError(f"ztoc_write: {p.returncode}: {p.stderr!r}")
    if p.returncode:
        return p.stderr.decode()
    with open(where + "/ztoc", "rb") as f:
        return f.read()


def differences(z, data):
    got = soci.ReadZtoc(data)
    checkpoints = z._checkpoints() if z.form == "gzip" else None
    pairs = {"version": (got.version, b"0.9"), "tool": (got.tool, b"lazyrun"), "form": (got.form, z.form),
             "packed size": (got.packed_size, z.packed_size), "size": (got.size, z.size), "digests": (got.digests, z.digests),
             "spans": (got.max_span, len(z.digests) - 1), "checkpoints": (got.checkpoints, checkpoints),
             "files": (got.files, list(z.shown()))}
    if z.form == "none":
        pairs["stored"] = (got.stored, [2, SPAN, z.packed_size])
    return [f"{k}: {str(a)[:300]}, should be {str(b)[:300]}" for k, (a, b) in pairs.items() if a != b]


def reads_back(where, make, z):
    """Our reader gives the tar, but for padding."""
    subprocess.run([make, where + "/ztoc", where + "/blob", where + "/index", where + "/layer"], check=True, timeout=60)
    with open(where + "/layer", "rb") as f:
        layer = f.read()
    n = min(len(layer), len(z.plain))
    return layer[:n] == z.plain[:n] and not any(layer[n:]) and n >= z.size


def main():
    write, make = sys.argv[1:]
    failed = n = 0
    with tempfile.TemporaryDirectory() as where:
        for name, blob, form in cases():
            n += 1
            z = soci.Ztoc(blob, form, SPAN, padding=False)
            data = run(where, write, blob)
            wrong = [data] if isinstance(data, str) else differences(z, data)
            if not wrong and not reads_back(where, make, z):
                wrong = ["our reader gives something else"]
            if wrong:
                failed += 1
                print("FAIL", name, *wrong, sep="\n  ")
        sparse = {"sparse " + v: soci.gz(odd_image.sparse_pax(where, v)) for v in ("0.1", "1.0")}
        for name, blob in {**REFUSED, **sparse}.items():
            n += 1
            said = run(where, write, blob)
            if not isinstance(said, str):
                failed += 1
                print("FAIL", name, "is accepted")
    print(f"{n} cases, {failed} failed")
    return failed != 0


sys.exit(main())
