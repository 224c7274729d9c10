"""Where bytes come from when something is missing: a source that is dead, a command that went away."""
import os
import shutil
import signal

import oci
from lab import CONFIG, Case, tiny, wait_until
from odd_image import noise
from proxy import Proxy

MIB = 1 << 20


class SourcesCase(Case):
    @classmethod
    def prepare(cls):
        cls.big = noise("sources", 6 * MIB)
        layout = cls.lab.layout
        layers = [layout.put_layer(tiny(), "gzip"),
                  layout.put_layer(oci.tar([oci.member("big", cls.big)]), "none")]
        layout.put_image("sources", layers, CONFIG)
        cls.layer = layers[1][0]["digest"]
        cls.lab.registry.push(layout, "sources")

    def setUp(self):
        self.addCleanup(self.lab.stop_server)

    def proxy(self, rule=None):
        p = Proxy(self.lab.registry.address, rule)
        self.addCleanup(p.close)
        return p

    def ranges(self, proxy):
        return [r for r in proxy.blobs() if self.layer in r.path]


class DeadSource(SourcesCase):
    def test_a_source_that_is_dead_is_left_for_the_next(self):
        good, bad = self.proxy(), self.proxy()
        for p in (good, bad):  # the newest is asked first
            self.run_ok("pull", p.reference("sources"))
        self.run_ok("evict", bad.reference("sources"))
        good.forget(), bad.forget()
        bad.rule = lambda request: {"status": 503}
        out = self.run_ok("run", good.reference("sources"), "sh", "-c", "cat /big | sha256sum").stdout
        self.assertEqual(out.split()[0], oci.sha256(self.big)[7:])
        asked = [r.range for r in self.ranges(bad)]
        self.assertTrue(asked)
        self.assertEqual(len(asked), len(set(asked)), "a span was asked for twice where it is not to be had")
        self.assertEqual({r.range for r in self.ranges(good)}, set(asked))

    def test_a_source_that_is_gone(self):
        good, bad = self.proxy(), self.proxy()
        for p in (good, bad):
            self.run_ok("pull", p.reference("sources"))
        self.run_ok("evict", bad.reference("sources"))
        bad.close()
        out = self.run_ok("run", good.reference("sources"), "sh", "-c", "cat /big | sha256sum").stdout
        self.assertEqual(out.split()[0], oci.sha256(self.big)[7:])


class Access(SourcesCase):
    def read(self, image, *flags):
        out = self.run_ok("run", *flags, image, "sh", "-c", "cat /big | sha256sum").stdout
        self.assertEqual(out.split()[0], oci.sha256(self.big)[7:])

    def test_a_command_that_is_refused_takes_nothing_from_others(self):
        """What an image's bytes came with once, they come with again, whatever later commands say."""
        registry = self.lab.add_registry("tls", tls=True, user="joe:secret")
        image = registry.push(self.lab.layout, "sources")
        good = ("--tls-verify=false", "--creds", "joe:secret")
        bad = [(), ("--tls-verify=false",), ("--tls-verify=false", "--creds", "joe:wrong")]
        self.run_ok("pull", *good, image)
        for flags in bad:
            self.run_ok("evict", image)
            self.read(image, *flags)  # nothing is asked of the registry but bytes
            self.run_ok("evict", image)
            self.assertFails(self.lab.lazyrun("pull", *flags, image), 125, "localhost")
            self.read(image)
        self.run_ok("evict", image)
        os.kill(self.lab.status()["fetcher_pid"], signal.SIGKILL)  # the next one has it from the supervisor
        self.read(image, *bad[-1])
        self.run_ok("pull", *good, image)


class GoneCommand(SourcesCase):
    def slow(self, request):
        return {"stall": True} if self.layer in request.path and not self.proxy_.go.is_set() else None

    def begin(self):
        self.lab.stop_server()
        shutil.rmtree(self.lab.store, ignore_errors=True)
        p = self.lab.start("pull", "-q", self.reference)
        self.addCleanup(p.wait)
        return p

    def setUp(self):
        super().setUp()
        self.proxy_ = self.proxy(self.slow)
        self.reference = self.proxy_.reference("sources")

    def given_up(self):
        return "given up" in self.lab.log()

    def test_nobody_else_wants_it(self):
        p = self.begin()
        self.assertTrue(self.proxy_.stalled.acquire(timeout=30))
        p.send_signal(signal.SIGINT)
        p.wait(30)
        wait_until("the download's end", self.given_up)
        self.proxy_.go.set()
        self.run_ok("pull", "-q", self.reference)

    def test_somebody_else_wants_it_too(self):
        first = self.begin()
        self.assertTrue(self.proxy_.stalled.acquire(timeout=30))
        second = self.lab.start("pull", "-q", self.reference)
        # The second one waits for the first one's download: it has its manifest by then.
        wait_until("two requests", lambda: len([r for r in self.proxy_.seen if "/manifests/" in r.path]) > 1)
        first.send_signal(signal.SIGINT)
        first.wait(30)
        self.proxy_.go.set()
        self.assertEqual(second.wait(60), 0)

