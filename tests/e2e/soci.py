"""soci: makes zTOCs and SOCI indexes from the formats' descriptions.

Nothing here is lazyrun's code, so the two can disagree: FlatBuffers are written by hand, checkpoints come from zlib's own
inflate with Z_BLOCK, as soci-snapshotter makes them. What a zTOC says may be changed before it is written, so that a
test can tell lies with it.
"""
import ctypes
import ctypes.util
import datetime
import decimal
import io
import json
import struct
import tarfile
import zlib

import oci

INDEX = {1: "application/vnd.amazon.soci.index.v1+json", 2: "application/vnd.amazon.soci.index.v2+json"}
ZTOC = "application/octet-stream"
EMPTY = "application/vnd.oci.empty.v1+json"
DIGEST_ANNOTATION = "com.amazon.soci.index-digest"
WINDOW = 32768
TYPES = {tarfile.REGTYPE: "reg", tarfile.AREGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink",
         tarfile.LNKTYPE: "hardlink", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}


# --- FlatBuffers ---

class Shared:
    """A value that stands in the table once, however many lead to it."""

    def __init__(self, value):
        self.value = value


class Writer:
    """FlatBuffers front to back: a parent first, its children behind it, offsets patched afterwards."""

    def __init__(self):
        self.b = bytearray(4)
        self.shared = {}  # value: where offsets lead to it

    def align(self):
        while len(self.b) % 8:
            self.b.append(0)

    def patch(self, at, target):
        self.b[at:at + 4] = struct.pack("<I", target - at)

    def child(self, at, v):
        if isinstance(v, Shared):
            self.shared.setdefault(v, []).append(at)
        elif v is not None:  # None: an offset that leads nowhere
            self.patch(at, self.value(v))

    def end(self):
        for v, places in self.shared.items():
            target = self.value(v.value)
            for at in places:
                self.patch(at, target)
        return bytes(self.b)

    def value(self, v):
        """Writes a child: str/bytes, list or dict {slot: (format, number) | child}. Returns where it is."""
        self.align()
        if isinstance(v, str):
            v = v.encode("utf-8", "surrogateescape")
        if isinstance(v, bytes):
            at = len(self.b)
            self.b += struct.pack("<I", len(v)) + v + b"\0"
            return at
        if isinstance(v, list):
            at = len(self.b)
            self.b += struct.pack("<I", len(v)) + bytes(4 * len(v))
            for i, x in enumerate(v):
                self.child(at + 4 + 4 * i, x)
            return at
        return self.table(v)

    def table(self, fields):
        slots = max(fields, default=-1) + 1
        vtable = len(self.b)
        offsets, body, patches = [0] * slots, bytearray(4), []
        for slot, x in fields.items():
            while len(body) % 8:
                body.append(0)
            offsets[slot] = len(body)
            if isinstance(x, tuple):
                body += struct.pack("<" + x[0], x[1])
            else:
                patches.append((len(body), x))
                body += bytes(4)
        self.b += struct.pack("<HH", 4 + 2 * slots, len(body)) + struct.pack("<%dH" % slots, *offsets)
        self.align()
        at = len(self.b)
        body[:4] = struct.pack("<i", at - vtable)
        self.b += body
        for off, x in patches:
            self.child(at + off, x)
        return at


def flatbuffer(table):
    w = Writer()
    w.child(0, table)
    return w.end()


class Table:
    """Reads a FlatBuffers table, without a schema."""

    def __init__(self, data, at=None):
        self.data = data
        self.at = struct.unpack_from("<I", data)[0] if at is None else at
        self.vtable = self.at - struct.unpack_from("<i", data, self.at)[0]
        self.slots = (struct.unpack_from("<H", data, self.vtable)[0] - 4) // 2

    def place(self, slot):
        off = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * slot)[0] if slot < self.slots else 0
        return self.at + off if off else None

    def number(self, slot, form, default=0):
        at = self.place(slot)
        if at is None:
            return default
        assert (at % struct.calcsize(form)) == 0, "a number that is not aligned"
        return struct.unpack_from("<" + form, self.data, at)[0]

    def target(self, slot):
        at = self.place(slot)
        return at and at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, slot):
        return Table(self.data, self.target(slot))

    def text_at(self, at):
        n = struct.unpack_from("<I", self.data, at)[0]
        assert self.data[at + 4 + n] == 0, "a string without its end"
        return self.data[at + 4:at + 4 + n]

    def text(self, slot):
        at = self.target(slot)
        return b"" if at is None else self.text_at(at)

    def offsets(self, slot):
        """Where the elements of a vector of tables or strings are."""
        at = self.target(slot)
        if at is None:
            return []
        places = range(at + 4, at + 4 + 4 * struct.unpack_from("<I", self.data, at)[0], 4)
        return [p + struct.unpack_from("<I", self.data, p)[0] for p in places]


class ReadZtoc:
    """What a zTOC says, for comparison with a Ztoc's."""

    def __init__(self, data):
        root = Table(data)
        toc, compression = root.table(4), root.table(5)
        self.version, self.tool = root.text(0), root.text(1)
        self.packed_size, self.size = root.number(2, "q"), root.number(3, "q")
        self.form = {1: "gzip", 2: "none"}[compression.number(0, "b", 1)]
        self.max_span = compression.number(1, "i")
        self.digests = [compression.text_at(at).decode() for at in compression.offsets(2)]
        self.checkpoints = root.text_at(compression.target(3)) if self.form == "gzip" else None
        if self.form == "none":
            zinfo = Table(bytes(data[compression.target(3) + 4:]))
            self.stored = [zinfo.number(0, "i"), zinfo.number(1, "q"), zinfo.number(2, "q")]
        self.files = [self.file(Table(data, at)) for at in toc.offsets(0)]

    @staticmethod
    def file(t):
        numbers = {2: "q", 3: "q", 5: "q", 6: "I", 7: "I", 11: "q", 12: "q"}
        f = {slot: t.number(slot, numbers[slot]) if slot in numbers else t.text(slot) for slot in range(13)}
        f[13] = {Table(t.data, at).text(0): Table(t.data, at).text(1) for at in t.offsets(13)}
        return f


# --- checkpoints ---

class ZStream(ctypes.Structure):
    _fields_ = [("next_in", ctypes.c_void_p), ("avail_in", ctypes.c_uint), ("total_in", ctypes.c_ulong),
                ("next_out", ctypes.c_void_p), ("avail_out", ctypes.c_uint), ("total_out", ctypes.c_ulong),
                ("msg", ctypes.c_char_p), ("state", ctypes.c_void_p), ("zalloc", ctypes.c_void_p),
                ("zfree", ctypes.c_void_p), ("opaque", ctypes.c_void_p), ("data_type", ctypes.c_int),
                ("adler", ctypes.c_ulong), ("reserved", ctypes.c_ulong)]


_z = ctypes.CDLL(ctypes.util.find_library("z") or "libz.so.1")
_z.zlibVersion.restype = ctypes.c_char_p
Z_BLOCK, Z_OK, Z_STREAM_END, Z_BUF_ERROR = 5, 0, 1, -5


class Checkpoint:
    def __init__(self, packed_off, off, bits, window):
        self.packed_off, self.off, self.bits, self.window = packed_off, off, bits, window

    def pack(self):
        return struct.pack("<qqB", self.packed_off, self.off, self.bits) + self.window


def checkpoints(blob, span_size):
    """The ends of deflate blocks that are more than `span_size` plain bytes apart; and all plain bytes."""
    s, out, points = ZStream(), bytearray(), []
    source, room = ctypes.create_string_buffer(blob, len(blob)), ctypes.create_string_buffer(1 << 18)
    assert _z.inflateInit2_(ctypes.byref(s), 47, _z.zlibVersion(), ctypes.sizeof(s)) == Z_OK
    s.next_in, s.avail_in = ctypes.addressof(source), len(blob)
    while True:
        s.next_out, s.avail_out = ctypes.addressof(room), len(room)
        r = _z.inflate(ctypes.byref(s), Z_BLOCK)
        assert r in (Z_OK, Z_STREAM_END, Z_BUF_ERROR), (r, s.msg)
        out += room.raw[:len(room) - s.avail_out]
        if r == Z_STREAM_END:
            if s.avail_in == 0:
                break
            assert _z.inflateReset(ctypes.byref(s)) == Z_OK  # the next member
        elif s.data_type & 128 and not s.data_type & 64 and (not out or len(out) - points[-1].off > span_size):
            window = bytes(out[-WINDOW:]).rjust(WINDOW, b"\0")
            points.append(Checkpoint(len(blob) - s.avail_in, len(out), s.data_type & 7, window))
        else:
            assert r == Z_OK
    _z.inflateEnd(ctypes.byref(s))
    return points, bytes(out)


# --- how a blob is packed ---

def gz(plain, level=6):
    c = zlib.compressobj(level, zlib.DEFLATED, 31)
    return c.compress(plain) + c.flush()


def gz_flushed(plain, every):
    """Blocks end at byte edges, and refer to nothing before them: bits and windows do not count."""
    c = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = b"".join(c.compress(plain[i:i + every]) + c.flush(zlib.Z_FULL_FLUSH) for i in range(0, len(plain), every))
    return packed + c.flush()


def gz_members(plain, every):
    """Many members, as pigz -i and bgzip write them."""
    return b"".join(gz(plain[i:i + every]) for i in range(0, len(plain), every))


def gz_named(plain):
    """A header that is longer than ten bytes."""
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (b"\x1f\x8b\x08\x18" + bytes(4) + b"\0\xffname\0and a comment\0" + raw.compress(plain) + raw.flush() +
            struct.pack("<II", zlib.crc32(plain), len(plain) & 0xffffffff))


# --- a zTOC ---

def rfc3339(info):
    """As Go's MarshalText writes it."""
    t = decimal.Decimal(info.pax_headers.get("mtime", str(info.mtime)))
    seconds = int(t.to_integral_value(decimal.ROUND_FLOOR))
    when = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    nsec = int((t - seconds) * 10**9)
    return when.strftime("%%04d-%m-%dT%H:%M:%S") % when.year + (".%09d" % nsec).rstrip("0") * bool(nsec) + "Z"


def file_table(m):
    f = {0: m.name + ("/" if m.isdir() and not m.name.endswith("/") else ""), 1: TYPES[m.type],
         2: ("q", m.offset_data), 3: ("q", m.size), 4: m.linkname, 5: ("q", m.mode), 6: ("I", m.uid), 7: ("I", m.gid),
         8: m.uname, 9: m.gname, 10: rfc3339(m), 11: ("q", m.devmajor), 12: ("q", m.devminor)}
    records = [{0: k, 1: v} for k, v in m.pax_headers.items()]
    if records:
        f[13] = records
    return f


class Ztoc:
    """Of a packed tar. `files` (tables by slot), `points`, `digests` and the numbers may be changed before pack()."""

    def __init__(self, blob, form="gzip", span_size=1 << 20, first_left_out=False, padding=True):
        """padding=False: the tar's size as soci-snapshotter has it, whose reader stops behind the end mark."""
        self.blob, self.form, self.span_size, self.first_left_out = blob, form, span_size, first_left_out
        if form == "gzip":
            self.points, self.plain = checkpoints(blob, span_size)
            starts = [p.packed_off - bool(p.bits) for p in self.points]
            ends = [p.packed_off for p in self.points[1:]] + [len(blob)]
        else:
            self.plain, starts = blob, range(0, len(blob), span_size)
            ends = [min(s + span_size, len(blob)) for s in starts]
        self.spans = list(zip(starts, ends))
        self.digests = [oci.sha256(blob[a:b]) for a, b in self.spans]
        with tarfile.open(fileobj=io.BytesIO(self.plain), mode="r:", encoding="utf-8", errors="surrogateescape") as t:
            self.members = list(t)
        self.files = [file_table(m) for m in self.members]
        self.packed_size, self.size = len(blob), len(self.plain) if padding else min(self.end() + 1024, len(self.plain))

    def end(self):
        """Of the last member, where the end mark begins."""
        return max((m.offset_data + (m.size + 511) // 512 * 512 for m in self.members), default=0)

    def find(self, name):
        return next(f for f in self.files if f[0] == name)

    def shown(self):
        """The files as ReadZtoc has them. Of the pax records only xattrs count for a reader."""
        def text(v):
            return v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v
        for f in self.files:
            shown = {slot: v[1] if isinstance(v, tuple) else text(v) for slot, v in f.items() if slot != 13}
            shown[13] = {text(x[0]): text(x[1]) for x in f.get(13, []) if x[0].startswith("SCHILY.xattr.")}
            yield shown

    def _checkpoints(self):
        if self.form != "gzip":
            return flatbuffer({0: ("i", 2), 1: ("q", self.span_size), 2: ("q", self.packed_size)})
        points = self.points[1:] if self.first_left_out else self.points
        return struct.pack("<iq", len(self.points), self.span_size) + b"".join(p.pack() for p in points)

    def pack(self):
        return flatbuffer({
            0: "0.9", 1: "AWS SOCI CLI v0.2", 2: ("q", self.packed_size), 3: ("q", self.size), 4: {0: self.files},
            5: {0: ("b", 1 if self.form == "gzip" else 2), 1: ("i", len(self.digests) - 1), 2: self.digests,
                3: self._checkpoints()}})


# --- the index ---

def put_index(layout, version, ztocs, subject=None):
    """ztocs: [(layer descriptor, Ztoc or its bytes)]; other layers are left out. Returns the manifest's descriptor."""
    layers = []
    for layer, z in ztocs:
        data = z if isinstance(z, bytes) else z.pack()
        layers.append(layout.descriptor(layout.put(data), ZTOC, annotations={
            "com.amazon.soci.image-layer-digest": layer["digest"],
            "com.amazon.soci.image-layer-mediaType": layer["mediaType"],
            "com.amazon.soci.span-size": str(z.span_size if isinstance(z, Ztoc) else 0)}))
    manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST,
                "config": layout.descriptor(layout.put(b"{}"), INDEX[version]), "layers": layers,
                "annotations": {"com.amazon.soci.build-tool-identifier": "AWS SOCI CLI v0.2"}}
    if subject:
        manifest["subject"] = {k: subject[k] for k in ("mediaType", "digest", "size")}
    return {**layout.descriptor(layout.put_json(manifest), oci.MANIFEST), "artifactType": INDEX[version]}


def annotate(layout, name, index, new_name):
    """The image `name` as `soci convert` writes it: bound to its v2 index by an annotation."""
    manifest = layout.manifest(name)
    manifest["annotations"] = {**manifest.get("annotations", {}), DIGEST_ANNOTATION: index["digest"]}
    d = layout.descriptor(layout.put_json(manifest), oci.MANIFEST)
    layout.tag(new_name, d)
    return d


def push(registry, layout, repository, index, subject=None):
    """Puts an index into a repository. With a subject it is listed by the tag of the referrers tag schema too, for
    registries without the API."""
    client = oci.Registry(registry)
    client._push(layout, index, repository, index["digest"])
    if subject:
        listed = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [index]}
        client.put_manifest(repository, subject["digest"].replace(":", "-"), json.dumps(listed).encode(), oci.INDEX)
