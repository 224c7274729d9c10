"""Proxies come from the environment of the command, not of the server."""
import unittest

import oci
from lab import CONFIG, Case, tiny
from odd_image import noise
from proxy import Proxy

IMAGE = "registry.invalid/behind:latest"  # a name that only the proxy can resolve


class ProxyEnvironment(Case):
    @classmethod
    def prepare(cls):
        layout = cls.lab.layout
        cls.data = noise("behind", 3 << 20)
        layers = [layout.put_layer(tiny(), "gzip"), layout.put_layer(oci.tar([oci.member("big", cls.data)]), "none")]
        layout.put_image("behind", layers, CONFIG)
        cls.lab.registry.push(layout, "behind")

    def pull(self, **environ):
        return self.lab.lazyrun("pull", "-q", "--plain-http", IMAGE, environ=environ)

    def proxy(self, rule=None):
        proxy = Proxy(self.lab.registry.address, rule)
        self.addCleanup(proxy.close)
        return proxy

    def test_pull_and_read_again(self):
        proxy = self.proxy()
        environ = {"http_proxy": f"http://{proxy.address}"}
        p = self.pull(**environ)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.addCleanup(self.lab.lazyrun, "rmi", IMAGE)
        self.assertTrue(proxy.seen)
        for r in proxy.seen:
            self.assertTrue(r.path.startswith("http://registry.invalid/v2/"), r)
        self.run_ok("evict", IMAGE)
        proxy.forget()
        p = self.lab.lazyrun("run", "--plain-http", "--pull=never", IMAGE, "cat", "/big", check=0, environ=environ)
        self.assertEqual(p.raw, self.data)
        self.assertTrue(any(r.range for r in proxy.blobs()))

    def test_the_servers_own_environment_does_not_count(self):
        self.lab.stop_server()
        proxy = self.proxy()
        self.lab.lazyrun("pull", "-q", "--plain-http", "other.invalid/x", environ={"all_proxy": f"http://{proxy.address}"})
        proxy.forget()
        self.assertFails(self.pull(), 125, "registry.invalid")
        self.assertEqual(proxy.seen, [])

    def test_no_proxy(self):
        proxy = self.proxy()
        p = self.pull(http_proxy=f"http://{proxy.address}", no_proxy="example.com,.invalid")
        self.assertFails(p, 125, "registry.invalid")
        self.assertEqual(proxy.seen, [])

    def test_a_web_servers_variable_is_not_obeyed(self):
        proxy = self.proxy()
        self.assertFails(self.pull(HTTP_PROXY=f"http://{proxy.address}"), 125, "registry.invalid")
        self.assertEqual(proxy.seen, [])

    def test_proxies_that_do_not_work(self):
        p = self.pull(http_proxy="http://me:s3cret@127.0.0.1:1")
        self.assertFails(p, 125, "registry.invalid", "127.0.0.1|proxy")
        self.assertNotIn("s3cret", p.stderr + self.lab.log())
        p = self.pull(http_proxy="http://proxy.invalid:3128")
        self.assertFails(p, 125, "proxy")
        proxy = self.proxy(lambda r: {"status": 407, "headers": {"Proxy-Authenticate": "Basic realm=x"}})
        self.assertFails(self.pull(http_proxy=f"http://{proxy.address}"), 125, "the proxy asks for a login")
        self.assertLess(len(proxy.seen), 10)


if __name__ == "__main__":
    unittest.main()
