"""What other users of the host can do: plant, own or reach what is ours. As root, who can play all of them."""
import os
import socket
import unittest

from lab import CONFIG, Case, tiny

ME, OTHER = 54321, 54322  # users with no account


def become(uid):
    def change():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    return change


def connect_as(uid, path):
    """What becomes of a connection: "closed" by the other end, or the name of the error."""
    read_fd, write_fd = os.pipe()
    if os.fork() == 0:
        try:
            become(uid)()
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.settimeout(20)
                s.connect(path)
                said = "data" if s.recv(100) else "closed"
        except OSError as e:
            said = type(e).__name__
        os.write(write_fd, said.encode())
        os._exit(0)
    os.wait()
    os.close(write_fd)
    with os.fdopen(read_fd) as f:
        return f.read()


class Users(Case):
    who = "root"

    @classmethod
    def prepare(cls):
        cls.image = cls.lab.image("tiny", [tiny()], CONFIG)

    def dir(self, path, uid=0, mode=0o755):
        path = f"{self.lab.where}/{path}"
        os.mkdir(path)
        os.chown(path, uid, uid)
        os.chmod(path, mode)
        return path

    def images(self, *args, **environ):
        return self.lab.lazyrun(*args, "images", environ=environ)

    def test_a_store_of_another_user(self):
        for uid, mode, words in (OTHER, 0o700, ("belongs to user", "--store DIR")), (0, 0o777, ("written by others", "chmod")):
            store = self.dir(f"store-{uid}", uid, mode)
            self.assertFails(self.images("--store", store), 125, *words)
            self.assertEqual(os.listdir(store), [])

    def test_a_run_directory_of_another_user(self):
        run = self.dir("run-other", OTHER, 0o700)
        self.assertFails(self.images("--run-dir", run), 125, "belongs to user", "--run-dir DIR")
        self.assertEqual(os.listdir(run), [])

    def test_a_directory_on_the_way(self):
        for name, uid, mode in (("open", 0, 0o777), ("theirs", OTHER, 0o755)):
            top = self.dir(name, uid, mode)
            for flag in "--store", "--run-dir":
                self.assertFails(self.images(flag, top + "/below"), 125, "on the way", flag)
            self.assertEqual(os.listdir(top), [])

    def test_planted_where_the_default_would_be(self):
        """Below /tmp, where everybody may make the names that we would use."""
        tmp = self.dir("tmp", 0, 0o1777)
        home = self.dir("my-home", ME, 0o700)
        environ = {"TMPDIR": tmp, "HOME": home, "LAZYRUN_STORE": "", "LAZYRUN_RUN_DIR": "", "XDG_RUNTIME_DIR": "",
                   "XDG_DATA_HOME": ""}
        os.chmod(self.lab.where, 0o755)
        planted = f"{tmp}/lazyrun-{ME}"
        images = lambda: self.lab.lazyrun("images", environ=environ, preexec_fn=become(ME))
        with self.subTest("a link"):
            os.symlink(self.dir("elsewhere", ME, 0o700), planted)
            self.assertFails(images(), 125, "symbolic link", "--run-dir")
            os.unlink(planted)
        with self.subTest("a directory"):
            os.mkdir(planted, 0o777)
            os.chown(planted, OTHER, OTHER)
            self.assertFails(images(), 125, "belongs to user 54322", "--run-dir")
            os.rmdir(planted)
        with self.subTest("nothing"):
            self.assertEqual(images().returncode, 0)
            self.assertEqual(os.stat(planted).st_mode & 0o777, 0o700)

    def test_another_users_connection_is_closed(self):
        """Even if the socket could be reached: who connects is asked for, not only where."""
        self.run_ok("run", self.image, "true")
        run, path = self.lab.run_dir, f"{self.lab.run_dir}/socket"
        self.assertEqual(os.stat(run).st_mode & 0o777, 0o700)
        self.assertEqual(connect_as(OTHER, path), "PermissionError")
        os.chmod(self.lab.where, 0o755)
        os.chmod(run, 0o711)
        mode = os.stat(path).st_mode & 0o777
        os.chmod(path, 0o777)
        try:
            self.assertEqual(connect_as(OTHER, path), "closed")
        finally:
            os.chmod(path, mode)
            os.chmod(run, 0o700)
        self.run_ok("run", self.image, "true")


if __name__ == "__main__":
    unittest.main()
