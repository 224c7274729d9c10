"""What is asked for before a reader waits for it: the command's own files, and what a file that was read mentions."""
import hashlib
import io
import json
import struct
import tarfile
import threading

import estargz
import oci
from lab import CONFIG, tiny, wait_until
from odd_image import noise
from proxy import Proxy
from test_artifact import ARTIFACT, ArtifactCase

KIB = 1 << 10
# What lies between two files that have to do with each other, so that no request for one has the other's bytes.
BETWEEN = {f"between{i}": noise(f"between{i}", 1300 * KIB) for i in range(12)}


def padded(text):
    """A file of a size at which its own spans have nothing of its neighbours."""
    return text + b"\0" + noise(repr(text), 20 * KIB).replace(b"'", b"q").replace(b'"', b"q")


class AheadCase(ArtifactCase):
    files, modes = {}, {}

    @classmethod
    def prepare(cls):
        names, members = iter(BETWEEN.items()), []
        for path, data in cls.files.items():
            name, between = next(names)
            members += [oci.member("elsewhere/" + name, between), oci.member(path, data, cls.modes.get(path, 0o644))]
        name, between = next(names)
        cls.plain = oci.tar(members + [oci.member("elsewhere/" + name, between)])
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(cls.plain, "none")]
        layout.put_image("app", layers, cls.config())
        cls.layers = [layer[0]["digest"] for layer in layers]
        cls.image = cls.lab.registry.push(layout, "app")
        cls.index("--push")

    @classmethod
    def config(cls):
        return CONFIG

    def place(self, path):
        m = tarfile.open(fileobj=io.BytesIO(self.plain)).getmember(path)
        return m.offset_data, m.offset_data + m.size

    def asked(self, path):
        begin, end = self.place(path)
        return any(self.layers[1] in r.path and r.range and r.range[0] <= begin and r.range[1] + 1 >= end
                   for r in self.proxy.blobs())


class Mentions(AheadCase):
    files = {
        "code/__cache__/first.pyc": padded(b"\xe3\x00Z\x06secondr\x01\x00\xda\x05thirdz\x03sub"),
        "code/__cache__/second.pyc": padded(b"nothing"),
        "code/__cache__/third.pyc": padded(b"nothing"),
        "code/__cache__/secon.pyc": padded(b"nothing"),
        "code/sub/__cache__/one.pyc": padded(b"nothing"),
        "code/other/__cache__/one.pyc": padded(b"nothing"),
        "code/__cache__/large": noise("large", 900 * KIB),  # with the next, more than is read with any file beside them
        "code/__cache__/large2": noise("large2", 900 * KIB),
        "js/main.js": padded(b"require('./lib/part.js'); require(\"./side\")"),
        "js/lib/part.js": padded(b"nothing"),
        "js/side.js": padded(b"nothing"),
    }

    def asked_after(self, path, *wanted):
        p = self.lab.start("run", "-i", "--fill=never", self.through, "sh", "-c", f"cat /{path} >/dev/null; read x")
        try:
            wait_until("what it mentions", lambda: all(self.asked(w) for w in wanted))
        finally:
            p.communicate(b"\n", timeout=20)

    def test_counted_names(self):
        c = "code/__cache__/"
        self.asked_after(c + "first.pyc", c + "second.pyc", c + "third.pyc", "code/sub/__cache__/one.pyc")
        self.assertFalse(self.asked(c + "secon.pyc"))
        self.assertFalse(self.asked("code/other/__cache__/one.pyc"))

    def test_quoted_names(self):
        self.asked_after("js/main.js", "js/lib/part.js", "js/side.js")


class Both:
    """Holds requests (of one place, of all) until each of several places was asked for."""

    def __init__(self, layer, places, held=None):
        self.layer, self.left, self.held, self.late = layer, list(places), held, False
        self.moved = threading.Condition()

    def __call__(self, r):
        if self.layer in r.path and r.range:
            with self.moved:
                self.left = [at for at in self.left if not r.range[0] <= at <= r.range[1]]
                self.moved.notify_all()
                if self.held is not None and not r.range[0] <= self.held <= r.range[1]:
                    return None
                self.late = not self.moved.wait_for(lambda: not self.left or self.late, 20) or self.late
        return None


class Command(AheadCase):
    """The program is asked for before it is executed, side by side with what the runtime reads."""

    files = {"etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", "opt/tools/script": padded(b"#!/bin/sh\necho works\nexit\n")}
    modes = {"opt/tools/script": 0o755}

    @classmethod
    def config(cls):
        return {**CONFIG, "Env": ["PATH=/nowhere:/opt/tools:/bin"]}

    def start(self, *command):
        self.proxy.rule = both = Both(self.layers[1], [self.place(path)[0] for path in self.files])
        p = self.run_ok("run", "--fill=never", self.through, *command)
        self.assertFalse(both.late, f"{both.left} came later")
        return p.stdout

    def test_found_in_path(self):
        self.assertEqual(self.start("script"), "works\n")

    def test_by_its_path(self):
        self.assertEqual(self.start("/opt/tools/script"), "works\n")


def elf(interpreter=None, needed=(), run_path=None, text=b""):
    """A program that nothing can run, but that says what it loads."""
    texts, place = b"\0", {}
    for t in filter(None, (*needed, run_path)):
        place[t], texts = len(texts), texts + t.encode() + b"\0"
    texts += text
    named = (interpreter or "").encode() + b"\0"
    at = 64 + 3 * 56
    tags = [(5, at + len(named)), (10, len(texts)), *((1, place[n]) for n in needed)]  # STRTAB, STRSZ, NEEDED
    tags += [(29, place[p]) for p in filter(None, [run_path])] + [(0, 0)]  # RUNPATH
    dynamic = b"".join(struct.pack("<QQ", *t) for t in tags)
    size = at + len(named) + len(texts) + len(dynamic)

    def segment(kind, off, n):
        return struct.pack("<IIQQQQQQ", kind, 4, off, off, off, n, n, 8)
    head = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    segments = segment(1, 0, size) + segment(2, size - len(dynamic), len(dynamic))
    segments += segment(3 if interpreter else 0, at, len(named))
    return padded(head + segments + named + texts + dynamic)


class Links(AheadCase):
    """What a program loads is known from the artifact: it is asked for before the program is here."""

    files = {
        "opt/tool": elf("/opt/ld", ["liba.so"], "/opt/libs", b"/opt/tool.conf\0/opt/none\0"),
        "opt/ld": elf(),
        "opt/libs/liba.so": elf(needed=["libb.so", "libnone.so"], run_path="$ORIGIN"),
        "opt/libs/libb.so": elf(needed=["libc.so"]),
        "usr/lib/libc.so": elf(needed=["/opt/more/libd.so"]),
        "opt/more/libd.so": elf(),
        "opt/tool.conf": padded(b"is read"),
        "opt/script": padded(b"#!/opt/interpreter -x\n"),
        "opt/interpreter": elf(needed=["libd.so"], run_path="/opt/more"),
    }
    modes = {"opt/tool": 0o755, "opt/ld": 0o755, "opt/script": 0o755, "opt/interpreter": 0o755}

    def together(self, first, *paths):
        places = [self.place(path)[0] for path in (first, *paths)]
        self.proxy.rule = both = Both(self.layers[1], places, places[0])
        p = self.run_ok("run", "--fill=never", self.through, "sh", "-c", f"head -c 100 /{first} | wc -c")
        self.assertEqual(p.stdout.strip(), "100")
        self.assertFalse(both.late, f"{both.left} came later")

    def test_program(self):
        self.together(*list(self.files)[:7])

    def test_script(self):
        self.together("opt/script", "opt/interpreter", "opt/more/libd.so")

    def spans(self, change):
        """Serves each span table's blob changed, in an artifact's manifest that says so."""
        digest, manifest = self.artifact()
        registry, blobs = oci.Registry(self.lab.registry.address), {}
        for d in manifest["layers"]:
            if "spans" in d["mediaType"]:
                data = registry.request("GET", "/v2/app/blobs/" + d["digest"])[2]
                data = change(data[:estargz.zstd_first(data)], data)
                d["digest"], d["size"] = "sha256:" + hashlib.sha256(data).hexdigest(), len(data)
                blobs[d["digest"]] = data
        text = json.dumps(manifest).encode()
        blobs["sha256:" + hashlib.sha256(text).hexdigest()] = text
        entry = {"mediaType": manifest["mediaType"], "digest": list(blobs)[-1], "size": len(text), "artifactType": ARTIFACT}
        blobs["/manifests/sha256-"] = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [entry]}).encode()

        def rule(r):
            for name, data in blobs.items():
                if name in r.path:
                    return {"status": 200, "body": data, "headers": {
                        "Content-Type": oci.INDEX if "sha256-" in r.path else manifest["mediaType"]}}
            return None
        self.proxy.rule = rule

    def test_without_links_or_with_wrong_ones(self):
        """They only help: none, others' bytes, a frame that is no link table."""
        for change in (lambda spans, both: spans, lambda spans, both: spans + b"nonsense", lambda spans, both: spans + spans):
            self.spans(change)
            p = self.run_ok("run", "--require-lazy", "--fill=never", self.through, "sh", "-c", "cat /opt/libs/*.so | sha256sum")
            want = b"".join(self.files["opt/libs/lib" + x + ".so"] for x in "ab")
            self.assertEqual(p.stdout.split()[0], hashlib.sha256(want).hexdigest())
            self.fresh()
