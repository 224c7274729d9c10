#!/usr/bin/env python3
"""The kernel mounts what layer_builder writes, and sees in it what the tars say and what `tree` sees.

    test_layer_kernel.py LAYER_MAKE TREE_DUMP

Exit 77 (skipped) without root or without file-backed EROFS.
"""
import os
import stat
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import kernel_stack
import odd_image
import oci
import tree

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
errors = []


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def wrong(text):
    errors.append(text)


def own_mounts():
    """All mounts of this test are gone with it, however it ends."""
    if os.geteuid() != 0:
        skip("mounting needs root")
    kernel_stack._check(kernel_stack.libc.unshare(CLONE_NEWNS), "unshare")
    kernel_stack.mount("none", "/", "none", MS_REC | MS_PRIVATE)


class Layer:
    def __init__(self, where, number, data, layer_make):
        self.number, self.dir = number, f"{where}/{number}"
        os.mkdir(self.dir)
        self.tar, self.index, self.file = (f"{self.dir}/{n}" for n in ("tar", "index.erofs", "data"))
        with open(self.tar, "wb") as f:
            f.write(data)
        subprocess.run([layer_make, self.tar, self.index, self.file], check=True)


def last_members(path):
    """{name: (TarInfo, content)} of what a tar leaves when it is unpacked, whiteouts not followed."""
    found = {}
    with tarfile.open(path, "r:", errorlevel=2) as t:
        for m in t:
            name = tree.normal(m.name)
            if os.path.basename(name).startswith(b".wh."):
                continue
            if not m.isdir():
                for n in [n for n in found if n.startswith(name + b"/")]:
                    del found[n]
            if m.islnk():
                found[name] = found[tree.normal(m.linkname)]
                continue
            content = t.extractfile(m).read() if m.isreg() else None
            found[name] = (m, content)
    return found


def member_xattrs(m):
    prefix = "SCHILY.xattr."
    return {k[len(prefix):]: v.encode("utf-8", "surrogateescape")
            for k, v in m.pax_headers.items() if k.startswith(prefix)}


TYPES = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR,
         tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO}


def check_entry(where, e, m, path, content):
    xattrs = {k: v for k, v in e.xattrs.items() if not k.startswith("trusted.overlay.")}
    want = {"type": TYPES.get(m.type, stat.S_IFREG), "mode": m.mode & 0o7777, "uid": m.uid, "gid": m.gid,
            "mtime": mtime(m), "xattrs": member_xattrs(m)}
    if m.issym():
        want["target"] = os.fsencode(m.linkname)
        want["mode"] = e.mode if e.mode == 0o777 else m.mode
    if m.isdev() and not m.isfifo():
        want["rdev"] = os.makedev(m.devmajor, m.devminor)
    for field, value in want.items():
        got = xattrs if field == "xattrs" else getattr(e, field)
        if field == "target" and got is not None:
            got = os.fsencode(got)
        if got != value:
            wrong(f"{where}: {field} is {got!r}, not {value!r}")
    if content is not None:
        with open(path, "rb") as f:
            if f.read() != content:
                wrong(f"{where}: another content")


def mtime(m):
    """In ns, from the text: floats are not exact."""
    text = str(m.pax_headers.get("mtime", int(m.mtime)))
    negative = text.startswith("-")
    seconds, _, fraction = text.lstrip("-").partition(".")
    ns = int(seconds) * 10**9 + int((fraction + "0" * 9)[:9])
    return -ns if negative else ns


def check_layer_alone(layer, where):
    at = f"{where}/mnt"
    os.makedirs(at, exist_ok=True)
    try:
        kernel_stack.mount(layer.index, at, "erofs", kernel_stack.MS_RDONLY, f"device={layer.file}")
    except OSError as e:
        if layer.number == 0:
            skip(f"no file-backed EROFS here: {e}")
        raise
    try:
        seen = tree.capture(at)
        want = last_members(layer.tar)
        for name, (m, content) in want.items():
            label = f"layer {layer.number}: {tree.names_text(name)}"
            if name not in seen:
                wrong(f"{label}: missing")
            else:
                check_entry(label, seen[name], m, os.path.join(os.fsencode(at), name), content)
        parents = {p for n in want for p in parents_of(n)}
        for name in seen.keys() - want.keys() - parents:
            e = seen[name]
            is_whiteout = e.type == stat.S_IFCHR and e.rdev == 0
            is_implied = e.type == stat.S_IFDIR and (e.mode, e.uid, e.gid, e.mtime) == (0o755, 0, 0, 0)
            if not is_whiteout and not is_implied:
                wrong(f"layer {layer.number}: {tree.names_text(name)} should not be there")
    finally:
        kernel_stack.umount(at)


def parents_of(name):
    yield b"."
    while name := os.path.dirname(name):
        yield name


def check_dump(layers, tree_dump, merged):
    """What `tree` makes of the layers is what overlayfs makes of them."""
    files = [f for layer in layers for f in (layer.index, layer.file)]
    text = subprocess.run([tree_dump] + files, check=True, stdout=subprocess.PIPE).stdout.decode()
    seen, dumped = tree.capture(merged), set()
    for line in text.splitlines():
        (path, mode, uid, gid, size, sec, nsec, rdev, nlink, top, position, target, content,
         xattrs) = line.split("\t")
        path, mode = bytes.fromhex(path), int(mode, 8)
        dumped.add(path)
        e = seen.get(path)
        if e is None:
            wrong(f"tree has {tree.names_text(path)}, overlayfs has not")
            continue
        want = {"type": stat.S_IFMT(mode)}
        if top == position:  # else overlayfs shows the implied directory's attributes
            want |= {"mode": stat.S_IMODE(mode), "uid": int(uid), "gid": int(gid),
                     "mtime": int(sec) * 10**9 + int(nsec),
                     "xattrs": {bytes.fromhex(x.split("=")[0]).decode(): bytes.fromhex(x.split("=")[1])
                                for x in xattrs.split(",") if x}}
        if not stat.S_ISDIR(mode):
            want |= {"size": int(size), "nlink": int(nlink)}
        if stat.S_ISREG(mode):
            want["content"] = content
        if stat.S_ISLNK(mode):
            want["target"] = bytes.fromhex(target)
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            want["rdev"] = os.makedev(*map(int, rdev.split(":")))
        for field, value in want.items():
            got = getattr(e, field)
            if field == "target" and got is not None:
                got = os.fsencode(got)
            if got != value:
                wrong(f"{tree.names_text(path)}: overlayfs says {field} {got!r}, tree {value!r}")
    for path in seen.keys() - dumped:
        wrong(f"overlayfs has {tree.names_text(path)}, tree has not")
    return len(dumped)


def check_same_bytes(layer, layer_make):
    """A second run, with other hash seeds and addresses, gives the same bytes."""
    subprocess.run([layer_make, layer.tar, layer.index + ".again", layer.file + ".again"], check=True)
    for path in (layer.index, layer.file):
        with open(path, "rb") as a, open(path + ".again", "rb") as b:
            if a.read() != b.read():
                wrong(f"layer {layer.number}: {os.path.basename(path)} differs from run to run")


def small_layers():
    """What the odd image lacks: whiteouts next to the same name, opaque roots' neighbours, edges."""
    m, d = oci.member, oci.directory
    low = [d("keep"), m("keep/low", b"1"), m("file", b"low"), d("dir"), m("dir/low", b"1"),
           d("w"), m("w/a", b"1"), m("w/b", b"1"), d("o"), m("o/low", b"1"), d("deep/er"), m("deep/er/low", b"1")]
    high = [oci.whiteout("file"), m("file", b"high"), m("dir/high", b"2"), oci.whiteout("dir"),
            oci.whiteout("w/a"), oci.opaque("o"), oci.whiteout("o/low"), oci.whiteout("o/never"),
            m("deep/er/high", b"2"), oci.whiteout("keep/none")]
    high += [oci.symlink(f"l{n}", "t" * n) for n in (1, 255, 430, 447, 448, 449, 511, 512, 513, 1024, 4000, 4095)]
    high += [m(f"x{n}", b"x", xattrs={"user.v": b"v" * n}) for n in (1, 400, 440, 512, 4000)]
    high += [oci.symlink(f"y{n}", "y" * 300, xattrs={"trusted.v": b"v" * n}) for n in (1, 100, 130, 512, 4000)]
    return [oci.tar(low, tarfile.PAX_FORMAT), oci.tar(high, tarfile.PAX_FORMAT)]


def main():
    layer_make, tree_dump = sys.argv[1:3]
    own_mounts()
    with tempfile.TemporaryDirectory(prefix="lazyrun-layers-", dir="/var/tmp") as where:
        tars = odd_image.layers() + small_layers() + [oci.tar([], tarfile.PAX_FORMAT)]
        layers = [Layer(where, i, data, layer_make) for i, data in enumerate(tars)]
        for layer in layers:
            check_layer_alone(layer, where)
            check_same_bytes(layer, layer_make)
        n = 0
        for part in (layers[:8], layers[8:10], layers):
            with kernel_stack.stacked([layer.dir for layer in part]) as merged:
                n += check_dump(part, tree_dump, merged)
    for text in errors[:50]:
        print(text)
    print(f"{len(layers)} layers, {n} nodes compared, {len(errors)} differences")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
