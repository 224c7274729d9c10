"""tree: what a directory tree is, down to times, xattrs and links, and how two of them differ.

Also what the tars of an image say of its names: which directories a member names and which are
only implied, and how many links each file has by layer. Used by bench/tree_equal and tests.
"""
import hashlib
import os
import stat
import tarfile

FIELDS = ("type", "mode", "uid", "gid", "size", "mtime", "xattrs", "rdev", "target", "content")


class Entry:
    __slots__ = FIELDS + ("nlink", "inode")

    def __init__(self, path, st):
        self.type, self.mode = stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode)
        self.uid, self.gid, self.mtime, self.nlink = st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink
        self.inode = (st.st_dev, st.st_ino)
        is_dir, is_node = stat.S_ISDIR(st.st_mode), stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode)
        self.size = None if is_dir else st.st_size  # a directory's size is its file system's affair
        self.rdev = st.st_rdev if is_node else None
        self.target = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None
        self.xattrs = {x: os.getxattr(path, x, follow_symlinks=False)
                       for x in os.listxattr(path, follow_symlinks=False)}
        self.content = None
        if stat.S_ISREG(st.st_mode):
            h = hashlib.sha256()
            with open(path, "rb", buffering=0) as f:
                while block := f.read(1 << 20):
                    h.update(block)
            self.content = h.hexdigest()


def capture(top):
    """{path (bytes, relative, "." for the top): Entry}."""
    top = os.fsencode(top)
    found = {b".": Entry(top, os.lstat(top))}
    todo = [b""]
    while todo:
        prefix = todo.pop()
        for name in os.listdir(os.path.join(top, prefix)):
            relative = os.path.join(prefix, name)
            path = os.path.join(top, relative)
            e = found[relative] = Entry(path, os.lstat(path))
            if stat.S_ISDIR(e.type):
                todo.append(relative)
    return found


class LayerFacts:
    """What one tar says: .explicit and .implied directories, .times {explicit directory: mtime},
    .links {path: link count}, .root (the TarInfo of its "./" member, or None)."""

    def __init__(self, path):
        self.explicit, self.implied, self.root, self.times = set(), set(), None, {}
        inodes, serial = {}, 0
        with tarfile.open(path, "r:", errorlevel=2) as t:
            for m in t:
                name = normal(m.name)
                if name == b".":
                    self.root = m
                    self.explicit.add(b".")
                    continue
                head, tail = os.path.split(name)
                self._parents(head, inodes)
                if tail.startswith(b".wh."):
                    continue
                if m.isdir():
                    inodes.pop(name, None)
                    self.explicit.add(name)
                    self.times[name] = mtime_ns(m)
                    self.implied.discard(name)
                    continue
                if name in self.explicit or name in self.implied:
                    self._drop_below(name, inodes)
                if m.islnk():
                    inodes[name] = inodes[normal(m.linkname)]
                else:
                    serial += 1
                    inodes[name] = serial
        count = {}
        for i in inodes.values():
            count[i] = count.get(i, 0) + 1
        self.links = {name: count[i] for name, i in inodes.items()}

    def _parents(self, head, inodes):
        while head and head not in self.explicit and head not in self.implied:
            inodes.pop(head, None)
            self.implied.add(head)
            head = os.path.dirname(head)

    def _drop_below(self, name, inodes):
        for s in (self.explicit, self.implied):
            s.difference_update([d for d in s if d == name or d.startswith(name + b"/")])
        for n in [n for n in inodes if n.startswith(name + b"/")]:
            del inodes[n]


def normal(name):
    """A member's name without "./", leading, doubled and trailing slashes."""
    return b"/".join(c for c in os.fsencode(name).split(b"/") if c not in (b"", b".")) or b"."


def show(entry, field):
    value = getattr(entry, field)
    if field == "mode":
        return oct(value)
    if field == "type":
        return {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
                stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}.get(value, value)
    return repr(value)


def names_text(path):
    return path.decode("utf-8", "backslashreplace")[-200:]


def differences(oracle, ours, facts, kernel=False):
    """Texts of all differences. facts: [LayerFacts], lowest first. kernel: `ours` is an overlay of the
    layers' own trees.

    What is not compared, and why (checked by hand against the tars):
    - mtime of the top: umoci sets it before it makes the entries below and never again. What the
      topmost tar with a "./" member says is compared instead.
    - mtime of directories that their topmost layer only implies: umoci sets some of them to the time
      of unpacking. What the topmost member of that name says is compared instead.
    - mtime of directories that no layer names: umoci's are the time of unpacking. Their mode and
      owner are compared.
    - link counts against umoci: ours are by layer, umoci's shrink when an upper layer deletes a
      name. Compared with the count that the tar of the file's own layer gives, and the groups of
      names that share an inode are compared with umoci's.
    - kernel: attributes of a directory that its topmost layer only implies. There overlayfs shows
      that layer's directory; the FUSE server looks further down, and is compared in full.
    """
    out = []
    for p in sorted(oracle.keys() - ours.keys()):
        out.append(f"{names_text(p)}: missing")
    for p in sorted(ours.keys() - oracle.keys()):
        out.append(f"{names_text(p)}: should not be there")
    named = set().union(*(f.explicit for f in facts))
    for p in sorted(oracle.keys() & ours.keys()):
        a, b = oracle[p], ours[p]
        skip = set()
        if a.type == stat.S_IFDIR:
            if p == b"." or p not in named or _top_implies(p, facts):
                skip.add("mtime")
            if p in named and p != b"." and not kernel and _top_implies(p, facts):
                want = next(f.times[p] for f in reversed(facts) if p in f.explicit)
                if b.mtime != want:
                    out.append(f"{names_text(p)}: mtime is {b.mtime}, not {want} as its member says")
            if kernel and _top_implies(p, facts):
                skip |= {"mode", "uid", "gid", "mtime", "xattrs"}
        for field in FIELDS:
            if field not in skip and getattr(a, field) != getattr(b, field):
                out.append(f"{names_text(p)}: {field} is {show(b, field)}, not {show(a, field)}")
        if b.type != stat.S_IFDIR and b.type == a.type:
            links = next((f.links[p] for f in reversed(facts) if p in f.links), None)
            if b.nlink != links:
                out.append(f"{names_text(p)}: {b.nlink} links, not {links} as in its layer")
    roots = [f.root for f in facts if f.root]
    if roots and not (kernel and _top_implies(b".", facts)):
        want = mtime_ns(roots[-1])
        if ours[b"."].mtime != want:
            out.append(f".: mtime is {ours[b'.'].mtime}, not {want} as its member says")
    want, got = groups(oracle), groups(ours)
    for g in sorted(want - got, key=sorted):
        out.append(f"not one inode: {', '.join(names_text(p) for p in sorted(g))}")
    for g in sorted(got - want, key=sorted):
        out.append(f"should not be one inode: {', '.join(names_text(p) for p in sorted(g))}")
    return out


def _top_implies(path, facts):
    for f in reversed(facts):
        if path in f.explicit:
            return False
        if path in f.implied or path == b".":
            return True
    return True


def mtime_ns(info):
    text = str(info.pax_headers.get("mtime", int(info.mtime)))
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + (-1 if seconds.startswith("-") else 1) * int((fraction + "0" * 9)[:9])


def groups(tree):
    """The sets of names that are one file."""
    by_inode = {}
    for p, e in tree.items():
        if e.type != stat.S_IFDIR and e.nlink > 1:
            by_inode.setdefault(e.inode, set()).add(p)
    return {frozenset(g) for g in by_inode.values() if len(g) > 1}
