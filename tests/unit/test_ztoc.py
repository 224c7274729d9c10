#!/usr/bin/env python3
"""ztoc reads what a writer that shares no code with it wrote, and refuses what breaks the format.

test_ztoc.py ZTOC_DUMP            runs the cases
test_ztoc.py --corpus DIRECTORY   writes them as files for tests/hostile/ztoc
"""
import datetime
import errno
import hashlib
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from soci import flatbuffer


SPANS_MAX = 1 << 20  # LIMIT_ZTOC_SPANS


def digest(i):
    return "sha256:" + hashlib.sha256(b"%d" % i).hexdigest()


FILES = [
    {0: "etc/", 1: "dir", 2: ("q", 512), 3: ("q", 0), 5: ("q", 0o755), 10: "2024-02-29T12:30:15Z"},
    {0: "etc/a", 1: "reg", 2: ("q", 1024), 3: ("q", 3000), 5: ("q", 0o104755), 6: ("I", 7), 7: ("I", 4000000000),
     10: "1999-12-31T23:59:59.25+01:30",
     13: [{0: "SCHILY.xattr.user.k", 1: b"v\x01"}, {0: "path", 1: "etc/a"}]},
    {0: "etc/l", 1: "symlink", 2: ("q", 4608), 4: "a", 5: ("q", 0o777)},
    {0: "dev", 1: "char", 2: ("q", 5120), 5: ("q", 0o600), 11: ("q", 5), 12: ("q", 1), 10: "0001-01-01T00:00:00Z"},
]
SHOWN = [
    "file 5 etc/| 512 0 755 0 0 0 0 %d.000000000" %
    datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc).timestamp(),
    "file 0 etc/a| 1024 3000 4755 7 4000000000 0 0 %d.250000000 SCHILY.xattr.user.k=v\x01 path=etc/a" %
    datetime.datetime(1999, 12, 31, 22, 29, 59, tzinfo=datetime.timezone.utc).timestamp(),
    "file 2 etc/l|a 4608 0 777 0 0 0 0 0.000000000",
    "file 3 dev| 5120 0 600 0 0 5 1 -62135596800.000000000",
]


def checkpoint(packed_off, off, bits, fill):
    return struct.pack("<qqB", packed_off, off, bits) + bytes([fill]) * 32768


def gzip_blob(have=3, points=None):
    points = points if points is not None else [(10, 0, 0, 0), (100, 4000, 3, 5), (200, 8000, 0, 7)]
    return struct.pack("<iq", have, 4000) + b"".join(checkpoint(*p) for p in points)


def ztoc(files=None, blob=None, packed=300, size=10240, algorithm=1, max_span=2, digests=None):
    return flatbuffer({
        0: "0.9", 1: "test", 2: ("q", packed), 3: ("q", size), 4: {0: FILES if files is None else files},
        5: {0: ("b", algorithm), 1: ("i", max_span), 2: digests or [digest(i) for i in range(3)],
            3: gzip_blob() if blob is None else blob}})


def stored_blob(span, size):
    return flatbuffer({0: ("i", 2), 1: ("q", span), 2: ("q", size)})


EMPTY_LAST = gzip_blob(points=[(10, 0, 0, 0), (100, 4000, 3, 5), (200, 10240, 0, 7)])
GZIP_SPANS = ["span 0 4000 10 90 0 -1 " + digest(0), "span 4000 4000 99 101 3 10 " + digest(1),
              "span 8000 2240 200 100 0 14 " + digest(2)]
STORED_SPANS = ["span 0 4096 0 4096 0 -1 " + digest(0), "span 4096 4096 4096 4096 0 -1 " + digest(1),
                "span 8192 2048 8192 2048 0 -1 " + digest(2)]
BAD, BIG, UNKNOWN = (["error %d" % e] for e in (errno.EBADMSG, errno.EFBIG, errno.EOPNOTSUPP))
GOOD = ztoc()


def bad_file(**change):
    fields = dict(FILES[1])
    fields.update({int(k[1:]): v for k, v in change.items()})
    return ztoc([fields], packed=10240, algorithm=2, blob=stored_blob(4096, 10240))


CASES = {
    "good": (GOOD, ["ztoc gzip 300 10240"] + SHOWN + GZIP_SPANS),
    "first_checkpoint_left_out": (ztoc(blob=gzip_blob(points=[(100, 4000, 3, 5), (200, 8000, 0, 7)])),
                                  ["ztoc gzip 300 10240"] + SHOWN + GZIP_SPANS),
    "stored": (ztoc(packed=10240, algorithm=2, blob=stored_blob(4096, 10240)),
               ["ztoc stored 10240 10240"] + SHOWN + STORED_SPANS),
    "stored_padded": (ztoc(packed=10752, algorithm=2, blob=stored_blob(4096, 10752)),
                      ["ztoc stored 10752 10752"] + SHOWN + STORED_SPANS[:2] + [
                          "span 8192 2560 8192 2560 0 -1 " + digest(2)]),
    "stored_beyond_the_end": (ztoc(packed=9728, algorithm=2, blob=stored_blob(4096, 9728)), BAD),
    "last_span_empty": (ztoc(blob=EMPTY_LAST), ["ztoc gzip 300 10240"] + SHOWN + [
        GZIP_SPANS[0], "span 4000 6240 99 101 3 10 " + digest(1), "span 10240 0 200 100 0 14 " + digest(2)]),
    "span_empty": (ztoc(blob=gzip_blob(points=[(10, 0, 0, 0), (100, 0, 3, 5), (200, 8000, 0, 7)])), BAD),
    "no_files": (ztoc([]), ["ztoc gzip 300 10240"] + GZIP_SPANS),
    "cut": (GOOD[:len(GOOD) // 2], BAD),
    "empty": (b"", BAD),
    "root_past_the_end": (struct.pack("<I", 1 << 31) + GOOD[4:], BAD),
    "checkpoints_cut": (ztoc(blob=gzip_blob()[:-1]), BAD),
    "checkpoint_count_huge": (ztoc(blob=gzip_blob(have=0x7fffffff)), BAD),
    "checkpoints_go_back": (ztoc(blob=gzip_blob(points=[(10, 0, 0, 0), (100, 8000, 3, 5), (200, 4000, 0, 7)])), BAD),
    "packed_goes_back": (ztoc(blob=gzip_blob(points=[(10, 0, 0, 0), (200, 4000, 3, 5), (100, 8000, 0, 7)])), BAD),
    "packed_past_the_end": (ztoc(packed=150), BAD),
    "bits_of_nine": (ztoc(blob=gzip_blob(points=[(10, 0, 0, 0), (100, 4000, 9, 5), (200, 8000, 0, 7)])), BAD),
    "first_span_not_at_the_start": (ztoc(blob=gzip_blob(points=[(10, 1, 0, 0), (100, 4000, 3, 5), (200, 8000, 0, 7)])), BAD),
    "span_count_differs": (ztoc(max_span=3), BAD),
    "digest_of_another_kind": (ztoc(digests=[digest(0), digest(1), "md5:00"]), BAD),
    "stored_span_of_nothing": (ztoc(packed=10240, algorithm=2, blob=stored_blob(0, 10240)), BAD),
    "stored_size_differs": (ztoc(packed=10240, algorithm=2, blob=stored_blob(4096, 10000)), BAD),
    "zstd": (ztoc(algorithm=3), UNKNOWN),
    "span_too_large": (ztoc(size=1 << 33), BIG),
    "layer_too_large": (ztoc(size=1 << 50), BIG),
    "size_negative": (ztoc(size=-1), BAD),
    "spans_without_number": (ztoc(packed=1 << 32, size=1 << 32, algorithm=2, max_span=SPANS_MAX,
                                  digests=[None] * (SPANS_MAX + 1), blob=stored_blob(1024, 1 << 32)), BIG),
}
FILE_CASES = {
    "body_past_the_end": bad_file(f3=("q", 1 << 20)),
    "body_negative": bad_file(f2=("q", -512)),
    "nul_in_a_name": bad_file(f0="a\0b"),
    "type_unknown": bad_file(f1="chunk"),
    "month_thirteen": bad_file(f10="2024-13-01T00:00:00Z"),
    "time_of_words": bad_file(f10="yesterday"),
    "no_name": bad_file(f0=""),
}
for case, data in FILE_CASES.items():
    CASES[case] = (data, ["ztoc stored 10240 10240", "file error %d" % errno.EBADMSG] + STORED_SPANS)


def main():
    if sys.argv[1] == "--corpus":
        for name, (data, _) in CASES.items():
            if len(data) > 40000 and name != "good":
                continue # windows: one file with them is enough
            with open(os.path.join(sys.argv[2], name), "wb") as f:
                f.write(data)
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as d:
        for name, (data, want) in CASES.items():
            path = os.path.join(d, name)
            with open(path, "wb") as f:
                f.write(data)
            got = subprocess.run([sys.argv[1], path], stdout=subprocess.PIPE, check=False, timeout=60)
            lines = got.stdout.decode().split("\n")[:-1]
            if lines != want or got.returncode not in (0, 1):
                failed += 1
                print("FAIL %s: exit %d\n  got  %r\n  want %r" % (name, got.returncode, lines, want))
    print("%d cases, %d failed" % (len(CASES), failed))
    return failed != 0


sys.exit(main())
