"""Processes of the server are killed, or replaced by another program, and containers notice nothing."""
import array
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
import unittest

import kill9
from lab import CONFIG, Case, Lab, pid_alive, read_until, tiny, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
MAGIC, LAST, REPLACE = 0x3152, 3, 8  # base/message.h


class Takeover(Case):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)

    def container(self, image):
        """One that reads a file of its image for each line it gets. Returns it, started."""
        p = self.lab.start("run", "-i", image, "sh", "-c", "echo up; while read f; do sha256sum $f; done; echo end")
        read_until(p.stdout.fileno(), b"up\n")
        return p

    def ask(self, p, path):
        p.stdin.write(path.encode() + b"\n")
        p.stdin.flush()
        self.assertIn(path.encode(), read_until(p.stdout.fileno(), b"\n"))

    def end(self, p):
        self.assertEqual(p.communicate(timeout=60)[0], b"end\n")
        self.assertEqual(p.returncode, 0)

    def test_server_and_fetcher_killed_under_load(self):
        image = kill9.build(self.lab)
        supervisor = self.lab.status()["supervisor_pid"]
        p = kill9.start(self.lab, image)
        commands = kill9.Commands(self.lab, image)
        killer = kill9.Killer(supervisor, 0.1)
        end = time.monotonic() + 6
        wait_until("enough kills", lambda: time.monotonic() > end and min(killer.killed.values()) >= 5)
        killer.stop()
        commands.stop()
        counts, err = kill9.finish(p)
        self.assertEqual(kill9.bad(counts), 0, f"{counts} {err} {self.lab.log()}")
        self.assertGreater(counts["read"]["done"], 0)
        self.assertEqual(commands.failed, [])
        self.assertGreater(commands.done, 1)
        self.assertNotRegex(self.lab.log(), r"signal (4|6|7|8|11) |exit code [1-9]|[Ss]anitizer")

    def test_killed_in_the_narrowest_moments(self):
        """Between reading a request (INIT first of all) and anything else, before an answer, and right after one."""
        shim, noted = self.lab.where + "/narrow_kills.so", self.lab.where + "/narrow"
        os.mkdir(noted)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE + "/narrow_kills.c"], check=True)
        self.lab.environ.update(LD_PRELOAD=shim, NARROW_DIR=noted)
        image = kill9.build(self.lab)
        p = kill9.start(self.lab, image)

        def deaths(where):
            with contextlib.suppress(OSError):
                return os.path.getsize(f"{noted}/{where}")
            return 0

        def enough():
            self.lab.lazyrun("evict", image, check=0)
            return all(deaths(w) >= 10 for w in ("read", "before-answer", "after-answer"))
        wait_until("enough deaths", enough)
        self.assertEqual((deaths("init-read"), deaths("init-answer")), (1, 1))
        counts, err = kill9.finish(p)
        self.assertEqual(kill9.bad(counts), 0, f"{counts} {err} {self.lab.log()}")
        self.assertGreater(counts["read"]["done"], 0)

    def test_server_killed_many_times_leaks_nothing(self):
        image = kill9.build(self.lab)
        supervisor = self.lab.status()["supervisor_pid"]
        p = kill9.start(self.lab, image)
        kill9.Killer(supervisor, 0.02, ("server",), kills=5).join()
        before, files = kill9.settled(self.lab, supervisor), kill9.files_of(self.lab)
        kill9.Killer(supervisor, 0.02, ("server",), kills=40).join()
        self.assertEqual(kill9.grown(before, kill9.settled(self.lab, supervisor)), {})
        self.assertEqual(kill9.new_files(files, kill9.files_of(self.lab)), [])
        counts, err = kill9.finish(p)
        self.assertEqual(kill9.bad(counts), 0, f"{counts} {err}")

    def test_supervisor_killed_is_a_clear_end(self):
        image = kill9.build(self.lab)
        p = kill9.start(self.lab, image)
        supervisor = self.lab.status()["supervisor_pid"]
        pids = kill9.children(supervisor).values()
        self.assertEqual(len(pids), 2)
        os.kill(supervisor, signal.SIGKILL)
        wait_until("the others' end", lambda: not any(map(pid_alive, pids)), 20)
        q = self.lab.lazyrun("run", image, "/bin/p1", "self")  # while the old container is still there
        self.assertEqual(q.returncode, 42, q.stderr)
        counts, err = kill9.finish(p)
        if counts:
            self.assertEqual(counts["stuck"], 0, err)
        else:  # a page of its own program was missing
            self.assertNotEqual(p.returncode, 0)

    def test_replaced_by_another_program(self):
        image = kill9.build(self.lab)
        p = self.container(image)
        before = self.lab.status()
        self.ask(p, "/load/f00")
        for path in ("/load/f01", "/load/f02"):
            commands = [self.lab.start("inspect", image, stderr=subprocess.PIPE) for _ in range(4)]
            q = self.lab.lazyrun("serve", "--replace", check=0)
            self.assertEqual((q.stdout, q.stderr), ("", ""))
            for c in commands:
                out, err = c.communicate(timeout=60)
                self.assertEqual(c.returncode, 0, err)
                json.loads(out)
            self.ask(p, path)
            self.lab.lazyrun("run", image, "sh", "-c", "cat /load/f03 >/dev/null && exec /bin/p0 self", check=42)
        after = self.lab.status()
        self.assertEqual(before["supervisor_pid"], after["supervisor_pid"])
        for who in ("server_pid", "fetcher_pid"):
            self.assertNotEqual(before[who], after[who])
        self.assertRegex(self.lab.log(), "this program has taken over")
        self.end(p)
        self.lab.lazyrun("stop-server", check=0)

    def test_replacing_under_load(self):
        image = kill9.build(self.lab)
        supervisor = self.lab.status()["supervisor_pid"]
        p = kill9.start(self.lab, image)
        self.lab.lazyrun("serve", "--replace", check=0)  # may make what the first one did not have
        before = kill9.settled(self.lab, supervisor)
        for _ in range(8):
            self.lab.lazyrun("evict", image, check=0)
            self.lab.lazyrun("serve", "--replace", check=0)
        self.assertEqual(kill9.grown(before, kill9.settled(self.lab, supervisor)), {})
        counts, err = kill9.finish(p)
        self.assertEqual(kill9.bad(counts), 0, f"{counts} {err} {self.lab.log()}")

    def test_replacing_what_does_not_run(self):
        self.lab.image("tiny", [tiny()], CONFIG)
        os.mkdir(self.lab.store)
        q = self.lab.lazyrun("serve", "--replace")
        self.assertFalse(os.path.exists(self.lab.run_dir + "/socket"), q)

    def replace_with(self, body, fd):
        """What the supervisor answers to a REPLACE packet; None: it cut us off."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            here = os.open(self.lab.run_dir, os.O_RDONLY | os.O_DIRECTORY)
            s.connect(f"/proc/self/fd/{here}/socket")
            os.close(here)
            s.settimeout(20)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
            s.sendmsg([struct.pack("<HHI16x", MAGIC, REPLACE, 0) + body], rights)
            data = s.recv(4096)
            if not data:
                return None
            self.assertEqual(struct.unpack("<HHI16x", data[:24])[:2], (MAGIC, LAST))
            return json.loads(data[24:])

    def test_another_form_of_state_is_refused(self):
        image = kill9.build(self.lab)
        p = self.container(image)
        before = self.lab.status()
        with open(self.lab.argv()[0] + "-image", "rb") as program:
            fd = program.fileno()
            for body in (struct.pack("<IIQQQQ", 999, MAGIC, 1, 2, 3, 4), struct.pack("<IIQQQQ", 1, MAGIC, 0, 0, 0, 0)):
                answer = self.replace_with(body, fd)
                self.assertNotEqual(answer["errno"], 0)
                self.assertRegex(answer["error"], "different forms.*lazyrun stop-server")
            self.assertIsNone(self.replace_with(b"short", fd))
            self.assertIsNone(self.replace_with(struct.pack("<IIQQQQ", 999, MAGIC, 1, 2, 3, 4), None))
        after = self.lab.status()
        for who in ("supervisor_pid", "server_pid", "fetcher_pid"):
            self.assertEqual(before[who], after[who])
        self.ask(p, "/load/f00")
        self.end(p)

    def test_a_kernel_that_cannot_send_again(self):
        shim = self.lab.where + "/old_kernel.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE + "/old_kernel.c"], check=True)
        image = self.lab.image("tiny", [tiny()], CONFIG)
        preload = {"LD_PRELOAD": shim}
        self.lab.lazyrun("pull", image, check=0, environ=preload)
        p = self.container(image)
        s = self.lab.status()
        os.kill(s["server_pid"], signal.SIGKILL)
        wait_until("the server's end", lambda: not pid_alive(s["supervisor_pid"]), 20)
        self.assertRegex(self.lab.log(), "does not send again.*Linux 6.9.*the mount ends")
        with contextlib.suppress(BrokenPipeError):  # it may be at its end already
            p.stdin.write(b"/etc/passwd\n/no/such/file\n")
            p.stdin.close()
        p.wait(20)  # it hears of it, and does not wait for ever
        self.lab.lazyrun("run", image, "true", check=0)


class Starter(Case):
    """The server is not part of who started it."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.image = self.lab.image("tiny", [tiny()], CONFIG)

    def test_survives_its_starters_session(self):
        p = subprocess.Popen(["sh", "-c", '"$@"; echo done; read x', "sh", *self.lab.argv("pull", "-q", self.image)],
                             env=self.lab.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stdin.close)
        read_until(p.stdout.fileno(), b"done")
        supervisor = self.lab.status()["supervisor_pid"]
        self.assertNotEqual(os.getsid(supervisor), os.getsid(p.pid))
        self.assertNotEqual(os.getpgid(supervisor), os.getpgid(p.pid))
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        self.assertEqual(self.lab.status()["supervisor_pid"], supervisor)

    def test_inherits_no_limit_and_no_ignored_signal(self):
        p = self.lab.lazyrun("pull", "-q", self.image, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
                             seconds=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        s = self.lab.status()
        os.kill(s["server_pid"], signal.SIGKILL)
        self.lab.lazyrun("run", self.image, "true", check=0)
        self.assertEqual(self.lab.status()["supervisor_pid"], s["supervisor_pid"])

    @unittest.skipUnless(os.geteuid() == 0, "cgroups are root's")
    def test_leaves_its_starters_cgroups(self):
        name, made = "lazyrun-test-" + os.path.basename(self.lab.where), []
        for hierarchy in ("unified", "systemd", "memory", "pids", "freezer", "devices", "cpu", "."):
            at = f"/sys/fs/cgroup/{hierarchy}/{name}"
            if os.path.exists(os.path.dirname(at) + "/cgroup.procs"):
                with contextlib.suppress(OSError):
                    os.mkdir(at)
                    made.append(at)
        self.addCleanup(lambda: [wait_until("an empty cgroup", lambda at=at: remove(at), 10) for at in made])
        if not made:
            self.skipTest("no cgroup can be made here")

        def enter():
            for at in made:
                for file in ("tasks", "cgroup.procs"):
                    with contextlib.suppress(OSError), open(f"{at}/{file}", "w") as f:
                        f.write("0")
                        break
        self.lab.lazyrun("pull", "-q", self.image, check=0, preexec_fn=enter)
        s = self.lab.status()
        for who in ("supervisor_pid", "server_pid", "fetcher_pid"):
            with open(f"/proc/{s[who]}/cgroup") as f:
                self.assertNotIn(name, f.read())


def remove(at):
    try:
        os.rmdir(at)
    except OSError:
        return not os.path.exists(at)
    return True


if __name__ == "__main__":
    unittest.main()
