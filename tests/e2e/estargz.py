"""estargz: makes eStargz and zstd:chunked layers from the formats' descriptions.

Nothing here is lazyrun's code, so the two can disagree. A layer is made of oci.member()s; Layer.toc may be changed
before seal(), so that a test can tell lies about it.
"""
import base64
import ctypes
import ctypes.util
import datetime
import gzip
import hashlib
import io
import json
import struct
import tarfile
import zlib

import oci

FOOTERS = ("51", "47", "external")
DIALECTS = ("containers", "stargz")
ALL = tuple("estargz-" + f for f in FOOTERS) + tuple("zstd-" + d for d in DIALECTS)
TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
LAYER_DIGEST = "containerd.io/snapshot/stargz/layer.digest"
PREFIX = {"containers": "io.github.containers.zstd-chunked.", "stargz": "io.containers.zstd-chunked."}
TYPES = {tarfile.REGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink",
         tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}
SKIPPABLE = 0x184d2a50

_zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
_zstd.ZSTD_findFrameCompressedSize.restype = _zstd.ZSTD_decompress.restype = ctypes.c_size_t
_zstd.ZSTD_compressBound.restype = _zstd.ZSTD_compress.restype = ctypes.c_size_t


def zstd(data):
    """One frame."""
    room = ctypes.create_string_buffer(_zstd.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    n = _zstd.ZSTD_compress(room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), 3)
    return room.raw[:n]


def zstd_first(data):
    """The size of the frame that `data` begins with."""
    return _zstd.ZSTD_findFrameCompressedSize(data, ctypes.c_size_t(len(data)))


def unzstd(data, size):
    """The plain bytes of the frame that `data` begins with."""
    room = ctypes.create_string_buffer(size + 1)
    n = _zstd.ZSTD_decompress(room, ctypes.c_size_t(size + 1), data, ctypes.c_size_t(zstd_first(data)))
    return room.raw[:n]


def gz(data):
    """One member."""
    return gzip.compress(data, 6, mtime=0)


def skippable(data):
    return struct.pack("<II", SKIPPABLE, len(data)) + data


def empty_member(extra):
    """A gzip member with nothing in it but its extra field."""
    return (b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(extra)) + extra +
            b"\x01\0\0\xff\xff" + bytes(8))


def rfc3339(info):
    mtime = info.pax_headers.get("mtime", str(info.mtime))
    seconds, _, fraction = mtime.partition(".")
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(seconds))
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + ("." + fraction if fraction else "") + "Z"


class Layer:
    """form: one of ALL. chunk: bytes of a file in one chunk (a function of the file's bytes may cut otherwise).
    share: files that small are put into one gzip member with what is before them (innerOffset)."""

    def __init__(self, members, form, chunk=4 << 20, share=0, landmark=None):
        self.form, self.chunk, self.share = form, chunk, share
        self.estargz = form.startswith("estargz")
        self.variant = form.partition("-")[2]
        self.pack = gz if self.estargz else zstd
        self.blob, self.plain = bytearray(), hashlib.sha256()
        self.open = bytearray()  # plain bytes of the member that is not packed yet
        self.entries = []
        if landmark:
            members = members + [oci.member(landmark, b"\x0f")]
        for info, data in members:
            self._add(info, data)
        self.toc = {"version": 1, "entries": self.entries}

    def _flush(self):
        if self.open:
            self.plain.update(self.open)
            self.blob += self.pack(bytes(self.open))
            self.open = bytearray()

    def _cuts(self, data):
        """[(offset, size, is_zeros)]"""
        if callable(self.chunk):
            return self.chunk(data)
        return [(i, min(self.chunk, len(data) - i), False) for i in range(0, len(data), self.chunk)]

    def _add(self, info, data):
        self.open += info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        e = {"name": info.name + ("/" if info.isdir() else ""), "type": TYPES[info.type], "mode": info.mode,
             "uid": info.uid, "gid": info.gid, "modtime": rfc3339(info)}
        if info.linkname:
            e["linkName"] = info.linkname
        if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            e["devMajor"], e["devMinor"] = info.devmajor, info.devminor
        xattrs = {k[len("SCHILY.xattr."):]: base64.b64encode(v.encode("utf-8", "surrogateescape")).decode()
                  for k, v in info.pax_headers.items() if k.startswith("SCHILY.xattr.")}
        if xattrs:
            e["xattrs"] = xattrs
        self.entries.append(e)
        if data and info.isreg():
            self._add_content(e, info.name, data)

    def _add_content(self, e, name, data):
        e["size"] = len(data)
        e["digest"] = oci.sha256(data)
        cuts = self._cuts(data)
        many = len(cuts) > 1
        for off, size, zeros in cuts:
            piece = data[off:off + size]
            inner = len(self.open) if self.share and len(self.open) + size <= self.share else 0
            if not inner:
                self._flush()
            c = e if off == 0 else {"name": name, "type": "chunk"}
            if off:
                c["chunkOffset"] = off
                self.entries.append(c)
            if many or self.estargz:
                last = self.estargz and off + size == len(data)
                if not (last and off):  # eStargz leaves the last one's size out
                    c["chunkSize"] = size
                c["chunkDigest"] = oci.sha256(piece)
            if zeros:
                c["chunkType"] = "zeros"
            if not zeros or not off:
                c["offset"] = len(self.blob)
            if inner:
                c["innerOffset"] = inner
            self.open += piece
        if not self.share:
            self._flush()
        if self.variant == "containers":
            e["endOffset"] = len(self.blob)
        self.open += bytes(-len(data) % 512)

    def seal(self, layout):
        """Puts the layer (and what belongs to it) into a layout. Returns (descriptor, diffID)."""
        if not isinstance(self.toc, (bytes, bytearray)):
            self.toc = json.dumps(self.toc).encode()
        if self.estargz:
            annotations = self._seal_estargz()
        else:
            annotations = self._seal_zstd()
        digest = layout.put(bytes(self.blob))
        media_type = oci.LAYER + ("+gzip" if self.estargz else "+zstd")
        self.descriptor = layout.descriptor(digest, media_type, annotations=annotations)
        return self.descriptor, "sha256:" + self.plain.hexdigest()

    def _toc_tar(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
            info = tarfile.TarInfo("stargz.index.json")
            info.size = len(self.toc)
            t.addfile(info, io.BytesIO(self.toc))
        return out.getvalue()

    def _seal_estargz(self):
        self._flush()
        at, tar = len(self.blob), self._toc_tar()
        if self.variant == "external":
            self.external = gz(tar)
            self.open += bytes(1024)
            self._flush()
            self.blob += empty_member(b"SG" + struct.pack("<H", 17) + b"STARGZEXTERNALTOC")
        else:
            self.plain.update(tar)
            self.blob += gz(tar)
            where = b"%016xSTARGZ" % at
            self.blob += empty_member(b"SG" + struct.pack("<H", 22) + where if self.variant == "51" else where)
        return {TOC_DIGEST: oci.sha256(self.toc)}

    def _seal_zstd(self):
        self.open += bytes(1024)
        self._flush()
        packed = zstd(self.toc)
        at = len(self.blob) + 8
        self.blob += skippable(packed)
        footer = struct.pack("<QQQQ", at, len(packed), len(self.toc), 1)
        prefix = PREFIX[self.variant]
        annotations = {prefix + "manifest-checksum": oci.sha256(packed),
                       prefix + "manifest-position": f"{at}:{len(packed)}:{len(self.toc)}:1"}
        if self.variant == "containers":
            split = zstd(b'{"type":1}\n')
            footer += struct.pack("<QQQ", len(self.blob) + 8, len(split), 11) + b"GNUlInUx"
            annotations[prefix + "tarsplit-position"] = f"{len(self.blob) + 8}:{len(split)}:11"
            self.blob += skippable(split)
        else:
            footer += b"GnUlInUx"
            annotations[TOC_DIGEST] = oci.sha256(self.toc)
        self.blob += skippable(footer)
        return annotations


def put_external(layout, name, layers):
    """The image that holds the tables of `layers`, under name + "-esgztoc"."""
    listed = []
    for l in layers:
        d = layout.descriptor(layout.put(l.external), oci.LAYER + "+gzip")
        d["annotations"] = {LAYER_DIGEST: l.descriptor["digest"]}
        listed.append((d, "sha256:" + hashlib.sha256(zlib.decompress(l.external, 31)).hexdigest()))
    return layout.put_image(name + "-esgztoc", listed)
