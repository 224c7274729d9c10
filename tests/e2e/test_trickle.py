"""A registry whose bytes hardly come holds up its own images, and no others."""
import hashlib
import shutil

import oci
from lab import CONFIG, Case, Lab, tiny, wait_until
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20
BULK_MAX, PASSING_MAX = 12, 4  # fetch/transport.c, fetch/passing.c
FRAME = 9 * MIB  # larger than any span: it cannot be entered


class Trickle(Case):
    def setUp(self):
        self.good = Proxy(self.lab.registry.address)
        self.bad = Proxy(self.lab.registry.address, lambda r: {"rate": 4096} if r.path.endswith(tuple(self.digests)) else None)
        self.digests = set()
        for end in (self.good.close, self.fresh, self.bad.close):
            self.addCleanup(end)

    def fresh(self):
        self.lab.stop_server()
        shutil.rmtree(self.lab.store, ignore_errors=True)

    def push(self, name, n, form="gzip", size=2 * MIB):
        """An image with n layers of a file each. None is another image's, too: those are fetched once for both."""
        layout, layers = self.lab.layout, [self.lab.layout.put_layer(tiny([oci.member(name, b"")]))]
        for i in range(n):
            data = noise(f"{name}{i}", size)
            layers.append(layout.put_layer(oci.tar([oci.member(f"{name}{i}", data)]), form))
        self.digests |= {d["digest"] for d, _ in layers[1:]}
        layout.put_image(name, layers, CONFIG)
        return self.lab.registry.push(layout, name)

    def begin(self, n, *argv):
        """A command that will wait, and whose blobs hardly come: at least n of them."""
        p = self.lab.start(*argv)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        wait_until("blobs that hardly come", lambda: len([r for r in self.bad.blobs() if r.path.endswith(tuple(self.digests))]) >= n)
        return p

    def test_layers_that_are_streamed(self):
        self.push("a", 8)
        self.push("b", 8)  # seven at least of each, for the first layer may wait for a decoder
        waiting = [self.begin(7, "pull", self.bad.reference("a")), self.begin(BULK_MAX, "pull", self.bad.reference("b"))]
        self.push("c", 2)
        self.run_ok("pull", self.good.reference("c"))
        self.assertEqual([p.poll() for p in waiting], [None, None])

    def test_blobs_that_pass_by(self):
        image = self.push("p", PASSING_MAX + 1, "zstd", FRAME)
        builder = Lab()
        try:
            builder.lazyrun("index", "--push", image, check=0)
        finally:
            builder.close()
        p = self.begin(PASSING_MAX, "run", "--require-lazy", self.bad.reference("p"), "sh", "-c",
                       "for i in 0 1 2 3 4; do cat /p$i > /dev/null & done; wait")
        out = self.run_ok("run", "--require-lazy", self.good.reference("p"), "sh", "-c", "sha256sum /p[0-9]").stdout
        self.assertEqual(out.split()[::2], [hashlib.sha256(noise(f"p{i}", FRAME)).hexdigest() for i in range(PASSING_MAX + 1)])
        self.assertIsNone(p.poll())
