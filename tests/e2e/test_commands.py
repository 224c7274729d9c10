"""The commands around images: pull, images, inspect, ls, cat, mount, evict, rmi, status, doctor, help."""
import json
import os
import subprocess
import unittest

import oci
from lab import CONFIG, LAZYRUN, Case, Lab, pid_alive, tiny, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CONTENT = b"".join(b"line %d\n" % i for i in range(100000))


class CommandCase(Case):
    @classmethod
    def prepare(cls):
        extra = [oci.directory("data"), oci.member("data/file", CONTENT, 0o640, mtime=1234567890),
                 oci.symlink("data/link", "/etc/os-release"), oci.member("data/a b", b"")]
        cls.image = cls.lab.image("tiny", [tiny(extra), oci.tar([oci.member("upper", b"u")])], CONFIG)
        cls.plain = cls.lab.image("plain", [tiny(extra)], CONFIG, form="none")


class Pull(CommandCase):
    def test_pull_then_no_request(self):
        self.run_ok("pull", self.image)
        before = len(self.lab.registry.requests())
        self.assertEqual(self.run_ok("run", self.image, "cat", "/upper").stdout, "u")
        self.assertEqual(self.lab.registry.requests()[before:], [])

    def test_each_blob_once(self):
        lab = Lab()
        self.addCleanup(lab.close)
        image = lab.image("once", [tiny(), oci.tar([oci.member("x", b"1")])], CONFIG)
        before = len(lab.registry.requests())
        lab.lazyrun("pull", image, check=0)
        blobs = [path for method, path, status, _ in lab.registry.requests()[before:] if "/blobs/" in path]
        self.assertEqual(len(blobs), len(set(blobs)), blobs)
        self.assertEqual(len(blobs), 3)

    def test_pull_policies(self):
        image = self.lab.image("policy", [tiny()], CONFIG)
        self.assertFails(self.lab.lazyrun("run", "--pull=never", image, "true"), 125, "policy")
        self.run_ok("run", "--pull=missing", image, "true")
        self.run_ok("run", "--pull=never", image, "true")
        self.lab.layout.build("policy", [tiny([oci.member("fresh", b"yes")])], CONFIG)
        self.lab.registry.push(self.lab.layout, "policy")
        self.assertEqual(self.lab.lazyrun("run", image, "cat", "/fresh").returncode, 1)
        self.assertEqual(self.run_ok("run", "--pull=always", image, "cat", "/fresh").stdout, "yes")
        self.assertFails(self.lab.lazyrun("run", "--pull=sometimes", image, "true"), 125, "sometimes")

    def test_by_digest(self):
        digest = self.lab.layout.resolve("tiny")["digest"]
        name = self.image.rsplit(":", 1)[0]
        self.run_ok("run", f"{name}@{digest}", "true")
        wrong = "sha256:" + "0" * 64
        self.assertFails(self.lab.lazyrun("run", f"{name}@{wrong}", "true"), 125, "0{12}")

    def test_layout_directory(self):
        self.assertEqual(self.run_ok("run", f"oci:{self.lab.layout.path}:tiny", "cat", "/upper").stdout, "u")

    def test_tls_and_password(self):
        registry = self.lab.add_registry("tls", tls=True, user="joe:secret")
        image = registry.push(self.lab.layout, "tiny")
        self.assertFails(self.lab.lazyrun("pull", image), 125, "localhost", "[Cc]ertificate|TLS|SSL")
        trusted = {"SSL_CERT_FILE": registry.ca, "CURL_CA_BUNDLE": registry.ca}
        self.assertFails(self.lab.lazyrun("pull", image, environ=trusted), 125, "localhost", "401|[Uu]nauthorized|password|credential|log ?in")
        auth = self.lab.where + "/auth.json"
        with open(auth, "w") as f:
            json.dump({"auths": {registry.address: {"auth": "am9lOnNlY3JldA=="}}}, f)  # joe:secret
        self.run_ok("pull", image, environ={**trusted, "REGISTRY_AUTH_FILE": auth})
        self.run_ok("run", image, "true", environ=trusted)
        image = registry.push(self.lab.layout, "plain")
        self.run_ok("pull", "--tls-verify=false", "--creds", "joe:secret", image)
        self.assertNotIn("secret", self.lab.log())

    def test_no_progress_without_a_terminal(self):
        image = self.lab.image("quiet", [tiny([oci.member("q", b"q")])], CONFIG)
        p = self.run_ok("run", image, "true")
        self.assertEqual((p.stdout, p.stderr), ("", ""))

    def test_platforms(self):
        layout = self.lab.layout
        here = layout.build("here", [tiny([oci.member("which", b"amd64")])], CONFIG)
        other = layout.build("other", [tiny([oci.member("which", b"arm64")])], CONFIG, architecture="arm64")
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [
            {**other, "platform": {"os": "linux", "architecture": "arm64"}},
            {**here, "platform": {"os": "linux", "architecture": "amd64"}}]}
        layout.tag("both", layout.descriptor(layout.put_json(index), oci.INDEX))
        image = self.lab.registry.push(layout, "both")
        self.assertEqual(self.run_ok("cat", image, "/which").stdout, "amd64")
        self.assertEqual(self.run_ok("cat", "--platform", "linux/arm64", image, "/which").stdout, "arm64")


class Look(CommandCase):
    def test_ls(self):
        self.assertEqual(self.run_ok("ls", self.image, "/data").stdout.splitlines(), ["a b", "file", "link"])
        self.assertIn("upper", self.run_ok("ls", self.image).stdout.split())
        self.assertRegex(self.run_ok("ls", "-l", self.image, "/data").stdout, r"-rw-r----- .*\b%d\b.*file" % len(CONTENT))
        self.assertFails(self.lab.lazyrun("ls", self.image, "/nowhere"), 125, "/?nowhere")

    def test_cat(self):
        self.assertEqual(self.run_ok("cat", self.image, "/data/file").raw, CONTENT)
        self.assertEqual(self.run_ok("cat", self.image, "/data/link").stdout, 'NAME="tiny"\n')
        self.assertFails(self.lab.lazyrun("cat", self.image, "/data"), 125, "data")
        self.assertFails(self.lab.lazyrun("cat", self.image, "/../../../etc/hostname-not"), 125, "hostname-not")

    def test_inspect(self):
        p = self.run_ok("inspect", self.image)
        self.assertIn(self.lab.layout.resolve("tiny")["digest"], p.stdout)
        raw = self.run_ok("inspect", "--raw", self.image).raw
        self.assertEqual(oci.sha256(raw), self.lab.layout.resolve("tiny")["digest"])
        config = json.loads(self.run_ok("inspect", "--config", self.image).stdout)
        self.assertEqual(config["config"]["Cmd"], CONFIG["Cmd"])

    def test_images(self):
        self.run_ok("pull", self.image)
        self.assertIn(self.image.rsplit(":", 1)[0], self.run_ok("images").stdout)
        rows = json.loads(self.run_ok("images", "--json").stdout)
        self.assertIn(self.lab.layout.resolve("tiny")["digest"], json.dumps(rows))


class Mount(CommandCase):
    def view(self, *argv):
        """Runs a host command where the mounts are seen."""
        if self.root:
            return subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
        return self.run_ok("unshare", "--", *argv).raw

    def test_mount_and_umount(self):
        at = self.lab.where + "/mnt"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", self.image, at)
        self.assertEqual(self.view("cat", at + "/data/file"), CONTENT)
        self.assertEqual(self.view("stat", "-c", "%a %Y", at + "/data/file"), b"640 1234567890\n")
        self.assertEqual(self.view("find", at + "/data", "-type", "l"), (at + "/data/link\n").encode())
        self.run_ok("umount", at)
        self.assertEqual(self.view("ls", at), b"")

    def test_mount_is_read_only(self):
        at = self.lab.where + "/ro"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", self.image, at)
        script = f"touch {at}/x 2>/dev/null; echo $?"
        self.assertEqual(self.view("sh", "-c", script), b"1\n")
        self.run_ok("umount", at)

    def test_mounted_images_stay(self):
        at = self.lab.where + "/stays"
        os.makedirs(at, exist_ok=True)
        self.run_ok("mount", self.image, at)
        self.assertFails(self.lab.lazyrun("stop-server"), 125, "in use|used by|mount")
        self.assertEqual(self.view("cat", at + "/upper"), b"u")
        self.run_ok("umount", at)
        self.run_ok("stop-server")

    def test_wrong_places(self):
        self.assertFails(self.lab.lazyrun("mount", self.image, self.lab.where + "/nowhere"), 125, "nowhere")
        self.assertFails(self.lab.lazyrun("umount", self.lab.where), 125, self.lab.where)


class Remove(CommandCase):
    def test_rmi(self):
        image = self.lab.image("doomed", [tiny([oci.member("doomed", b"x" * 100000)])], CONFIG)
        self.run_ok("run", image, "true")
        n = len(os.listdir(self.lab.store + "/layers"))
        self.run_ok("rmi", image)
        self.assertEqual(len(os.listdir(self.lab.store + "/layers")), n - 1)
        self.assertNotIn("doomed", self.run_ok("images").stdout)
        self.assertFails(self.lab.lazyrun("rmi", image), 125, "doomed")
        self.run_ok("run", image, "cat", "/doomed")  # and again from the registry

    def test_a_fetcher_that_dies_just_before_it_answers(self):
        self.lab.stop_server()
        shim = self.lab.where + "/answer_kill.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE + "/answer_kill.c"], check=True)
        image = self.lab.image("twice", [tiny([oci.member("twice", b"x" * 100000)])], CONFIG)
        self.lab.lazyrun("pull", image, environ={"LD_PRELOAD": shim}, check=0)
        n = len(os.listdir(self.lab.store + "/layers"))
        fetcher = self.lab.status()["fetcher_pid"]
        self.assertEqual(self.run_ok("rmi", image).stdout, f"{image}: not in the store any more\n")
        self.assertNotEqual(self.lab.status()["fetcher_pid"], fetcher)
        self.assertEqual(len(os.listdir(self.lab.store + "/layers")), n - 1)
        self.assertFails(self.lab.lazyrun("rmi", image), 125, "not in the store")
        self.lab.stop_server()

    def test_shared_layers_stay(self):
        shared = tiny([oci.member("shared", b"s")])
        a = self.lab.image("share-a", [shared, oci.tar([oci.member("a", b"a")])], CONFIG)
        b = self.lab.image("share-b", [shared, oci.tar([oci.member("b", b"b")])], CONFIG)
        self.run_ok("pull", a)
        self.run_ok("pull", b)
        self.run_ok("rmi", a)
        before = len(self.lab.registry.requests())
        self.assertEqual(self.run_ok("run", b, "cat", "/shared", "/b").stdout, "sb")
        self.assertEqual(self.lab.registry.requests()[before:], [])

    def test_evict_keeps_what_has_no_way_back(self):
        self.run_ok("pull", self.image)
        self.run_ok("evict", self.image)  # gzip: no checkpoints yet, so the bytes stay
        self.assertEqual(self.run_ok("cat", self.image, "/data/file").raw, CONTENT)

    def test_evict_and_read_again(self):
        self.run_ok("pull", self.plain)
        present = self.lab.status()["bytes_present"]
        self.run_ok("evict", self.plain)
        self.assertLess(self.lab.status()["bytes_present"], present - len(CONTENT) // 2)
        self.assertEqual(self.run_ok("cat", self.plain, "/data/file").raw, CONTENT)


class Server(CommandCase):
    def test_status(self):
        self.run_ok("pull", self.image)
        s = self.lab.status()
        for key in ("supervisor_pid", "server_pid", "fetcher_pid"):
            self.assertTrue(pid_alive(s[key]), key)
        self.assertEqual(len({s["supervisor_pid"], s["server_pid"], s["fetcher_pid"]}), 3)
        self.assertGreater(s["bytes_present"], 0)
        self.assertIn("channel", s)
        self.assertIn(str(s["server_pid"]), self.run_ok("status").stdout)

    def test_stop_and_start_again(self):
        self.run_ok("run", self.image, "true")
        first = self.lab.status()["supervisor_pid"]
        self.run_ok("stop-server")
        wait_until("the server's end", lambda: not pid_alive(first))
        self.run_ok("status")
        self.run_ok("run", self.image, "true")
        self.assertNotEqual(self.lab.status()["supervisor_pid"], first)

    def test_idle_server_leaves(self):
        lab = Lab(LAZYRUN_IDLE_TIMEOUT="1")
        self.addCleanup(lab.close)
        image = lab.image("idle", [tiny()], CONFIG)
        lab.lazyrun("run", image, "true", check=0)
        pid = lab.status()["supervisor_pid"]
        wait_until("the idle server's end", lambda: not pid_alive(pid), 30)
        lab.lazyrun("run", image, "true", check=0)

    def test_a_race_has_one_server(self):
        lab = Lab()
        self.addCleanup(lab.close)
        image = lab.image("race", [tiny()], CONFIG)
        ps = [lab.start("run", image, "echo", "ok") for _ in range(6)]
        for p in ps:
            self.assertEqual(p.communicate(timeout=60)[0], b"ok\n")

    def test_two_stores_side_by_side(self):
        lab = Lab()
        self.addCleanup(lab.close)
        p = self.run_ok("--store", lab.store, "--run-dir", lab.run_dir, "run", self.image, "echo", "there")
        self.assertEqual(p.stdout, "there\n")
        self.assertTrue(os.listdir(lab.store + "/layers"))

    def test_killed_processes_come_back(self):
        self.run_ok("run", self.image, "true")
        for which in ("fetcher_pid", "server_pid"):
            with self.subTest(which):
                pid = self.lab.status()[which]
                os.kill(pid, 9)
                self.run_ok("run", self.image, "cat", "/upper")
                wait_until("a new one", lambda: self.lab.status()[which] not in (None, 0, pid))

    def test_doctor(self):
        p = self.lab.lazyrun("doctor")
        self.assertIn(p.returncode, (0, 1))
        for word in ("/dev/fuse", "kernel"):
            self.assertIn(word, p.stdout)


class CommandLine(Case):
    def test_help_and_version(self):
        self.assertRegex(self.run_ok("--version").stdout, r"^lazyrun \d+\.\d+\.\d+\n$")
        self.assertIn("lazyrun", self.run_ok("version").stdout)
        for word in ("run", "pull", "images", "rmi", "evict", "mount", "umount", "unshare", "inspect", "ls", "cat",
                     "status", "stop-server", "doctor", "version", "help"):
            with self.subTest(word):
                self.assertIn(word, self.run_ok("help").stdout)
                self.assertIn("Usage", self.run_ok("help", word).stdout)
                if word != "help":
                    self.assertIn("Usage", self.run_ok(word, "--help").stdout)

    def test_nothing_said(self):
        self.assertFails(self.lab.lazyrun(), 125, "image")

    def test_wrong_flags(self):
        for command in ("pull", "images", "rmi", "mount", "ls", "status", "run"):
            with self.subTest(command):
                self.assertFails(self.lab.lazyrun(command, "--wrnog"), 125, "wrnog")
        self.assertFails(self.lab.lazyrun("run", "--entrypiont", "x", "img"), 125, "--entrypoint")

    def test_missing_and_extra_arguments(self):
        for command in ("pull", "rmi", "mount", "umount", "inspect", "ls", "cat", "evict"):
            with self.subTest(command):
                self.assertFails(self.lab.lazyrun(command), 125, command)
        self.assertFails(self.lab.lazyrun("status", "extra"), 125, "extra")

    def test_planned_words(self):
        for word in ("exec", "ps", "logs", "push"):
            with self.subTest(word):
                self.assertFails(self.lab.lazyrun(word, "x"), 125, "not yet")

    def test_finds_its_other_half_from_elsewhere(self):
        link = self.lab.where + "/linked"
        os.symlink(LAZYRUN, link)
        p = subprocess.run([link, "version"], env=self.lab.environ, stdout=subprocess.PIPE, cwd="/")
        self.assertEqual(p.returncode, 0)

    def test_closed_output(self):
        with open("/dev/full", "w") as full:
            p = subprocess.run([LAZYRUN, "help"], env=self.lab.environ, stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(p.returncode, 125)
        self.assertIn(b"space", p.stderr)


if __name__ == "__main__":
    unittest.main()
