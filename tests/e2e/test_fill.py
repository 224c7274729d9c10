"""What nobody reads comes in the background, is checked as a whole, and is then everybody's."""
import hashlib
import json
import os
import subprocess
import time

from lab import wait_until
from test_artifact import ARTIFACT, FILES, MIB, SUM_ALL, SUM_ONE, ArtifactCase


class FillCase(ArtifactCase):
    def layer_keys(self):
        return sorted(os.listdir(self.lab.store + "/layers"))

    def wait_for_tar(self):
        wait_until("layers that are tars", lambda: all(k.startswith("tar-") for k in self.layer_keys()), 90)


class Fill(FillCase):
    def test_the_rest_comes_and_becomes_a_tar_layer(self):
        self.run_ok("run", "--require-lazy", "--fill=now", self.through, *SUM_ONE)
        self.wait_for_tar()
        ranges = sorted((r.path, r.range) for r in self.proxy.blobs() if any(d in r.path for d in self.layers))
        self.assertEqual(len(ranges), len(set(ranges)), "a span came twice")
        self.proxy.forget()
        self.check_sums(self.run_ok("run", "--offline", self.through, *SUM_ALL).stdout)
        self.assertEqual(self.origins(self.through), ["tar", "tar"])
        self.assertEqual(self.proxy.seen, [])
        self.run_ok("check")
        self.run_ok("evict", self.through)
        self.check_sums(self.run_ok("run", self.through, *SUM_ALL).stdout)

    def test_idle_is_the_default(self):
        self.run_ok("run", self.through, *SUM_ONE)
        self.wait_for_tar()

    def test_who_uses_a_layer_keeps_it(self):
        p = self.lab.start("run", "-i", "--fill=now", self.through, "sh", "-c", "read x; sha256sum /data/*",
                           stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until("layers", lambda: os.path.exists(self.lab.store + "/layers") and self.layer_keys())
        wait_until("all bytes", lambda: all(os.path.exists(f"{self.lab.store}/layers/{k}/checked")
                                            for k in self.layer_keys()), 90)
        out, _ = p.communicate(b"go\n", 60)
        self.check_sums(out.decode())
        self.assertTrue(all(k.startswith("repo-") for k in self.layer_keys()), self.layer_keys())

    def test_never(self):
        self.run_ok("run", "--fill=never", self.through, *SUM_ONE)
        seen = len(self.proxy.seen)
        time.sleep(4)  # twice what is idle
        self.assertEqual(len(self.proxy.seen), seen)

    def test_a_rate(self):
        begin = time.monotonic()
        self.run_ok("run", "--fill=now", "--fill-rate=4", self.through, *SUM_ONE)
        self.wait_for_tar()
        self.assertGreater(time.monotonic() - begin, (self.packed - 3 * MIB) / (4 * MIB) * 0.8)

    def test_evicted_stays_evicted(self):
        self.run_ok("run", "--fill=now", "--fill-rate=0.5", self.through, *SUM_ONE)
        self.run_ok("evict", self.through)
        self.proxy.forget()
        time.sleep(3)
        self.assertEqual(self.from_layers(), 0)

    def test_wrong_flags(self):
        self.assertFails(self.lab.lazyrun("run", "--fill=always", self.through, "true"), 125, "--fill=always", "idle")
        self.assertFails(self.lab.lazyrun("run", "--fill-rate=fast", self.through, "true"), 125, "--fill-rate=fast")


class Lies(FillCase):
    def test_a_layer_that_is_not_its_tar(self):
        """The artifact describes the blob; the config promises another tar."""
        media = "application/vnd.oci.image.manifest.v1+json"
        config = self.lab.layout.config("app")
        config["rootfs"]["diff_ids"][0] = "sha256:" + "7" * 64
        config = json.dumps(config).encode()
        image = self.lab.layout.manifest("app")
        image["config"].update(digest="sha256:" + hashlib.sha256(config).hexdigest(), size=len(config))
        image = json.dumps(image).encode()
        digest = "sha256:" + hashlib.sha256(image).hexdigest()
        _, artifact = self.artifact()
        artifact["subject"].update(digest=digest, size=len(image))
        artifact = json.dumps(artifact).encode()
        named = "sha256:" + hashlib.sha256(artifact).hexdigest()
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                 "manifests": [{"mediaType": media, "digest": named, "size": len(artifact), "artifactType": ARTIFACT}]}
        answers = {"/manifests/latest": (image, media), "/manifests/" + digest: (image, media),
                   "/manifests/" + named: (artifact, media),
                   "/manifests/sha256-" + digest[7:]: (json.dumps(index).encode(), index["mediaType"]),
                   "/blobs/" + json.loads(image)["config"]["digest"]: (config, "application/octet-stream")}

        def rule(r):
            for path, (body, kind) in answers.items():
                if r.path.endswith(path):
                    return {"status": 200, "body": body, "headers": {"Content-Type": kind}}
            return None
        self.proxy.rule = rule
        self.lab.lazyrun("run", "--require-lazy", "--fill=now", self.through, "true")  # it may be found out before its end
        wait_until("the log to say so", lambda: "IS NOT WHAT ITS IMAGE SAYS" in self.lab.log(), 60)
        self.assertFails(self.lab.lazyrun("cat", self.through, "/bin/sh"), 125, "7" * 64, "the image is broken")  # streamed
        self.assertFails(self.lab.lazyrun("cat", "--require-lazy", self.through, "/bin/sh"), 125, "lies", "lazyrun gc")


del FillCase, ArtifactCase
