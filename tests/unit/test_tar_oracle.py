#!/usr/bin/env python3
"""What real tars write of a tree with everything in it: our parser must see what lstat(2) saw, and what
Python's tarfile sees. Argument: the tar_dump program."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import unittest

DUMP = sys.argv.pop(1)
ROOT = os.geteuid() == 0
TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFDIR: "dir",
    stat.S_IFIFO: "fifo",
}
DEEP = 14  # directories of 200 bytes each: a path of some 2.8 KB


def write(path, data=b"", ns=None):
    with open(path, "wb") as f:
        f.write(data)
    if ns is not None:
        os.utime(path, ns=(ns, ns))


def write_sparse(path, size, pieces):
    with open(path, "wb") as f:
        for off, data in pieces:
            f.seek(off)
            f.write(data)
        f.truncate(size)


def make_small_tree(top):
    """What even the oldest format can say."""
    os.mkdir(top)
    os.mkdir(top + "/dir", 0o700)
    os.chmod(top + "/dir", 0o1777)
    for size in (0, 1, 511, 512, 513, 100000):
        write("%s/size-%d" % (top, size), bytes(i * 7 % 251 for i in range(size)), 10**9 * size)
    write(top + "/mode", b"x")
    os.chmod(top + "/mode", 0o4751)
    os.symlink("../target", top + "/sym")
    os.link(top + "/size-513", top + "/zz-hard")
    write(os.fsencode(top) + b"/not-utf8-\xff\xe4", b"y")
    write(top + "/=,%\n\\ name", b"z")
    if ROOT:
        os.chown(top + "/mode", 1000, 1001)
        os.chmod(top + "/mode", 0o4751)


def make_posix_tree(top):
    make_small_tree(top)
    os.mkfifo(top + "/fifo")
    if ROOT:
        try:
            os.mknod(top + "/char", stat.S_IFCHR | 0o600, os.makedev(5, 1))
            os.mknod(top + "/block", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
        except PermissionError:
            print("no devices in the tree: mknod is not permitted here")
    write(top + "/" + "p" * 90, b"q")
    os.makedirs(top + "/" + "d" * 80 + "/" + "e" * 60)
    write(top + "/" + "d" * 80 + "/" + "e" * 60 + "/" + "f" * 80, b"prefix")


def make_full_tree(top):
    make_posix_tree(top)
    write(top + "/" + "n" * 255, b"255")
    os.symlink("t" * 3000, top + "/long-sym")
    os.link(top + "/" + "n" * 255, top + "/zz-hard-to-long-name")
    write(top + "/nsec", b"", 1234567890123456789)
    write(top + "/old", b"", -1500000000)
    write(top + "/far", b"", 10**9 * (1 << 33) + 1)
    write_sparse(top + "/sparse-holes", 1 << 20, [])
    write_sparse(top + "/sparse-end", 1 << 20, [((1 << 20) - 10, b"end of file")])
    write_sparse(top + "/sparse-few", 1 << 20, [(0, b"a" * 5000), (300000, b"b" * 70000)])
    write_sparse(top + "/sparse-many", 8 << 20, [(i * 65536, bytes([i + 1]) * 4096) for i in range(100)])
    here = os.getcwd()
    os.chdir(top)
    for i in range(DEEP):
        os.mkdir("%02d" % i + "x" * 198)
        os.chdir("%02d" % i + "x" * 198)
    write("deep", b"deep")
    os.chdir(here)
    if ROOT:
        os.chown(top + "/nsec", 3000000000, 4000000000)


def normal(path):
    return b"/".join(p for p in path.split(b"/") if p not in (b"", b"."))


def dump(archive, piece):
    """The members as our parser tells them, texts as bytes."""
    out = subprocess.run([DUMP, str(piece)], input=archive, stdout=subprocess.PIPE, check=True).stdout
    members = [json.loads(line) for line in out.splitlines()]
    for m in members:
        m["path"] = bytes.fromhex(m["path"])
        m["link"] = bytes.fromhex(m["link"])
        m["xattrs"] = {k: bytes.fromhex(v) for k, v in m["xattrs"].items()}
    return members


def content(archive, m):
    if not m["sparse"]:
        return archive[m["body"] : m["body"] + m["size"]]
    data = bytearray(m["size"])
    for off, size, body in m["fragments"]:
        data[off : off + size] = archive[body : body + size]
    return bytes(data)


class Oracle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = tempfile.mkdtemp(prefix="tar-oracle-")
        cls.trees = {}
        for name, make in (("small", make_small_tree), ("posix", make_posix_tree), ("full", make_full_tree)):
            cls.trees[name] = cls.tmp + "/" + name
            make(cls.trees[name])
        try:
            os.setxattr(cls.trees["full"] + "/mode", "user.lazyrun", b"value\0with=\n")
            os.setxattr(cls.trees["full"] + "/dir", "user.empty", b"")
            cls.xattrs = True
        except OSError as e:
            print("no xattrs in the tree: %s" % e)
            cls.xattrs = False

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.tmp)

    def members(self, archive):
        """In pieces of three sizes, always the same."""
        members = dump(archive, 1 << 30)
        self.assertEqual(members, dump(archive, 65536 + 1))
        self.assertEqual(members, dump(archive, 333))
        return members

    def same_as_tree(self, tree, archive, nsec=False, xattrs=False, odd_times=()):
        top = os.fsencode(self.trees[tree])
        seen, by_path = set(), {}
        for m in self.members(archive):
            path = normal(m["path"])
            st = lstat_deep(top, path)
            self.assertNotIn(path, seen)
            seen.add(path)
            if m["type"] == "hard":
                first = by_path[normal(m["link"])]
                self.assertEqual(st.st_ino, lstat_deep(top, normal(m["link"])).st_ino)
                self.assertEqual(first["type"], "file")
                continue
            by_path[path] = m
            self.assertEqual(m["type"], TYPES[stat.S_IFMT(st.st_mode)], path)
            self.assertEqual((m["mode"], m["uid"], m["gid"]), (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), path)
            want = divmod(st.st_mtime_ns, 10**9) if nsec else (st.st_mtime_ns // 10**9, 0)
            if path not in odd_times:
                self.assertEqual((m["mtime"], m["nsec"]), want, path)
            self.check_content(top, path, m, archive, st)
            if xattrs and self.xattrs and m["type"] in ("file", "dir"):
                full = os.path.join(top, path)
                if len(full) < 4096:
                    want = {k: os.getxattr(full, k) for k in os.listxattr(full) if k.startswith("user.")}
                    self.assertEqual(m["xattrs"], want, path)
        self.assertEqual(seen, walk_deep(top))

    def check_content(self, top, path, m, archive, st):
        if m["type"] == "file":
            self.assertEqual(m["size"], st.st_size, path)
            with open(open_deep(top, path), "rb") as f:
                self.assertEqual(content(archive, m), f.read(), path)
        elif m["type"] == "symlink":
            self.assertEqual(m["link"], os.readlink(os.path.join(top, path)))
        elif m["type"] in ("char", "block"):
            self.assertEqual((m["major"], m["minor"]), (os.major(st.st_rdev), os.minor(st.st_rdev)))

    def same_as_tarfile(self, archive):
        kinds = {
            tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.CONTTYPE: "file",
            tarfile.GNUTYPE_SPARSE: "file", tarfile.LNKTYPE: "hard", tarfile.SYMTYPE: "symlink",
            tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.DIRTYPE: "dir", tarfile.FIFOTYPE: "fifo",
        }
        ours = self.members(archive)
        with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as t:
            theirs = t.getmembers()
        self.assertEqual(len(ours), len(theirs))
        for m, i in zip(ours, theirs):
            self.assertEqual(m["type"], kinds[i.type])
            self.assertEqual(normal(m["path"]), normal(os.fsencode(i.name)))
            if m["type"] in ("hard", "symlink"):
                self.assertEqual(m["link"], os.fsencode(i.linkname))
            self.assertEqual((m["mode"], m["uid"], m["gid"]), (i.mode & 0o7777, i.uid, i.gid))
            self.assertAlmostEqual(m["mtime"] + m["nsec"] / 1e9, i.mtime, places=3)
            if m["type"] == "file":
                self.assertEqual(m["size"], i.size)
                self.assertEqual(m["sparse"], i.sparse is not None)
                if m["sparse"]:
                    want = [(off, size) for off, size in i.sparse if size]
                    self.assertEqual([(off, size) for off, size, _ in m["fragments"]], want)
                    if m["fragments"]:
                        self.assertEqual(m["fragments"][0][2], i.offset_data)
                else:
                    self.assertEqual(m["body"], i.offset_data)
            if m["type"] in ("char", "block"):
                self.assertEqual((m["major"], m["minor"]), (i.devmajor, i.devminor))

    def gnu_tar(self, tree, *options):
        command = ["tar", "--numeric-owner", *options, "-C", self.trees[tree], "-cf", "-", "."]
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout

    def test_gnu_tar(self):
        pax = ("--format=pax", "--xattrs")
        for tree, options, nsec in (
            ("small", ("--format=v7",), False),
            ("posix", ("--format=ustar",), False),
            ("full", ("--format=oldgnu",), False),
            ("full", ("--format=oldgnu", "-S"), False),
            ("full", ("--format=gnu",), False),
            ("full", ("--format=gnu", "-S"), False),
            ("full", pax, True),
            ("full", (*pax, "-S", "--sparse-version=0.0"), True),
            ("full", (*pax, "-S", "--sparse-version=0.1"), True),
            ("full", (*pax, "-S", "--sparse-version=1.0"), True),
        ):
            with self.subTest(options=options):
                archive = self.gnu_tar(tree, *options)
                self.assertEqual(any(m["sparse"] for m in dump(archive, 4096)), "-S" in options)
                self.same_as_tree(tree, archive, nsec=nsec, xattrs=nsec)
                self.same_as_tarfile(archive)

    def test_bsdtar(self):
        if not shutil.which("bsdtar"):
            self.skipTest("bsdtar is not installed")
        # libarchive writes -1.5 s as "-2.5", and to gnutar only times from 0 to 2^33 - 1.
        odd = {"pax": (b"old",), "gnutar": (b"far", b"old")}
        for tree, form in (("small", "v7tar"), ("posix", "ustar"), ("full", "gnutar"), ("full", "pax")):
            with self.subTest(format=form):
                command = ["bsdtar", "--numeric-owner", "--format", form, "-C", self.trees[tree], "-cf", "-", "."]
                archive = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
                pax = form == "pax"
                self.same_as_tree(tree, archive, nsec=pax, xattrs=pax, odd_times=odd.get(form, ()))
                self.same_as_tarfile(archive)

    def python_archive(self, form, **pax):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape", **pax) as t:
            for n, (uid, mtime, name) in enumerate(
                ((0, 0, "a"), (2097151, 8589934591, "b" * 100), (5, 1, "c" * 90 + "/" + "c" * 90),
                 (2097152, -1, "d" * 300), (4294967294, -2.5, "e/" * 700 + "e"), (1, 1 << 35, "\udce4\xe4"))
            ):
                if form == tarfile.USTAR_FORMAT and n > 2:
                    break
                i = tarfile.TarInfo(name)
                i.uid = i.gid = uid
                i.mtime = mtime
                i.size = 1000 * n
                i.pax_headers = {"SCHILY.xattr.user.n": str(n)} if n else {}
                t.addfile(i, io.BytesIO(bytes([n]) * i.size))
        return out.getvalue()

    def test_tarfile(self):
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with self.subTest(format=form):
                archive = self.python_archive(form)
                self.same_as_tarfile(archive)
                for n, m in enumerate(self.members(archive)):
                    self.assertEqual(content(archive, m), bytes([n]) * 1000 * n)
                    if form == tarfile.PAX_FORMAT and n:
                        self.assertEqual(m["xattrs"], {"user.n": b"%d" % n})

    def test_tarfile_global_headers(self):
        archive = self.python_archive(tarfile.PAX_FORMAT, pax_headers={"gid": "77", "SCHILY.xattr.user.g": "g"})
        for m in self.members(archive):
            self.assertEqual(m["xattrs"]["user.g"], b"g")
            self.assertIn(m["gid"], (77, 2097152, 4294967294))


def open_deep(top, path):
    """A descriptor, by components: the path may be longer than PATH_MAX."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for name in filter(None, path.split(b"/")):
        fd, parent = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd), fd
        os.close(parent)
    return fd


def lstat_deep(top, path):
    parent, _, name = path.rpartition(b"/")
    fd = open_deep(top, parent)
    try:
        return os.stat(name or b".", dir_fd=fd, follow_symlinks=False)
    finally:
        os.close(fd)


def walk_deep(top):
    found = {b""}
    for path, dirs, files, _ in os.fwalk(top):
        for name in dirs + files:
            found.add(normal(path[len(top) :] + b"/" + name))
    return found


if __name__ == "__main__":
    unittest.main()
