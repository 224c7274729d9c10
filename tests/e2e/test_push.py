#!/usr/bin/env python3
"""push.h and referrers.h against a registry with the referrers API, one without, and a layout."""
import hashlib
import json
import os
import random
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import DockerRegistry  # noqa: E402
from registry_fake import RegistryFake  # noqa: E402
from test_source import EACCES, EBADMSG, EPROTO, Case, get  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
KIND = "application/vnd.lazyrun.test.v1"
DATA = random.Random(2).randbytes(2 * 1024 * 1024 + 5)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Push(Case):
    """What every kind of target must do; `target` yields (host, kind)."""

    def file(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def push_blob(self, host, data, mount="-", **kw):
        return get(host, "push", digest_of(data), self.file("blob", data), mount, **kw)

    def subject(self, host, **kw):
        """An image manifest that is there, as its digest."""
        for data in (b"{}", DATA):
            self.good(self.push_blob(host, data, **kw))
        return self.put(host, "v1", manifest(DATA), **kw)

    def put(self, host, tag, data, **kw):
        r = get(host, "put", tag, MANIFEST, self.file("manifest", data), **kw)
        self.good(r, (digest_of(data) + "\n").encode())
        return digest_of(data)

    def refer(self, host, subject, n, artifact=KIND, **kw):
        data = manifest(b"{}", subject, artifact, n)
        return get(host, "refer", MANIFEST, self.file(f"refer{n}", data), **kw), digest_of(data)

    def referrers(self, host, subject, artifact="-", **kw):
        r = get(host, "referrers", subject, artifact, **kw)
        self.good(r)
        return [line.split(" ") for line in r.out.decode().splitlines()]

    def story(self, host, **kw):
        subject = self.subject(host, **kw)
        self.assertEqual(self.referrers(host, subject, **kw), [])
        self.good(self.push_blob(host, DATA, **kw), b"sent 0\n")
        made = []
        for n in range(3):
            r, digest = self.refer(host, subject, n, **kw)
            self.good(r)
            made.append(digest)
        r, other = self.refer(host, subject, 3, "application/vnd.other", **kw)
        self.good(r)
        self.good(self.refer(host, subject, 1, **kw)[0])  # once more: nothing is there twice
        found = self.referrers(host, subject, KIND, **kw)
        self.assertEqual(sorted(f[0] for f in found), sorted(made))
        for f in found:
            self.assertEqual(f[2:], [MANIFEST, KIND, f"2026-01-0{made.index(f[0]) + 1}T00:00:00Z"])
        self.assertEqual(sorted(f[0] for f in self.referrers(host, subject, **kw)), sorted([*made, other]))
        self.assertEqual(self.referrers(host, subject, "application/none", **kw), [])
        return subject


def manifest(layer, subject=None, kind=None, n=None):
    o = {"schemaVersion": 2, "mediaType": MANIFEST,
         "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
         "layers": [{"mediaType": "application/octet-stream", "digest": digest_of(layer), "size": len(layer)}]}
    if subject:
        o["artifactType"] = kind
        o["subject"] = {"mediaType": MANIFEST, "digest": subject, "size": 1}
        o["annotations"] = {"org.opencontainers.image.created": f"2026-01-0{n + 1}T00:00:00Z"}
    return json.dumps(o).encode()


class Fake(Push):
    def test_with_the_api(self):
        for options in ({}, {"referrers_page": 2}, {"filters": False}, {"auth": "token", "user": "u", "password": "p"},
                        {"auth": "basic", "user": "u", "password": "p"}):
            with self.subTest(options):
                fake = RegistryFake(**options).start()
                self.addCleanup(fake.close)
                auths = {"auths": {fake.host: {"username": "u", "password": "p"}}} if "auth" in options else None
                self.story(fake.host, access=auths)
                self.assertFalse(any(name.startswith("sha256-") for _, name in fake.manifests))
                # It may be read beside the API, as long as nobody knows that there is one.
                self.assertLessEqual({r["method"] for r in fake.requests("manifests/sha256-")}, {"GET"})

    def test_without_the_api(self):
        fake = RegistryFake(referrers=False).start()
        self.addCleanup(fake.close)
        subject = self.story(fake.host)
        tag = subject.replace(":", "-")
        entries = json.loads(fake.manifests["a/b", tag][1])["manifests"]
        self.assertEqual(len(entries), 4)
        self.assertEqual(entries[0]["annotations"], {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"})

    def test_side_by_side_loses_none(self):
        fake = RegistryFake(referrers=False).start()
        self.addCleanup(fake.close)
        subject = self.subject(fake.host)
        results = []
        threads = [threading.Thread(target=lambda n=n: results.append(self.refer(fake.host, subject, n)))
                   for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for r, _ in results:
            self.good(r)
        # Read back by each, an entry may still be lost to a slower writer; whoever says "done" saw its own.
        self.assertLessEqual({f[0] for f in self.referrers(fake.host, subject)}, {d for _, d in results})
        self.assertTrue(self.referrers(fake.host, subject))

    def test_the_fallback_tag_is_something_else(self):
        fake = RegistryFake(referrers=False).start()
        self.addCleanup(fake.close)
        subject = self.subject(fake.host)
        fake.manifests["a/b", subject.replace(":", "-")] = (MANIFEST, manifest(DATA))
        self.assertEqual(self.referrers(fake.host, subject), [])
        r, _ = self.refer(fake.host, subject, 0)
        self.bad(r, EBADMSG, "is something else")

    def test_mount(self):
        fake = RegistryFake().start()
        self.addCleanup(fake.close)
        fake.rule("HEAD .*/blobs/", "status", code=404)
        fake.add_blob(DATA)
        self.good(self.push_blob(fake.host, DATA, "c/d"), b"sent 0\n")
        self.assertIn("from=c%2Fd", fake.requests("POST")[0]["path"])
        fake.mounts = False
        self.good(self.push_blob(fake.host, DATA, "c/d"), b"sent 1\n")
        fake.clear()
        fake.rule("HEAD .*/blobs/", "status", code=404)
        fake.rule("POST .*mount=", "status", code=403)
        self.good(self.push_blob(fake.host, DATA, "c/d"), b"sent 1\n")

    def test_what_breaks_is_sent_again(self):
        for rule in ({"match": "PUT .*/uploads/", "kind": "status", "code": 503, "times": 2},
                     {"match": "PUT .*/uploads/", "kind": "status", "code": 404, "times": 1},
                     {"match": "POST .*/uploads/", "kind": "status", "code": 500, "times": 2},
                     {"match": "HEAD ", "kind": "status", "code": 502, "times": 2},
                     {"match": "PUT .*/uploads/", "kind": "stop", "times": 2}):
            with self.subTest(rule):
                fake = RegistryFake().start()
                self.addCleanup(fake.close)
                fake.rule(**rule)
                self.good(self.push_blob(fake.host, DATA), b"sent 1\n")
                self.assertEqual(fake.blobs[digest_of(DATA)], DATA)

    def test_refused(self):
        fake = RegistryFake().start()
        self.addCleanup(fake.close)
        fake.rule("POST ", "status", code=403, body={"errors": [{"code": "DENIED", "message": "read only"}]})
        self.bad(self.push_blob(fake.host, DATA), EACCES, "sending blob sha256:", "read only")
        fake.clear()
        fake.rule("POST ", "status", code=202)
        self.bad(self.push_blob(fake.host, DATA), EPROTO, "does not say where")
        fake.clear()
        fake.rule("PUT ", "redirect", to="http://127.0.0.1:1", code=302)
        self.bad(self.push_blob(fake.host, DATA), EPROTO, "302")

    def test_a_list_that_goes_on_elsewhere(self):
        fake = RegistryFake(referrers_page=1).start()
        self.addCleanup(fake.close)
        subject = self.subject(fake.host)
        fake.rule("referrers", "headers", headers={"Link": '<http://127.0.0.1:1/v2/a/b/referrers/x>; rel="next"'})
        self.bad(get(fake.host, "referrers", subject, "-"), EPROTO, "another host")
        fake.clear()
        fake.rule("referrers", "headers", headers={"Link": f'</v2/a/b/referrers/{subject}>; rel="next"'})
        self.bad(get(fake.host, "referrers", subject, "-"), 27, "pages")  # EFBIG: round and round

    def test_as_many_pages_as_are_allowed(self):
        """LIMIT_REFERRERS_PAGES is 64; a page has one entry here."""
        fake = RegistryFake(referrers_page=1).start()
        self.addCleanup(fake.close)
        subject = self.subject(fake.host)
        for n in range(65):
            if n >= 63:  # below and at the line
                self.assertEqual(len(self.referrers(fake.host, subject)), n)
            self.good(self.refer(fake.host, subject, n)[0])
        self.bad(get(fake.host, "referrers", subject, "-"), 27, "64 pages")


class Docker(Push):
    def test_story(self):
        os.mkdir(self.dir + "/registry")
        registry = DockerRegistry(self.dir + "/registry")
        self.addCleanup(registry.stop)
        self.story(registry.address)
        self.assertIn(b"sent 0", self.push_blob(registry.address, DATA, "a/b", repository="other/one").out)


class Layout(Push):
    def test_story(self):
        path = self.dir + "/layout"
        os.mkdir(path)
        for name, o in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", {"schemaVersion": 2, "manifests": []})):
            with open(f"{path}/{name}", "w") as f:
                json.dump(o, f)
        self.story(path, kind="layout")
        self.put(path, "v1", manifest(b"{}"), kind="layout")
        with open(path + "/index.json") as f:
            names = [m.get("annotations", {}).get("org.opencontainers.image.ref.name") for m in json.load(f)["manifests"]]
        self.assertEqual(names.count("v1"), 1)
        r = get(path, "push", digest_of(b"{}x"), self.file("wrong", b"{}y"), "-", kind="layout")
        self.bad(r, EBADMSG, "another digest")
        self.assertFalse([n for n in os.listdir(path + "/blobs/sha256") if n.startswith(".")])


del Push, Case

if __name__ == "__main__":
    unittest.main()
