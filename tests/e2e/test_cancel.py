"""A command that goes away takes its download with it, unless another command wants the same."""
import signal

import oci
from lab import CONFIG, Case, tiny, wait_until
from odd_image import noise
from proxy import Proxy

SIZE = 8 << 20


class Cancel(Case):
    def setUp(self):
        self.fast = False
        self.proxy = Proxy(self.lab.registry.address, self.rule)
        self.addCleanup(self.proxy.close)

    def use(self, name):
        """An image whose blob nobody has: packed bytes may stay in the store for long."""
        layout = self.lab.layout
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar([oci.member("big", noise(name, SIZE))]), "gzip")]
        layout.put_image(name, layers, CONFIG)
        self.big, self.image = layers[1][0]["digest"], self.proxy.reference(name)
        self.lab.registry.push(layout, name)

    def rule(self, request):
        return {"rate": 3 << 20} if self.big in request.path and not self.fast else None

    def gets(self):
        return [r for r in self.proxy.blobs() if self.big in r.path]

    def start(self):
        return self.lab.start("pull", "--pull=always", self.image)

    def begin(self):
        p = self.start()
        wait_until("some bytes", lambda: self.gets() and self.gets()[0].sent >= 1 << 20)
        return p

    def manifests(self):
        with self.proxy.lock:
            return sum("/manifests/" in r.path for r in self.proxy.seen)

    def test_interrupted_and_taken_up_again(self):
        for number in (signal.SIGINT, signal.SIGKILL):
            with self.subTest(number.name):
                self.use(f"interrupted{number:d}")
                self.fast = False
                p = self.begin()
                p.send_signal(number)
                p.wait(20)
                wait_until("the end of the download", lambda: self.gets()[0].left)
                before = self.gets()[0].sent
                self.assertLess(before, SIZE)
                self.fast = True
                self.run_ok("pull", self.image)
                again = self.gets()[1]
                self.assertGreater(again.range[0], 0)  # what came is not fetched twice

    def test_another_command_wants_the_same(self):
        self.use("shared")
        first = self.begin()
        n = self.manifests()
        second = self.start()
        wait_until("the second one's question", lambda: self.manifests() > n)
        first.send_signal(signal.SIGINT)
        first.wait(20)
        self.fast = True
        self.assertEqual(second.wait(60), 0)
        self.run_ok("run", self.image, "true")
        # Its own start may have come late: then it goes on from where the first one was.
        self.assertLess(sum(r.sent for r in self.gets()), SIZE * 3 // 2)
