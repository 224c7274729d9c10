"""What is asked for before a reader waits for it: the command's own files, and what a file that was read mentions."""
import io
import tarfile
import threading

import oci
from lab import CONFIG, tiny, wait_until
from odd_image import noise
from proxy import Proxy
from test_artifact import ArtifactCase

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
    """Holds requests until each of several places was asked for."""

    def __init__(self, layer, places):
        self.layer, self.left, self.late = layer, list(places), False
        self.moved = threading.Condition()

    def __call__(self, r):
        if self.layer in r.path and r.range:
            with self.moved:
                self.left = [at for at in self.left if not r.range[0] <= at <= r.range[1]]
                self.moved.notify_all()
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
