"""Bad input: a message that names layer, member or host and what to do; then the next run works."""
import gzip
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import unittest

import oci
from lab import CONFIG, Case, Lab, free_port, tiny
from proxy import Proxy


class BadCase(Case):
    @classmethod
    def prepare(cls):
        cls.good = cls.lab.image("good", [tiny()], CONFIG)

    def refused(self, image, *words, command="pull", seconds=60, **kw):
        """`lazyrun pull` fails, says all `words`, leaves nothing half-made; the good image runs."""
        p = self.lab.lazyrun(command, image, seconds=seconds, **kw)
        self.assertFails(p, 125, *words)
        self.assertLess(len(p.stderr.splitlines()), 6, p.stderr)
        layers = self.lab.store + "/layers"
        for key in os.listdir(layers) if os.path.isdir(layers) else []:
            for name in ("index.erofs", "data", "spans", "have"):
                self.assertTrue(os.path.exists(f"{layers}/{key}/{name}"), f"{key} has no {name}")
        self.assertNotIn(image, self.lab.lazyrun("images", check=0).stdout)
        self.run_ok("run", self.good, "true")
        return p

    def image_of_blob(self, name, blob, diff_id, media_type):
        """An image whose only layer is these packed bytes; pushed."""
        layout = self.lab.layout
        d = layout.descriptor(layout.put(blob), media_type)
        layout.put_image(name, [(d, diff_id)], CONFIG)
        self.digest = d["digest"]
        return self.lab.registry.push(layout, name)

    def short(self):
        """The first digits of the bad layer's digest, as a message must have them."""
        return self.digest[7:19]


class References(BadCase):
    def test_wrong_references(self):
        for text in ("", "UPPER/case", "a//b", "/abs", "a:b:c:d", "name@sha256:123", "name@md5:" + "0" * 32,
                     "host:99999999/x", "a" * 300 + "/b", "x:" + "t" * 200, "-", "a b", "oci:"):
            with self.subTest(text):
                self.assertFails(self.lab.lazyrun("pull", "--", text), 125)

    def test_says_which_and_what(self):
        self.assertFails(self.lab.lazyrun("pull", "UPPER/case"), 125, "UPPER/case", "lower")


class Hosts(BadCase):
    def test_unknown_host(self):
        self.refused("no-such-host.invalid/a:b", r"no-such-host\.invalid", "resolve|name|DNS|unknown|spell")

    def test_refused_connection(self):
        port = free_port()
        self.refused(f"127.0.0.1:{port}/a", f"127.0.0.1:{port}", "refused|connect")

    def test_not_a_registry(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
            import threading

            def babble():
                while True:
                    try:
                        c, _ = s.accept()
                    except OSError:
                        return
                    c.recv(1000)
                    c.sendall(b"220 mail.example ESMTP\r\n")
                    c.close()
            threading.Thread(target=babble, daemon=True).start()
            self.refused(f"127.0.0.1:{port}/a", f"127.0.0.1:{port}")

    def test_error_codes(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        for status, words in ((401, "401|[Uu]nauthorized|log ?in|credential|password"), (403, "403|denied|[Ff]orbidden|refuse"),
                              (404, "404|no such|not found|does not"), (429, "429|too many|rate|later"),
                              (500, "500"), (503, "503")):
            with self.subTest(status):
                headers = {"WWW-Authenticate": 'Basic realm="x"'} if status == 401 else {}
                proxy.rule = lambda r: {"status": status, "headers": {"Retry-After": "0", **headers}}
                self.refused(proxy.reference("good"), proxy.address, words)

    def test_no_such_tag(self):
        self.refused(f"{self.lab.registry.address}/good:nowhere", self.lab.registry.address, "nowhere", "404|no such|not found|unknown|does not")
        self.refused(f"{self.lab.registry.address}/never/was", "never/was")

    def test_a_blob_is_gone(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        image, layer = self.fresh("gone")
        proxy.rule = lambda r: {"status": 404} if layer in r.path else None
        self.refused(proxy.reference("gone"), layer[7:19])

    def fresh(self, name):
        """An image with a layer that no store has yet. Returns (reference, the layer's digest)."""
        image = self.lab.image(name, [tiny([oci.member(name, os.urandom(200000))])], CONFIG)
        return image, self.lab.layout.manifest(name)["layers"][0]["digest"]

    def test_wrong_bytes(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        _, layer = self.fresh("corrupt")
        proxy.rule = lambda r: {"corrupt": 150000} if layer in r.path else None
        self.refused(proxy.reference("corrupt"), layer[7:19], "digest|checksum|corrupt|does not match|gzip")
        proxy.rule = None
        self.run_ok("run", proxy.reference("corrupt"), "true")

    def test_wrong_config_and_manifest(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        self.fresh("badconfig")
        config = self.lab.layout.manifest("badconfig")["config"]["digest"]
        proxy.rule = lambda r: {"corrupt": 10} if config in r.path else None
        self.refused(proxy.reference("badconfig"), config[7:19])
        self.fresh("badmanifest")  # the manifest of the other is in the store now
        digest = self.lab.layout.resolve("badmanifest")["digest"]
        proxy.rule = lambda r: {"corrupt": 10} if "manifests" in r.path else None
        self.refused(f"{proxy.address}/badmanifest@{digest}", digest[7:19])

    def test_always_cut_short(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        _, layer = self.fresh("short")

        def rule(r):
            at = r.range[0] if r.range else 0
            return {"cut": max(0, 150000 - at)} if layer in r.path else None
        proxy.rule = rule
        self.refused(proxy.reference("short"), layer[7:19], seconds=120)
        proxy.rule = None
        self.run_ok("run", proxy.reference("short"), "true")

    def test_cut_once_goes_on_by_range(self):
        proxy = Proxy(self.lab.registry.address)
        self.addCleanup(proxy.close)
        _, layer = self.fresh("resumed")
        proxy.rule = lambda r: {"cut": 150000} if layer in r.path and r.range is None else None
        self.run_ok("run", proxy.reference("resumed"), "true")
        got = [r for r in proxy.blobs() if layer in r.path]
        self.assertEqual([r.range[0] if r.range else None for r in got], [None, 150000], got)


class Layers(BadCase):
    def test_truncated_gzip(self):
        plain = tiny([oci.member("trunc", os.urandom(100000))])
        packed = gzip.compress(plain, 6, mtime=0)
        for cut in (5, 50000, len(packed) - 4):
            with self.subTest(cut):
                image = self.image_of_blob(f"trunc{cut}", packed[:cut], oci.sha256(plain), oci.LAYER + "+gzip")
                self.refused(image, self.short(), "gzip|truncated|ends|end of|cut|short")

    def test_rubbish_behind_gzip_and_wrong_crc(self):
        plain = tiny([oci.member("crc", os.urandom(1000))])
        packed = bytearray(gzip.compress(plain, 6, mtime=0))
        packed[-6] ^= 0xff
        image = self.image_of_blob("crc", bytes(packed), oci.sha256(plain), oci.LAYER + "+gzip")
        self.refused(image, self.short())

    def test_corrupt_zstd(self):
        plain = tiny([oci.member("z", os.urandom(100000))])
        packed = bytearray(subprocess.run(["zstd", "-q", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout)
        packed[len(packed) // 2] ^= 0x55
        image = self.image_of_blob("badzstd", bytes(packed), oci.sha256(plain), oci.LAYER + "+zstd")
        self.refused(image, self.short())
        image = self.image_of_blob("cutzstd", bytes(packed[:1000]), oci.sha256(plain), oci.LAYER + "+zstd")
        self.refused(image, self.short())
        image = self.image_of_blob("nozstd", b"this is not zstd at all" * 100, oci.sha256(plain), oci.LAYER + "+zstd")
        self.refused(image, self.short())

    def test_wrong_diff_id(self):
        image = self.image_of_blob("diffid", gzip.compress(tiny([oci.member("d", b"")])), oci.sha256(b"other"), oci.LAYER + "+gzip")
        self.refused(image, self.short(), "diffID|unpacked")

    def hostile(self, name, members, *words, format=tarfile.PAX_FORMAT):
        plain = oci.tar(members, format)
        image = self.image_of_blob(name, plain, oci.sha256(plain), oci.LAYER)
        self.refused(image, self.short(), *words)

    def test_names_that_climb(self):
        for i, name in enumerate(("../outside", "a/../../outside", "a/..", "..")):
            with self.subTest(name):
                self.hostile(f"climb{i}", [oci.member(name, b"x")], r"\.\.")

    def test_link_to_nothing(self):
        self.hostile("nolink", [oci.hardlink("lnk", "not/here")], "lnk|not/here")
        self.hostile("linkout", [oci.hardlink("lnk", "../../etc/passwd")], r"lnk|\.\./")
        self.hostile("linkdir", [oci.directory("d"), oci.hardlink("lnk", "d")], "lnk")

    def test_a_real_whiteout_device(self):
        self.hostile("whiteout", [oci.member("sneaky", type=tarfile.CHRTYPE, device=(0, 0))], "sneaky")

    def test_bad_whiteout_names(self):
        self.hostile("wh", [oci.member("dir/.wh.")], r"\.wh\.")
        self.hostile("whdots", [oci.member("dir/.wh...")], r"\.wh\.")

    def test_long_names(self):
        self.hostile("longname", [oci.member("x" * 256, b"")], "x{20}")
        self.hostile("longpath", [oci.member("/".join(["y" * 200] * 25), b"")], "y{20}")

    def test_planted_overlay_xattrs_do_nothing(self):
        plain = tiny([oci.directory("planted", xattrs={"trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y"})])
        lower = oci.tar([oci.directory("planted"), oci.member("planted/below", b"seen")])
        image = self.lab.image("planted", [lower, plain], CONFIG)
        self.assertEqual(self.run_ok("run", image, "cat", "/planted/below").stdout, "seen")

    def test_broken_headers(self):
        plain = bytearray(oci.tar([oci.member("first", b"1" * 600), oci.member("second", b"2")]))
        plain[148] ^= 1
        image = self.image_of_blob("checksum", bytes(plain), oci.sha256(bytes(plain)), oci.LAYER)
        self.refused(image, self.short())
        cut = oci.tar([oci.member("first", b"1" * 6000)])[:3000]
        image = self.image_of_blob("cut", cut, oci.sha256(cut), oci.LAYER)
        self.refused(image, self.short(), "first|ends|truncated|short")

    def test_bomb(self):
        zeros = subprocess.run("head -c 2000000000 /dev/zero | zstd -q -1 -c", shell=True, check=True,
                               stdout=subprocess.PIPE).stdout
        image = self.image_of_blob("bomb", zeros, oci.sha256(b"whatever"), oci.LAYER + "+zstd")
        start = time.monotonic()
        self.refused(image, self.short())
        self.assertLess(time.monotonic() - start, 30)

    def test_size_in_the_manifest_is_wrong(self):
        layout = self.lab.layout
        d, diff_id = layout.put_layer(tiny([oci.member("size", b"1")]))
        for n in (d["size"] - 1, d["size"] + 1, 1 << 62):
            with self.subTest(n):
                layout.put_image("size", [({**d, "size": n}, diff_id)], CONFIG)
                self.refused(f"oci:{layout.path}:size", d["digest"][7:19] + "|layer 1")

    def test_encrypted_and_unknown_layers(self):
        layout = self.lab.layout
        d, diff_id = layout.put_layer(tiny([oci.member("enc", b"1")]))
        layout.put_image("enc", [({**d, "mediaType": oci.LAYER + "+gzip+encrypted"}, diff_id)], CONFIG)
        self.refused(f"oci:{layout.path}:enc", "encrypted")


class Images(BadCase):
    def test_a_user_that_is_not_there(self):
        image = self.lab.image("nouser", [tiny()], {**CONFIG, "User": "nobody-here"})
        self.assertFails(self.lab.lazyrun("run", image, "true"), 125, "nobody-here")
        image = self.lab.image("nogroup", [tiny()], {**CONFIG, "User": "0:no-such-group"})
        self.assertFails(self.lab.lazyrun("run", image, "true"), 125, "no-such-group")
        image = self.lab.image("biguser", [tiny()], {**CONFIG, "User": "99999999999"})
        self.assertFails(self.lab.lazyrun("run", image, "true"), 125, "99999999999")

    def test_no_command_at_all(self):
        image = self.lab.image("nocmd", [tiny()], {"Env": CONFIG["Env"]})
        self.assertFails(self.lab.lazyrun("run", image), 125, "command|Cmd|CMD")

    def test_no_layers(self):
        image = self.lab.image("empty", [], CONFIG)
        self.assertIn(self.lab.lazyrun("run", image, "true").returncode, (125, 127))

    def test_another_platform_only(self):
        layout = self.lab.layout
        arm = layout.build("arm", [tiny()], CONFIG, architecture="arm64")
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [
            {**arm, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}]}
        layout.tag("armonly", layout.descriptor(layout.put_json(index), oci.INDEX))
        image = self.lab.registry.push(layout, "armonly")
        self.refused(image, "linux/amd64", "linux/arm64")

    def test_indexes_inside_indexes(self):
        """LIMIT_INDEX_DEPTH: three, and not one more."""
        layout = self.lab.layout
        inner = layout.build("nested", [tiny()], CONFIG)
        for depth in range(1, 5):
            index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [inner]}
            inner = layout.descriptor(layout.put_json(index), oci.INDEX)
            layout.tag(f"nested{depth}", inner)
            if depth <= 3:
                self.run_ok("run", f"oci:{layout.path}:nested{depth}", "true")
        self.refused(f"oci:{layout.path}:nested4", "nested deeper than 3")

    def test_config_that_lies(self):
        layout = self.lab.layout
        d, diff_id = layout.put_layer(tiny())
        layout.put_image("counts", [(d, diff_id), (d, diff_id)], CONFIG)
        manifest = layout.manifest("counts")
        manifest["layers"].pop()
        layout.tag("counts", layout.descriptor(layout.put_json(manifest), oci.MANIFEST))
        self.refused(f"oci:{layout.path}:counts", "layer|diff")

    def test_not_json(self):
        layout = self.lab.layout
        for i, text in enumerate((b"", b"{", b"[]", b"null", b'{"schemaVersion":2}', b'{"schemaVersion":1}',
                                  b"[" * 100000, b'{"schemaVersion":2,"layers":{},"config":[]}')):
            with self.subTest(text[:20]):
                layout.tag("notjson", layout.descriptor(layout.put(text), oci.MANIFEST))
                self.refused(f"oci:{layout.path}:notjson")

    def test_both_manifest_and_index(self):
        layout = self.lab.layout
        layout.build("both", [tiny()], CONFIG)
        document = {**layout.manifest("both"), "manifests": []}
        layout.tag("both", layout.descriptor(layout.put_json(document), oci.MANIFEST))
        self.refused(f"oci:{layout.path}:both")

    def test_an_artifact_is_not_an_image(self):
        layout = self.lab.layout
        empty = layout.descriptor(layout.put(b"{}"), "application/vnd.oci.empty.v1+json")
        document = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "artifactType": "application/vnd.example.sbom",
                    "config": empty, "layers": [empty]}
        layout.tag("artifact", layout.descriptor(layout.put_json(document), oci.MANIFEST))
        self.refused(f"oci:{layout.path}:artifact", "artifact|vnd.example.sbom|vnd.oci.empty")

    def test_bad_credentials_file(self):
        path = self.lab.where + "/auth.json"
        with open(path, "w") as f:
            f.write("{ this is no JSON")
        self.assertFails(self.lab.lazyrun("pull", self.good, environ={"REGISTRY_AUTH_FILE": path}), 125, path)


class Stores(Case):
    def test_another_version(self):
        lab = Lab()
        self.addCleanup(lab.close)
        image = lab.image("v", [tiny()], CONFIG)
        lab.lazyrun("run", image, "true", check=0)
        lab.stop_server()
        with open(lab.store + "/version") as f:
            version = f.read()
        with open(lab.store + "/version", "w") as f:
            f.write("999\n")
        self.assertFails(lab.lazyrun("run", image, "true"), 125, lab.store, "999|version")
        with open(lab.store + "/version", "w") as f:
            f.write(version)
        lab.lazyrun("run", image, "true", check=0)

    def test_another_users_store(self):
        if not self.root:
            self.skipTest("only root can give a directory away")
        lab = Lab()
        self.addCleanup(lab.close)
        os.makedirs(lab.store, mode=0o700)
        os.chown(lab.store, 12345, 12345)
        self.assertFails(lab.lazyrun("images"), 125, lab.store, "12345|user|owner|belongs")

    def test_open_run_directory(self):
        lab = Lab()
        self.addCleanup(lab.close)
        os.makedirs(lab.run_dir)
        os.chmod(lab.run_dir, 0o777)
        self.assertFails(lab.lazyrun("pull", "x"), 125, lab.run_dir)

    def test_full_disk(self):
        if not self.root:
            self.skipTest("mounting a small tmpfs needs root")
        lab = Lab()
        self.addCleanup(lab.close)
        os.mkdir(lab.store, 0o700)
        image = lab.image("full", [tiny([oci.member("big", os.urandom(6 << 20))])], CONFIG)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs", lab.store], check=True)
        try:
            p = lab.lazyrun("run", image, "true", seconds=60)
            self.assertFails(p, 125, "[Nn]o space|full|ENOSPC")
            subprocess.run(["mount", "-o", "remount,size=100m", lab.store], check=True)
            lab.lazyrun("run", image, "true", check=0)
        finally:
            lab.stop_server()
            subprocess.run(["umount", "-l", lab.store], check=True)

    def test_damaged_store(self):
        lab = Lab()
        self.addCleanup(lab.close)
        image = lab.image("damaged", [tiny()], CONFIG)
        for name in ("index.erofs", "spans", "have", "data"):
            with self.subTest(name):
                lab.lazyrun("run", image, "true", check=0)
                lab.stop_server()
                [key] = os.listdir(lab.store + "/layers")
                path = f"{lab.store}/layers/{key}/{name}"
                os.chmod(path, 0o600)
                os.truncate(path, 100)
                # Either said or mended, never a crash or wrong bytes; and after rmi all is well.
                p = lab.lazyrun("run", image, "cat", "/etc/os-release")
                if p.returncode == 0:
                    self.assertEqual(p.stdout, 'NAME="tiny"\n')
                lab.lazyrun("rmi", image)
                lab.lazyrun("run", image, "true", check=0)
                lab.lazyrun("rmi", image, check=0)
                lab.stop_server()
                shutil.rmtree(lab.store)

    def test_foreign_files_in_the_store(self):
        lab = Lab()
        self.addCleanup(lab.close)
        image = lab.image("foreign", [tiny()], CONFIG)
        lab.lazyrun("run", image, "true", check=0)
        os.makedirs(lab.store + "/layers/not-a-key")
        with open(lab.store + "/tmp/rubbish.part", "wb") as f:
            f.write(b"x" * 1000)
        with open(lab.store + "/names/rubbish", "w") as f:
            json.dump([1, 2], f)
        lab.stop_server()
        lab.lazyrun("images", check=0)
        lab.lazyrun("run", image, "true", check=0)


if __name__ == "__main__":
    unittest.main()
