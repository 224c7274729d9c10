"""odd_image: an image of eight layers made on purpose of everything that is legal and rare.

Four tar dialects, all sparse formats, whiteouts and opaque directories, files and directories that
replace each other, hard links, devices, xattrs, names and times at their limits. The same bytes
each time, but for GNU tar's pid in the sparse formats 0.1 and 1.0. Times stay between 1901 and
2262, what the oracle (umoci, on ext4) can hold, and no xattr is empty: Go's tar
drops those.
"""
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile

from oci import directory, hardlink, member, opaque, symlink, tar, whiteout

CAP_NET_BIND = bytes.fromhex("0100000200040000000000000000000000000000")  # v2, cap_net_bind_service=ep
CAP_V3 = bytes.fromhex("010000030020000000000000000000000000000000000000")[:20] + bytes.fromhex("e8030000")
LONG = "n" * 255
N_MANY = 5000


def noise(seed, size):
    """Incompressible bytes, the same each time."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def deep_path(size=3072):
    """A path of `size` bytes, its parents first."""
    parents, path = [], "deep"
    while len(path) + 101 <= size - 101:
        parents.append(path)
        path += "/" + chr(ord("a") + len(parents) % 26) * 100
    parents.append(path)
    return parents, path + "/" + "z" * (size - len(path) - 1)


def base_gnu():
    """Layer 1, GNU tar: the tree that later layers change; names, sizes, numbers."""
    m = [directory(d) for d in ("bin", "etc", "dev", "tmp", "proc", "sys", "root")]
    with open(shutil.which("busybox") or "/bin/busybox", "rb") as f:
        m.append(member("bin/busybox", f.read(), 0o755))
    m += [symlink("bin/" + n, "busybox") for n in ("sh", "cat", "ls", "true", "find", "stat", "sleep")]
    m.append(member("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"))
    m.append(member("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"))
    m.append(directory("many"))
    m += [member(f"many/{i:05}", b"file %d\n" % i, mtime=1600000000 + i) for i in range(N_MANY)]
    m.append(directory("sizes"))
    for n in (0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, (1 << 20) - 1, (1 << 20) + 1, 3000000):
        m.append(member(f"sizes/{n}", noise(n, n)))
    m.append(member("sizes/zeros", bytes(5 << 20)))
    m.append(directory("names"))
    for n in (LONG, "with space", "new\nline", "\udcff\udcfe-not-utf8", "ünïcode", "back\\slash", ".whx",
              "..a", "-rf", "%s%n", "a" * 99, "a" * 100, "a" * 101, "quote'\""):
        m.append(member("names/" + n, n.encode("utf-8", "surrogateescape")))
    m.append(directory("names/d-" + "d" * 250))
    parents, path = deep_path()
    m += [directory(p) for p in parents] + [member(path, b"deep")]
    m.append(directory("owners"))
    for n in (1, 1000, 65534, 65535, 65536, 2097151, 2097152, 3000000000):
        m.append(member(f"owners/{n}", b"", uid=n, gid=n))
    m.append(directory("modes"))
    for n in (0, 0o111, 0o644, 0o4755, 0o2755, 0o1777, 0o7777):
        m.append(member(f"modes/f{n:04o}", b"x", mode=n))
        m.append(directory(f"modes/d{n:04o}", mode=n))
    m += [directory("gone"), member("gone/a", b"1"), directory("gone/dir"), member("gone/dir/x", b"2"),
          member("gone/kept", b"3"), directory("again"), member("again/old", b"1"),
          directory("again/sub"), member("again/sub/old", b"1")]
    m += [directory("cover"), member("cover/low", b"1"), directory("cover/sub"),
          member("cover/sub/low", b"1"), directory("cover/sub/deep"), member("cover/sub/deep/low", b"1")]
    m += [directory("swap"), member("swap/file", b"f"), directory("swap/dir"), member("swap/dir/x", b"1"),
          directory("swap/dir/sub"), member("swap/dir/sub/y", b"2"), symlink("swap/link", "dir"),
          member("swap/tolink", b"f"), directory("swap/dirtolink"), member("swap/dirtolink/x", b"1")]
    m += [directory("merge", mode=0o700, mtime=1000), member("merge/low", b"low"),
          member("merge/both", b"low"), directory("merge/attr", mode=0o755, uid=5, gid=6)]
    return tar(m, tarfile.GNU_FORMAT)


def links_pax():
    """Layer 2, pax: hard links, devices, times, xattrs."""
    m = [directory("links"), member("links/a", b"linked", mode=0o640, uid=3),
         hardlink("links/b", "links/a"), hardlink("links/c", "links/b"), hardlink("many/linked", "links/a"),
         member("links/two", noise("two", 9000)), hardlink("links/two-again", "links/two"),
         symlink("links/s", "a"), hardlink("links/s2", "links/s"),
         member("links/empty", b""), hardlink("links/empty2", "links/empty"),
         symlink("links/long", "t/" * 1000 + "x"), symlink("links/abs", "/etc/passwd"),
         symlink("links/dangling", "../../../nowhere"), symlink("links/loop", "loop")]
    m += [directory("nodes"),
          member("nodes/null", mode=0o666, type=tarfile.CHRTYPE, device=(1, 3)),
          member("nodes/big", mode=0o600, type=tarfile.CHRTYPE, device=(240, 70000)),
          member("nodes/loop", mode=0o660, type=tarfile.BLKTYPE, device=(7, 1), gid=6),
          member("nodes/fifo", mode=0o622, type=tarfile.FIFOTYPE),
          hardlink("nodes/null2", "nodes/null")]
    m.append(directory("times"))
    for t in (0, 1, "-1", "-1.5", "-0.000000001", "-2147483648", "0.123456789", "2147483647.999999999",
              "2147483648", "4102444800.5", "9000000000.25", "1700000000.1", "1700000000.000000001"):
        m.append(member(f"times/f{t}", b"", mtime=t))
        m.append(directory(f"times/d{t}", mtime=t))
        m.append(symlink(f"times/s{t}", "x", mtime=t))
    m.append(directory("xattrs", xattrs={"user.dir": b"on a directory", "trusted.t": b"\0\1\2"}))
    m.append(member("xattrs/some", b"x", xattrs={"user.a": b"1", "user.bin": bytes(range(256)),
                                                "trusted.b": b"2"}))
    m.append(member("xattrs/long", b"x", xattrs={"user." + "n" * 200: noise("x", 1500)}))
    m.append(member("xattrs/forty", b"x", xattrs={f"user.n{i:02}": b"%d" % i for i in range(40)}))
    m += [member(f"xattrs/same{i}", b"x", xattrs={"user.shared": b"the same everywhere"}) for i in range(50)]
    m.append(member("xattrs/cap", b"x", mode=0o755, xattrs={"security.capability": CAP_NET_BIND}))
    m.append(member("xattrs/cap3", b"x", mode=0o755, xattrs={"security.capability": CAP_V3}))
    m.append(symlink("xattrs/link", "some", xattrs={"trusted.on": b"a symlink"}))
    m.append(member("xattrs/fifo", type=tarfile.FIFOTYPE, xattrs={"trusted.on": b"a fifo"}))
    m.append(directory("xattrs/changed", xattrs={"user.old": b"1", "user.both": b"1"}))
    m.append(directory("merge/attr", mode=0o2750, uid=7, gid=8, xattrs={"user.attr": b"2"}))
    return tar(m, tarfile.PAX_FORMAT)


def spellings_ustar():
    """Layer 3, ustar: names as sloppy tools write them, duplicates, and the first replacements."""
    m = [directory("./"), directory("./spell/"), member("./spell/dot", b"1"), member("/spell/absolute", b"2"),
         member("spell//double", b"3"), member("spell/./inner", b"4"), directory("spell/slash/"),
         member("spell/" + "p" * 60 + "/" + "q" * 60, b"ustar prefix"),
         member("implied/a/b/file", b"no parents"), member("merge/attr/new", b"implied parents below")]
    m += [member("spell/dup", b"first, longer"), member("spell/dup", b"last"),
          symlink("spell/dup2", "dup"), member("spell/dup2", b"was a link"),
          member("spell/dup3", b"was a file"), directory("spell/dup3"), member("spell/dup3/x", b"1"),
          member("spell/orig", b"one"), hardlink("spell/other", "spell/orig"), member("spell/orig", b"two!")]
    m += [whiteout("gone/a"), whiteout("gone/dir"), whiteout("gone/never-was"), whiteout("again"),
          directory("swap/file"), member("swap/file/in", b"now a directory"),
          whiteout("swap/dir"), member("swap/dir", b"now a file"),
          directory("swap/link"), member("swap/link/in", b"a directory, not through the link"),
          symlink("swap/tolink", "file"), symlink("swap/dirtolink", "file")]
    return tar(m, tarfile.USTAR_FORMAT)


def sparse_by_gnu_tar(where, *options):
    """Sparse files as GNU tar -S writes them, in directory `where`."""
    top = tempfile.mkdtemp(dir="/var/tmp")
    try:
        d = f"{top}/sparse/{where}"
        os.makedirs(d)

        def make(name, size, *pieces):
            with open(f"{d}/{name}", "wb") as f:
                for at, data in pieces:
                    f.seek(at)
                    f.write(data)
                f.truncate(size)
        m = 1 << 20
        make("middle", 8 * m, (3 * m, noise(1, 10000)))
        make("start", 2 * m, (0, noise(2, 5000)))
        make("end", 2 * m + 77, (2 * m, noise(3, 77)))
        make("hole", 4 * m)
        make("many", 3 * m, *[(i * 65536, noise(i, 4096 + i)) for i in range(40)])
        make("odd", 5 * m + 1, (m + 4096, b"x"), (4 * m, noise(4, 100001)))
        make("big", 64 * m, (63 * m, b"near the end"))
        for at, _, files in os.walk(top, topdown=False):
            for name in files:
                os.utime(f"{at}/{name}", ns=(1650000000000000000, 1650000000000000000))
            os.utime(at, ns=(1650000000000000000, 1650000000000000000))
        return subprocess.run(
            ["tar", "-C", top, "-c", "--sort=name", "--numeric-owner", "--owner=0", "--group=0",
             "--mode=u=rwX,go=rX", *options, "sparse"], check=True, stdout=subprocess.PIPE).stdout
    finally:
        shutil.rmtree(top)


def sparse_pax(where, version):
    return sparse_by_gnu_tar(where, "-S", "--format=pax", "--sparse-version=" + version,
                             "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")


def changes_pax():
    """Layer 8: deletions, opaque directories, the replacements back, changed attributes."""
    m = [directory("again", mode=0o711), member("again/new", b"only me"), directory("again/sub"),
         directory("cover"), opaque("cover"), member("cover/high", b"2"), directory("cover/sub"),
         member("cover/sub/high", b"2"),
         whiteout("swap/file"), member("swap/file", b"a file again"),
         whiteout("swap/dir"), directory("swap/dir"), member("swap/dir/z", b"a directory again"),
         member("swap/link", b"a file at last"),
         directory("gone/dir"), member("gone/dir/fresh", b"not x")]
    m += [whiteout(f"many/{i:05}") for i in range(0, N_MANY, 50)]
    m += [member(f"many/{i:05}", b"changed %d\n" % i, mode=0o600) for i in range(7, N_MANY, 100)]
    m += [member(f"many/new{i:04}", b"new %d\n" % i) for i in range(500)]
    m += [whiteout("links/b"), member("links/c", b"on its own now"), whiteout("links/two"),
          directory("xattrs/changed", xattrs={"user.both": b"2"}), directory("merge", mode=0o750, mtime=2000),
          member("merge/both", b"high"), whiteout("nodes/fifo"),
          whiteout("sparse/old/hole"), opaque("spell/dup3"), member("spell/dup3/y", b"opaque, implied")]
    return tar(m, tarfile.PAX_FORMAT)


def layers(for_umoci=False):
    """The eight plain tars, lowest first. umoci 0.4.7 knows no old GNU sparse members ("unknown
    typeflag S"): for it GNU tar writes the same files expanded."""
    old = ["--format=gnu"] if for_umoci else ["-S", "--format=gnu"]
    return [base_gnu(), links_pax(), spellings_ustar(),
            sparse_by_gnu_tar("old", *old), sparse_pax("v00", "0.0"), sparse_pax("v01", "0.1"),
            sparse_pax("v10", "1.0"), changes_pax()]
