#!/usr/bin/env python3
"""source.h against a registry that lies, and against layouts that are broken."""
import email.utils
import hashlib
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from registry_fake import RegistryFake, make_certificate  # noqa: E402

BUILD = os.environ.get("LAZYRUN_BUILD", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build"))
PROGRAM = os.path.join(BUILD, "tests/source_get")

DATA = random.Random(1).randbytes(3 * 1024 * 1024 + 17)
EACCES, EAGAIN, EBADMSG, EFBIG, EHOSTUNREACH, ECONNREFUSED, ENOENT, EPROTO, ENOSPC, EOPNOTSUPP, ETIMEDOUT = \
    13, 11, 74, 27, 113, 111, 2, 71, 28, 95, 110


class Result:
    def __init__(self, p):
        self.code, self.out = p.returncode, p.stdout
        lines = p.stderr.decode().splitlines()
        self.error = "\n".join(lines[:-1])
        words = lines[-1].split() if lines else []
        self.requests = self.bytes = self.peak_kib = None
        if len(words) == 6:
            self.requests, self.bytes, self.peak_kib = (int(w) for w in words[1::2])


def get(host, *command, repository="a/b", access=None, kind="registry", env={}, timeout=60):
    argv = [PROGRAM, kind, host, repository, json.dumps(access) if access else "-", *[str(c) for c in command]]
    return Result(subprocess.run(argv, capture_output=True, timeout=timeout,
                                 env={"PATH": os.environ["PATH"], "LAZYRUN_RETRY_BASE_MS": "10", **env}))


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="source.")
        self.addCleanup(shutil.rmtree, self.dir)

    def fake(self, **options):
        fake = RegistryFake(**options).start()
        self.addCleanup(fake.close)
        fake.digest, fake.size = fake.add_blob(DATA)
        fake.small, fake.small_size = fake.add_blob(b'{"small": 1}')
        fake.manifest, _ = fake.add_manifest("a/b", "v1", {"schemaVersion": 2})
        return fake

    def download(self, fake, access=None, have=b"", **options):
        path = os.path.join(self.dir, "part")
        with open(path, "wb") as f:
            f.write(have)
        result = get(fake.host, "download", fake.digest, fake.size, path, len(have), access=access, **options)
        with open(path, "rb") as f:
            result.file = f.read()
        return result

    def good(self, result, out=None):
        self.assertEqual((result.code, result.error), (0, ""))
        if out is not None:
            self.assertEqual(result.out, out)

    def bad(self, result, code, *texts):
        self.assertEqual(result.code, code, result.error)
        for text in texts:
            self.assertIn(text, result.error)
        self.assertEqual(result.error.count("lazyrun: "), 1, result.error)


class Plain(Case):
    def test_manifest_blob_range_download(self):
        fake = self.fake()
        r = get(fake.host, "manifest", "v1")
        self.good(r)
        self.assertEqual(r.out.split(b"\n", 1)[0].split()[:2],
                         [fake.manifest.encode(), b"application/vnd.oci.image.manifest.v1+json"])
        self.good(get(fake.host, "manifest", fake.manifest))
        self.good(get(fake.host, "blob", fake.small, fake.small_size), b'{"small": 1}')
        self.good(get(fake.host, "range", fake.digest, fake.size, 1000, 70000), DATA[1000:71000])
        r = self.download(fake)
        self.good(r)
        self.assertEqual(r.file, DATA)
        r = self.download(fake, have=DATA[:1234567])
        self.good(r)
        self.assertEqual(r.file, DATA)
        self.assertEqual(r.bytes, len(DATA) - 1234567)
        self.assertEqual(self.download(fake, have=DATA).requests, 0)

    def test_what_is_asked_for(self):
        fake = self.fake()
        self.good(get(fake.host, "manifest", "v1", "--", "blob", fake.small, fake.small_size))
        first = fake.log[0]
        self.assertEqual(first["path"], "/v2/a/b/manifests/v1")  # no ping
        self.assertEqual(first["accept"], [
            "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
            "*/*;q=0.1"])
        self.assertTrue(first["user_agent"].startswith("lazyrun/"))
        self.assertIsNone(fake.log[1]["accept_encoding"])
        self.assertEqual(len(fake.log), 2)

    def test_sha512(self):
        fake = self.fake()
        digest, size = fake.add_blob(b"x" * 100, algorithm="sha512")
        self.good(get(fake.host, "blob", digest, size), b"x" * 100)

    def test_a_plain_server_that_waits_for_more_of_a_tls_greeting(self):
        fake = self.fake(deaf_to_tls=True)
        self.good(get(fake.host, "manifest", "v1"))

    def test_ipv6_and_localhost(self):
        fake = self.fake(address="::1")
        self.good(get(fake.host, "manifest", "v1"))
        fake = self.fake()
        self.good(get(f"localhost:{fake.port}", "manifest", "v1"))

    def test_plain_http_needs_to_be_said_elsewhere(self):
        fake = self.fake(address="0.0.0.0")
        # Not a loopback name, though it leads there: a name of this host or any address will do.
        host = f"0.0.0.0:{fake.port}"
        self.bad(get(host, "manifest", "v1"), EPROTO, "--plain-http")
        self.good(get(host, "manifest", "v1", access={"plain_http": True}))


class Lies(Case):
    def test_wrong_digests(self):
        fake = self.fake()
        fake.rule("/blobs/|/manifests/", "corrupt", at=3)
        self.bad(get(fake.host, "blob", fake.small, fake.small_size), EBADMSG, fake.small, fake.host)
        self.bad(get(fake.host, "manifest", fake.manifest), EBADMSG, fake.manifest)
        self.bad(get(fake.host, "manifest", "v1"), EBADMSG, "digest")

    def test_wrong_sizes(self):
        for n in (-5, 5, 100000):
            with self.subTest(n=n):
                fake = self.fake()
                fake.rule("/blobs/", "resize", n=n)
                self.bad(self.download(fake), EBADMSG, fake.digest)
                self.bad(get(fake.host, "blob", fake.small, fake.small_size), EBADMSG)
                self.bad(get(fake.host, "range", fake.digest, fake.size, 10, 20), EBADMSG)
                fake.clear()
                fake.rule("/blobs/", "no_length_resize", n=n)
                r = self.download(fake)
                self.bad(r, EBADMSG, fake.digest)
                self.assertLessEqual(len(r.file), fake.size)
                self.bad(get(fake.host, "blob", fake.small, fake.small_size), EBADMSG)

    def test_no_length(self):
        fake = self.fake()
        fake.rule("/blobs/", "no_length")
        r = self.download(fake)
        self.good(r)
        self.assertEqual(r.file, DATA)

    def test_ranges_that_are_not_what_was_asked_for(self):
        fake = self.fake()
        for value in ("bytes 1-20/%d" % fake.size, "bytes 0-4000000/5000000", "bytes 10-29/77", "nonsense", "bytes 9-5/10",
                      "bytes 10-29/99999999999999999999999"):
            with self.subTest(value=value):
                fake.clear()
                fake.rule("/blobs/", "content_range", value=value)
                r = get(fake.host, "range", fake.digest, fake.size, 10, 20)
                self.assertIn(r.code, (EPROTO, EBADMSG), r.error)

    def test_200_for_a_range(self):
        fake = self.fake()
        fake.rule("/blobs/", "no_range")
        self.good(get(fake.host, "range", fake.digest, fake.size, 10, 20), DATA[10:30])
        self.good(get(fake.host, "range", fake.digest, fake.size, fake.size - 9, 9), DATA[-9:])
        r = self.download(fake, have=DATA[:2000000])
        self.good(r)
        self.assertEqual(r.file, DATA)

    def test_less_than_the_range(self):
        fake = self.fake()
        fake.rule("/blobs/", "part", n=700000)
        r = self.download(fake, have=DATA[:100])
        self.good(r)
        self.assertEqual(r.file, DATA)

    def test_too_large(self):
        fake = self.fake()
        fake.add_manifest("a/b", "big", b" " * (5 << 20))
        self.bad(get(fake.host, "manifest", "big"), EBADMSG)
        digest, size = fake.add_blob(bytes(2 << 20))
        self.bad(get(fake.host, "blob", digest, size), EFBIG, digest)
        fake.rule("/manifests/", "headers", headers={"X-%d" % i: "y" * 1000 for i in range(90)})
        self.bad(get(fake.host, "manifest", "v1"), EPROTO)

    def test_control_characters_do_not_reach_the_terminal(self):
        fake = self.fake()
        fake.rule("/manifests/", "status", code=403,
                  body={"errors": [{"code": "DENIED", "message": "\x1b[2Jno\r\nlazyrun: all is well\x07"}]})
        r = get(fake.host, "manifest", "v1")
        self.assertEqual(r.code, EACCES)
        self.assertIn("DENIED", r.error)
        self.assertNotIn("\x1b", r.error)
        self.assertEqual(len(r.error.splitlines()), 1)


class Faults(Case):
    @unittest.skipUnless(os.environ.get("LAZYRUN_SLOW_TESTS"), "takes a minute: set LAZYRUN_SLOW_TESTS")
    def test_silence(self):
        fake = self.fake()
        fake.rule("/blobs/", "stall", at=500000, seconds=100, times=1)
        began = time.monotonic()
        r = self.download(fake)
        self.good(r)
        self.assertEqual(r.file, DATA)
        self.assertLess(time.monotonic() - began, 45)

    @unittest.skipUnless(os.environ.get("LAZYRUN_SLOW_TESTS"), "takes a minute: set LAZYRUN_SLOW_TESTS")
    def test_a_registry_that_accepts_and_says_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            host = "127.0.0.1:%d" % s.getsockname()[1]
            began = time.monotonic()
            self.bad(get(host, "manifest", "v1", timeout=120), ETIMEDOUT, host, "no answer in time")
            self.assertLess(time.monotonic() - began, 100)

    def test_cut_and_resumed(self):
        fake = self.fake()
        fake.rule("/blobs/", "cut", at=500000, times=4)
        r = self.download(fake)
        self.good(r)
        self.assertEqual(r.file, DATA)
        ranges = [e["range"] for e in fake.requests("/blobs/")]
        self.assertIsNone(ranges[0])
        for asked in ranges[1:]:
            self.assertRegex(asked, r"bytes=\d+-%d" % (fake.size - 1))
        self.assertLess(r.bytes, fake.size + 10)  # nothing twice

    def test_cut_at_any_byte(self):
        """Of the head as of the body, by a reset and by an orderly end: asked again, and never believed."""
        fake = self.fake()
        for end, command, want in ((False, ("blob", fake.small, fake.small_size), b"small"),
                                   (True, ("manifest", "v1"), b"schemaVersion")):
            for at in [*range(0, 160, 17), *range(160, 320, 5)]:
                fake.clear()
                fake.rule("GET /v2/", "cut_head", at=at, end=end, times=1)
                with self.subTest(end=end, at=at):
                    r = get(fake.host, *command)
                    self.good(r)
                    self.assertIn(want, r.out)

    def test_at_and_above_the_limits(self):
        """LIMIT_HTTP_HEADER_SIZE 64 KiB, LIMIT_REDIRECTS 10, LIMIT_RETRIES 6, LIMIT_MANIFEST_SIZE 4 MiB,
        LIMIT_ERROR_BODY_SIZE 16 KiB (what is longer is cut, so this JSON says nothing any more)."""
        fake = self.fake()
        for kib, code in ((63, 0), (65, EPROTO)):
            fake.rule("/manifests/", "headers", headers={f"X-{i:03}": "y" * 1015 for i in range(kib)})
            self.assertEqual(get(fake.host, "manifest", "v1").code, code, kib)
            fake.clear()
        for n, code in ((10, 0), (11, EPROTO)):
            fake.rule("/blobs/", "redirect", to=fake.url, times=n)
            self.assertEqual(get(fake.host, "blob", fake.small, fake.small_size).code, code, n)
            fake.clear()
        for n, code in ((6, 0), (7, EPROTO)):
            fake.rule("/manifests/", "status", code=503, times=n)
            self.assertEqual(get(fake.host, "manifest", "v1").code, code, n)
            fake.clear()
        for more, code in ((0, 0), (1, EBADMSG)):
            text = b'{"schemaVersion": 2}'
            fake.add_manifest("a/b", "size", text + b" " * ((4 << 20) - len(text) + more))
            self.assertEqual(get(fake.host, "manifest", "size").code, code, more)
        for more in (-1, 0, 1):
            text = '{"errors": [{"code": "DENIED", "message": "the quota is full"}]}'
            fake.rule("/manifests/", "status", code=403, body=" " * ((16 << 10) - len(text) + more) + text)
            r = get(fake.host, "manifest", "v1")
            self.assertEqual((r.code, "the quota is full" in r.error), (EACCES, more <= 0), r.error)
            fake.clear()

    def test_bodies_and_heads_without_end(self):
        fake = self.fake()
        for what in (dict(), dict(code=404), dict(code=503), dict(code=401), dict(head=True), dict(code=401, head=True)):
            with self.subTest(**what):
                fake.clear()
                fake.rule("/v2/", "endless", **what)
                for command in (("manifest", "v1"), ("blob", fake.small, fake.small_size),
                                ("range", fake.digest, fake.size, 10, 20)):
                    r = get(fake.host, *command)
                    if r.code == 0:  # 200 for a range: it needs no more than those bytes
                        self.assertEqual((command[0], r.out), ("range", b"x" * 20))
                        continue
                    self.assertEqual(r.error.count("lazyrun: "), 1, r.error)
                    self.assertLess(r.bytes, 64 << 20)
                    self.assertLess(r.peak_kib, 256 << 10)

    def test_cut_for_ever(self):
        fake = self.fake()
        fake.rule("/blobs/", "cut", at=1000)
        self.bad(self.download(fake), EPROTO, fake.host, "broke off")
        self.bad(get(fake.host, "blob", fake.digest, fake.size, timeout=60), EFBIG)

    def test_bursts_of_5xx(self):
        fake = self.fake()
        for code in (500, 502, 503, 504):
            fake.rule(".", "status", code=code, times=1)
        self.good(get(fake.host, "manifest", "v1"))
        fake.clear()
        fake.rule(".", "status", code=503)
        self.bad(get(fake.host, "manifest", "v1"), EPROTO, "503", fake.host)
        self.assertEqual(len(fake.requests("/manifests/")), 7)

    def test_429(self):
        fake = self.fake()
        fake.rule("/manifests/", "status", code=429, headers={"Retry-After": "1"}, times=1)
        began = time.monotonic()
        self.good(get(fake.host, "manifest", "v1"))
        self.assertGreaterEqual(time.monotonic() - began, 1)
        fake.clear()
        fake.rule("/manifests/", "status", code=429, headers={"Retry-After": "3600"}, body={
            "errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate limit"}]})
        self.bad(get(fake.host, "manifest", "v1"), EAGAIN, "429", "3600 seconds", "pull rate limit")
        self.assertEqual(len(fake.requests()), 1)

    def test_429_until_a_date(self):
        fake = self.fake()
        when = int(time.time()) + 2
        fake.rule("/manifests/", "status", code=429, times=1,
                  headers={"Retry-After": email.utils.formatdate(when, usegmt=True)})
        self.good(get(fake.host, "manifest", "v1"))
        self.assertGreaterEqual(time.time(), when - 1)
        for text in (email.utils.formatdate(time.time() - 1000, usegmt=True), "soon", "-5", "99999999999999999999"):
            fake.clear()
            fake.rule("/manifests/", "status", code=503, times=1, headers={"Retry-After": text})
            with self.subTest(text=text):
                r = get(fake.host, "manifest", "v1")
                if r.code:
                    self.bad(r, EPROTO, "503", fake.host)

    def test_404(self):
        fake = self.fake()
        self.bad(get(fake.host, "manifest", "nope"), ENOENT, "a/b:nope", "404", "MANIFEST_UNKNOWN", fake.host)
        self.bad(get(fake.host, "blob", "sha256:" + "0" * 64, 5), ENOENT, "BLOB_UNKNOWN")

    def test_nobody_there(self):
        fake = self.fake()
        host = fake.host
        self.bad(get("registry.invalid", "manifest", "v1"), EHOSTUNREACH, "registry.invalid")
        fake2 = RegistryFake()
        fake2.server.server_close()
        self.bad(get(fake2.host, "manifest", "v1"), ECONNREFUSED, fake2.host)
        self.assertTrue(host)

    def test_full_disk(self):
        fake = self.fake()
        if os.path.exists("/dev/full"):
            r = get(fake.host, "download", fake.digest, fake.size, "/dev/full", 0)
            self.bad(r, ENOSPC, "no space", "/dev/full")

    def test_cancelling_is_quick(self):
        fake = self.fake()
        fake.rule("/blobs/", "slow", rate=20000)
        began = time.monotonic()
        r = get(fake.host, "start", fake.digest, fake.size, os.path.join(self.dir, "x"), 200)
        self.good(r)
        self.assertLess(time.monotonic() - began, 3)

    def test_small_pieces_are_told_at_once(self):
        fake = self.fake()
        fake.rule("/blobs/", "slow", rate=200000)
        data = DATA[:100000]
        digest, size = fake.add_blob(data)
        r = get(fake.host, "download", digest, size, os.path.join(self.dir, "x"), 0)
        self.good(r)
        self.assertGreater(int(r.out.split()[5]), 4)  # waits


class Redirects(Case):
    def test_without_authorization(self):
        fake = self.fake(auth="token", user="u", password="p")
        store = self.fake()
        access = {"auths": {fake.host: {"username": "u", "password": "p"}}}
        fake.rule("/blobs/", "redirect", to=store.url)
        self.good(get(fake.host, "blob", fake.small, fake.small_size, access=access), b'{"small": 1}')
        r = self.download(fake, access=access)
        self.good(r)
        self.assertEqual(r.file, DATA)
        self.assertTrue(store.log)
        self.assertFalse(any(e["authorization"] for e in store.log))
        self.assertTrue(any(e["authorization"] for e in fake.requests("/blobs/")))

    def test_the_target_is_remembered_until_it_refuses(self):
        fake, store = self.fake(), self.fake()
        fake.rule("/blobs/", "redirect", to=store.url)
        self.good(get(fake.host, "ranges", fake.digest, fake.size, 10))
        self.assertEqual((len(fake.requests("/blobs/")), len(store.requests("/blobs/"))), (1, 10))
        fake.clear()
        store.clear()
        fake.rule("/blobs/", "redirect", to=store.url)
        for code in (401, 403, 404, 410):
            fake.clear()
            store.clear()
            fake.rule("/blobs/", "redirect", to=store.url)
            store.rule("/blobs/", "status", code=code, skip=5, times=1)
            self.good(get(fake.host, "ranges", fake.digest, fake.size, 10))
            self.assertEqual((len(fake.requests("/blobs/")), len(store.requests("/blobs/"))), (2, 11))

    def test_a_target_that_refuses_in_the_middle_of_a_blob(self):
        fake, store = self.fake(), self.fake()
        path = f"/v2/a/b/blobs/{fake.digest}?signed="
        fake.rule("/blobs/", "redirect", to=store.url, path=path + "1", times=1)
        fake.rule("/blobs/", "redirect", to=store.url, path=path + "2")
        store.rule("/blobs/", "cut", at=1000000, times=1)
        store.rule("signed=1", "status", code=403, skip=1)
        r = self.download(fake)
        self.good(r)
        self.assertEqual(r.file, DATA)
        self.assertEqual(len(fake.requests("/blobs/")), 2)
        self.assertLess(r.bytes, fake.size + 1000)

    def test_every_kind_of_redirect(self):
        fake, store = self.fake(), self.fake()
        for code in (301, 302, 303, 307, 308):
            fake.clear()
            fake.rule("/blobs/", "redirect", to=store.url, code=code)
            self.good(get(fake.host, "blob", fake.small, fake.small_size), b'{"small": 1}')
        fake.clear()
        fake.rule("/blobs/" + fake.digest, "redirect", to="", path="/v2/a/b/blobs/" + fake.small)  # relative
        self.good(get(fake.host, "range", fake.digest, fake.small_size, 0, 5), b'{"sma')
        fake.clear()
        fake.rule("/blobs/", "status", code=302)  # without a Location
        self.bad(get(fake.host, "blob", fake.small, fake.small_size), EPROTO, "302")

    def test_loops_and_nonsense(self):
        fake = self.fake()
        fake.rule("/blobs/", "redirect", to=fake.url)
        self.bad(get(fake.host, "blob", fake.small, fake.small_size), EPROTO, "redirects")
        for to in ("file:///etc/passwd#", "ftp://127.0.0.1", "http://user:pass@127.0.0.1:1"):
            fake.clear()
            fake.rule("/blobs/", "redirect", to=to, times=1)
            self.assertNotEqual(get(fake.host, "blob", fake.small, fake.small_size).code, 0)

    def test_never_from_https_to_http(self):
        cert, key = make_certificate(self.dir)
        fake, store = self.fake(tls=(cert, key)), self.fake()
        fake.rule("/blobs/", "redirect", to=store.url)
        self.bad(get(fake.host, "blob", fake.small, fake.small_size, access={"ca_file": cert}), EPROTO, "https")
        self.assertFalse(store.log)


class Logins(Case):
    ACCESS = {"username": "u", "password": "s3cret"}

    def test_basic(self):
        fake = self.fake(auth="basic", user="u", password="s3cret")
        r = get(fake.host, "manifest", "v1", "--", "blob", fake.small, fake.small_size, access={"auths": {fake.host: self.ACCESS}})
        self.good(r)
        self.assertEqual([e["authorization"] for e in fake.log], [False, True, True])
        self.bad(get(fake.host, "manifest", "v1"), EACCES, "podman login " + fake.host, "docker login " + fake.host)
        r = get(fake.host, "manifest", "v1", access={"auths": {fake.host: {"username": "u", "password": "wr0ng"}}})
        self.bad(r, EACCES, "not accepted")
        self.assertNotIn("wr0ng", r.error)

    def test_token(self):
        fake = self.fake(auth="token", user="u", password="s3cret")
        access = {"auths": {fake.host + "/a": self.ACCESS, fake.host: {"username": "other", "password": "x"}}}
        r = get(fake.host, "manifest", "v1", "--", "blob", fake.small, fake.small_size, access=access)
        self.good(r)
        self.assertEqual([e["path"].split("?")[0].split("/")[-1][:5] for e in fake.log], ["v1", "token", "v1", "sha25"])
        self.assertEqual(len(fake.requests("/token")), 1)
        r = get(fake.host, "manifest", "v1")
        self.bad(r, EACCES, "log in")
        r = get(fake.host, "manifest", "v1", access={"auths": {fake.host: {"username": "u", "password": "wr0ng"}}})
        self.bad(r, EACCES, "incorrect username or password")
        self.assertNotIn("wr0ng", r.error)

    def test_anonymous_token(self):
        fake = self.fake(auth="token")
        self.good(get(fake.host, "manifest", "v1"))

    def test_identity_token(self):
        fake = self.fake(auth="token", user="u", password="p", identity_token="id-t0ken")
        self.good(get(fake.host, "manifest", "v1", access={"auths": {fake.host: {"identity_token": "id-t0ken"}}}))
        self.assertEqual([e["method"] for e in fake.requests("/token")], ["POST"])
        r = get(fake.host, "manifest", "v1", access={"auths": {fake.host: {"identity_token": "0ther"}}})
        self.bad(r, EACCES)
        self.assertNotIn("0ther", r.error)

    def test_tokens_that_expire(self):
        fake = self.fake(auth="token", token_seconds=1)
        self.good(get(fake.host, "manifest", "v1", "--", "sleep", 1200, "--", "manifest", "v1"))
        # The second is asked for before a refusal.
        self.assertEqual([e["status"] for e in fake.requests("/manifests/")], [401, 200, 200])

    def test_tokens_that_are_refused_in_the_middle_of_a_blob(self):
        fake = self.fake(auth="token")
        fake.rule("/blobs/", "cut_and_expire", at=500000, times=3, skip=1)
        r = self.download(fake)
        self.good(r)
        self.assertEqual(r.file, DATA)
        self.assertGreaterEqual(len(fake.requests("/token")), 3)

    def test_always_401(self):
        fake = self.fake(auth="token")
        fake.rule("/manifests/", "need_auth")
        self.bad(get(fake.host, "manifest", "v1"), EACCES, "401")
        self.assertLess(len(fake.log), 12)

    def test_one_token_for_many_at_once(self):
        fake = self.fake(auth="token")
        r = get(fake.host, "parallel", fake.digest, fake.size, 8)
        self.good(r)
        self.assertEqual(len(fake.requests("/token")), 1)

    def test_realm_over_plain_http_is_refused(self):
        cert, key = make_certificate(self.dir)
        thief = self.fake()
        fake = self.fake(tls=(cert, key), auth="token", realm=thief.url + "/token")
        r = get(fake.host, "manifest", "v1", access={"ca_file": cert, "auths": {fake.host: self.ACCESS}})
        self.bad(r, EACCES, "plain http")
        self.assertFalse(thief.log)

    def test_a_token_server_that_talks_nonsense(self):
        fake = self.fake(auth="token")
        for body in ("", "[]", '{"token": 5}', '{"token": "a\\r\\nX: y"}', "{" * 100, '{"token": "' + "x" * 100000 + '"}'):
            fake.clear()
            fake.rule("/token", "status", code=200, body=body)
            r = get(fake.host, "manifest", "v1")
            self.assertIn(r.code, (EPROTO, EBADMSG), r.error)


class Tls(Case):
    def test_trust(self):
        cert, key = make_certificate(self.dir)
        fake = self.fake(tls=(cert, key))
        self.bad(get(fake.host, "manifest", "v1"), EACCES, "certificate", "certs.d/" + fake.host)
        self.good(get(fake.host, "manifest", "v1", access={"ca_file": cert}))
        self.good(get(fake.host, "manifest", "v1", access={"tls_verify": False}))
        os.mkdir(self.dir + "/certs")
        shutil.copy(cert, self.dir + "/certs/my.crt")
        self.good(get(fake.host, "manifest", "v1", access={"certs_dir": self.dir + "/certs"}))
        self.bad(get(fake.host, "manifest", "v1", access={"ca_file": self.dir + "/none"}), ENOENT, "none")
        # Another name than the certificate's.
        self.bad(get(f"localhost:{fake.port}", "manifest", "v1", access={"ca_file": cert}), EACCES)

    def test_client_certificate(self):
        cert, key = make_certificate(self.dir)
        fake = self.fake(tls=(cert, key), client_ca=cert)
        os.mkdir(self.dir + "/certs")
        shutil.copy(cert, self.dir + "/certs/ca.crt")
        self.assertNotEqual(get(fake.host, "manifest", "v1", access={"certs_dir": self.dir + "/certs"}).code, 0)
        shutil.copy(cert, self.dir + "/certs/client.cert")
        self.bad(get(fake.host, "manifest", "v1", access={"certs_dir": self.dir + "/certs"}), ENOENT, "client.key")
        shutil.copy(key, self.dir + "/certs/client.key")
        self.good(get(fake.host, "manifest", "v1", access={"certs_dir": self.dir + "/certs"}))

    def test_download(self):
        cert, key = make_certificate(self.dir)
        fake = self.fake(tls=(cert, key))
        fake.rule("/blobs/", "cut", at=1000000, times=1)
        r = self.download(fake, access={"ca_file": cert})
        self.good(r)
        self.assertEqual(r.file, DATA)


class Real(Case):
    """Debian's docker-registry with TLS and htpasswd."""

    @unittest.skipUnless(shutil.which("docker-registry") and shutil.which("htpasswd"), "no docker-registry or htpasswd")
    def test_docker_registry(self):
        cert, key = make_certificate(self.dir)
        subprocess.run(["htpasswd", "-Bbc", self.dir + "/users", "u", "s3cret"], check=True, capture_output=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            host = "127.0.0.1:%d" % s.getsockname()[1]
        with open(self.dir + "/config.yml", "w") as f:
            json.dump({"version": 0.1, "storage": {"filesystem": {"rootdirectory": self.dir + "/registry"}},
                       "http": {"addr": host, "tls": {"certificate": cert, "key": key}, "secret": "x"},
                       "auth": {"htpasswd": {"realm": "test", "path": self.dir + "/users"}}}, f)
        server = subprocess.Popen(["docker-registry", "serve", self.dir + "/config.yml"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        access = {"ca_file": cert, "auths": {host: {"username": "u", "password": "s3cret"}}}
        end = time.monotonic() + 20
        while get(host, "manifest", "v1", access=access).code != ENOENT and time.monotonic() < end:
            time.sleep(0.05)
        base = f"https://{host}/v2/a/b"
        context = ssl.create_default_context(cafile=cert)

        def put(url, data, method="PUT", kind="application/octet-stream"):
            request = urllib.request.Request(url, data, {"Content-Type": kind, "Authorization": "Basic dTpzM2NyZXQ="},
                                             method=method)
            return urllib.request.urlopen(request, context=context).headers
        blobs = []
        for data in (DATA, b"{}"):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            where = put(base + "/blobs/uploads/", b"", "POST")["Location"]
            put(where + ("&" if "?" in where else "?") + "digest=" + digest, data)
            blobs.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(data)})
        kind = "application/vnd.oci.image.manifest.v1+json"
        blobs[1]["mediaType"] = "application/vnd.oci.image.config.v1+json"
        put(base + "/manifests/v1", json.dumps({"schemaVersion": 2, "mediaType": kind, "config": blobs[1],
                                                "layers": blobs[:1]}).encode(), kind=kind)
        digest, size = blobs[0]["digest"], blobs[0]["size"]
        path = self.dir + "/part"
        r = get(host, "manifest", "v1", "--", "download", digest, size, path, 0, access=access)
        self.good(r)
        with open(path, "rb") as f:
            self.assertEqual(f.read(), DATA)
        self.good(get(host, "range", digest, size, 1000, 70000, access=access), DATA[1000:71000])
        self.bad(get(host, "manifest", "v2", access=access), ENOENT, "manifest unknown")
        self.bad(get(host, "manifest", "v1", access={"ca_file": cert}), EACCES, "log in")
        self.bad(get(host, "manifest", "v1", access={**access, "plain_http": True}), EPROTO, "400")


class Proxies(Case):
    def test_the_environment_is_not_obeyed(self):
        fake = self.fake(address="0.0.0.0")
        env = {k: "http://127.0.0.1:1" for k in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")}
        self.good(get(f"0.0.0.0:{fake.port}", "manifest", "v1", access={"plain_http": True}, env=env))

    def test_the_access_is(self):
        proxy = self.fake()  # it sees an absolute address and says 404
        access = {"plain_http": True, "proxy": {"http_proxy": proxy.url}}
        self.bad(get("registry.invalid", "manifest", "v1", access=access), ENOENT)
        self.assertTrue(proxy.log[0]["path"].startswith("http://registry.invalid/v2/"))
        access["proxy"]["no_proxy"] = "registry.invalid"
        self.bad(get("registry.invalid", "manifest", "v1", access=access), EHOSTUNREACH)
        access["proxy"] = {"http_proxy": "http://127.0.0.1:1"}
        self.assertEqual(get("registry.invalid", "manifest", "v1", access=access).code, ECONNREFUSED)
        fake = self.fake()  # loopback goes direct
        self.good(get(fake.host, "manifest", "v1", access=access))


    def test_a_proxy_that_refuses_the_tunnel(self):
        for code in (403, 407):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                def serve():
                    client, _ = listener.accept()
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % code)
                    client.close()
                threading.Thread(target=serve, daemon=True).start()
                access = {"proxy": {"https_proxy": "http://127.0.0.1:%d" % listener.getsockname()[1]}}
                self.bad(get("registry.invalid", "manifest", "v1", access=access), EHOSTUNREACH, "proxy", str(code))

    def test_tls_through_a_tunnel(self):
        cert, key = make_certificate(self.dir, "registry.invalid")
        fake = self.fake(tls=(cert, key), auth="token", user="u", password="p")
        fake.realm = "https://registry.invalid/token"
        asked = []

        def pump(a, b):
            try:
                while data := a.recv(65536):
                    b.sendall(data)
            except OSError:
                pass
            b.close()

        def serve(listener):
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                asked.append(head.split(b"\r\n")[0])
                server = socket.create_connection(("127.0.0.1", fake.port))
                client.sendall(b"HTTP/1.1 200 Connection established\r\nDocker-Content-Digest: sha256:no\r\n\r\n")
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        access = {"ca_file": cert, "proxy": {"https_proxy": "http://127.0.0.1:%d" % listener.getsockname()[1]},
                  "auths": {"registry.invalid": {"username": "u", "password": "p"}}}
        self.good(get("registry.invalid", "manifest", "v1", "--", "range", fake.digest, fake.size, 5, 10, access=access))
        self.assertEqual(set(asked), {b"CONNECT registry.invalid:443 HTTP/1.1"})


class Layouts(Case):
    def layout(self, tags=("v1",)):
        def put(data):
            digest = hashlib.sha256(data).hexdigest()
            with open(os.path.join(self.dir, "blobs/sha256", digest), "wb") as f:
                f.write(data)
            return "sha256:" + digest, len(data)
        os.makedirs(self.dir + "/blobs/sha256")
        self.blob, self.size = put(DATA)
        entries = []
        for tag in tags:
            digest, size = put(json.dumps({"schemaVersion": 2, "x": tag}).encode())
            entries.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                            "annotations": {"org.opencontainers.image.ref.name": tag}})
        self.write("index.json", json.dumps({"schemaVersion": 2, "manifests": entries}))
        self.write("oci-layout", '{"imageLayoutVersion": "1.0.0"}')
        return entries

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(text)

    def get(self, *command):
        return get(self.dir, *command, kind="layout")

    def test_reads(self):
        entries = self.layout(("v1", "v2"))
        r = self.get("manifest", "v2")
        self.good(r)
        self.assertIn(entries[1]["digest"].encode(), r.out)
        self.good(self.get("manifest", entries[0]["digest"]))
        self.good(self.get("range", self.blob, self.size, 100, 1000), DATA[100:1100])
        r = self.get("download", self.blob, self.size, self.dir + "/part", 0)
        self.good(r)
        self.assertIn(b"own-fd 1", r.out)
        self.assertEqual(os.path.getsize(self.dir + "/part"), 0)
        self.bad(self.get("manifest", ""), ENOENT, "2 images")
        self.bad(self.get("manifest", "v3"), ENOENT, "v3")

    def test_the_only_one(self):
        self.layout()
        self.good(self.get("manifest", ""))

    def test_broken(self):
        entries = self.layout()
        path = os.path.join(self.dir, "blobs/sha256", entries[0]["digest"][7:])
        with open(path, "r+b") as f:
            f.write(b" ")
        self.bad(self.get("manifest", "v1"), EBADMSG, "digest")
        with open(path, "ab") as f:
            f.write(b" ")
        self.bad(self.get("manifest", "v1"), EBADMSG, "bytes")
        os.unlink(path)
        self.bad(self.get("manifest", "v1"), ENOENT, "complete")
        os.symlink("/etc/passwd", path)
        self.assertNotEqual(self.get("manifest", "v1").code, 0)
        self.bad(self.get("download", self.blob, self.size + 1, self.dir + "/part", 0), EBADMSG)
        self.write("index.json", '{"manifests": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}')
        self.bad(self.get("manifest", ""), EBADMSG)
        self.write("index.json", "{")
        self.bad(self.get("manifest", ""), EBADMSG, "index.json")
        self.write("oci-layout", '{"imageLayoutVersion": "2.0.0"}')
        self.bad(self.get("manifest", ""), EOPNOTSUPP, "2.0.0")
        os.unlink(self.dir + "/oci-layout")
        self.bad(self.get("manifest", ""), EBADMSG, "no OCI image layout")
        self.bad(get(self.dir + "/none", "manifest", "", kind="layout"), ENOENT, "none")


if __name__ == "__main__":
    unittest.main(verbosity=1)
