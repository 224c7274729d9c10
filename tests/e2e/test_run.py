"""`lazyrun run`: what a user of docker's command line expects of a container."""
import fcntl
import glob
import os
import pty
import signal
import struct
import subprocess
import termios
import time
import unittest

import oci
from lab import CONFIG, Case, end_process, read_until, tiny, wait_until


class RunCase(Case):
    @classmethod
    def prepare(cls):
        cls.image = cls.lab.image("tiny", [tiny()], CONFIG)

    def out(self, *args, code=0, **kw):
        return self.lab.lazyrun("run", *args, check=code, **kw).stdout


class ExitCodes(RunCase):
    def test_the_commands_own_code(self):
        for code in (0, 1, 42, 255):
            with self.subTest(code):
                self.out(self.image, "sh", "-c", f"exit {code}", code=code)

    def test_without_the_word_run(self):
        self.assertEqual(self.run_ok(self.image, "echo", "hi").stdout, "hi\n")

    def test_127_when_the_command_is_not_there(self):
        self.assertFails(self.lab.lazyrun("run", self.image, "no-such-command"), 127, "no-such-command")
        self.assertFails(self.lab.lazyrun("run", self.image, "/no/such/path"), 127, "/no/such/path")

    def test_126_when_it_cannot_be_executed(self):
        self.assertFails(self.lab.lazyrun("run", self.image, "/etc/passwd"), 126, "/etc/passwd")
        self.assertFails(self.lab.lazyrun("run", self.image, "/etc"), 126, "/etc")

    def test_125_when_lazyrun_fails(self):
        self.assertFails(self.lab.lazyrun("run", "--no-such-flag", self.image), 125, "no-such-flag")
        self.assertFails(self.lab.lazyrun("run", "UPPER/case", "true"), 125, "UPPER/case")

    def test_128_and_the_signal(self):
        # Process 1 ignores what it has no handler for, so a child tells the story.
        self.out(self.image, "sh", "-c", "sh -c 'kill -9 $$'; exit $?", code=137)

    def test_killed_process_1(self):
        p = self.lab.start("run", self.image, "sh", "-c", "echo up; exec sleep 1000")
        read_until(p.stdout.fileno(), b"up")
        inside = wait_until("the sleep", lambda: find_sleep(1000))
        if os.geteuid() == 0 or os.stat(f"/proc/{inside}").st_uid == os.geteuid():
            os.kill(inside, signal.SIGKILL)
            self.assertEqual(p.wait(30), 137)
        else:
            self.skipTest("the container's process belongs to a subordinate id")

    def test_signals_are_forwarded(self):
        for s, code in ((signal.SIGTERM, 7), (signal.SIGUSR1, 8), (signal.SIGHUP, 9)):
            with self.subTest(s.name):
                script = f"trap 'exit {code}' {s.name[3:]}; echo up; while :; do sleep 0.05; done"
                p = self.lab.start("run", self.image, "sh", "-c", script)
                read_until(p.stdout.fileno(), b"up")
                p.send_signal(s)
                self.assertEqual(p.wait(30), code)

    def test_orphans_are_reaped(self):
        script = ("for i in 1 2 3 4 5; do (sleep 0.05 & ) ; done; sleep 0.5; "
                  "n=0; for f in /proc/[0-9]*/stat; do grep -q ' Z ' $f 2>/dev/null && n=$((n+1)); done; echo $n")
        self.assertEqual(self.out(self.image, "sh", "-c", script).strip(), "0")


def find_sleep(seconds):
    """The pid of a `sleep <seconds>` on this machine."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read() == b"sleep\0%d\0" % seconds:
                    return int(pid)
        except OSError:
            pass
    return None


class Process(RunCase):
    def test_environment(self):
        out = self.out("-e", "A=1", "-e", "IMAGE=changed", "-e", "FROM_HOST", self.image, "env",
                       environ={"FROM_HOST": "host's"}).splitlines()
        for line in ("A=1", "IMAGE=changed", "FROM_HOST=host's", "PATH=/bin:/usr/bin", "HOME=/root"):
            self.assertIn(line, out)
        self.assertTrue(any(line.startswith("HOSTNAME=") for line in out), out)
        self.assertFalse([line for line in out if line.startswith("LAZYRUN_")])

    def test_env_file(self):
        path = self.lab.where + "/env"
        with open(path, "w") as f:
            f.write("# a comment\n\nONE=1\nTWO=two words\n")
        out = self.out("--env-file", path, self.image, "env").splitlines()
        self.assertIn("ONE=1", out)
        self.assertIn("TWO=two words", out)

    def test_workdir(self):
        self.assertEqual(self.out("-w", "/etc", self.image, "pwd"), "/etc\n")
        self.assertEqual(self.out("-w", "/made/for/it", self.image, "pwd"), "/made/for/it\n")

    def test_users(self):
        if not self.root and not has_ranges():
            self.skipTest("this user has no subordinate ids, so there is only root inside")
        for user, want in (("user", "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra),2001(more)"),
                           ("1000", "uid=1000(user) gid=1000(user)"), ("user:extra", "uid=1000(user) gid=2000(extra)"),
                           ("12345:54321", "uid=12345 gid=54321"), ("0", "uid=0(root) gid=0(root)")):
            with self.subTest(user):
                self.assertTrue(self.out("-u", user, self.image, "id").startswith(want))
        self.assertFails(self.lab.lazyrun("run", "-u", "nobody-here", self.image, "id"), 125, "nobody-here")

    def test_home_of_the_user(self):
        if not self.root and not has_ranges():
            self.skipTest("no subordinate ids")
        self.assertEqual(self.out("-u", "user", self.image, "sh", "-c", "echo $HOME"), "/home/user\n")

    def test_entrypoint(self):
        image = self.lab.image("entry", [tiny()], {**CONFIG, "Entrypoint": ["echo", "entry"], "Cmd": ["cmd"]})
        self.assertEqual(self.out(image), "entry cmd\n")
        self.assertEqual(self.out(image, "other", "words"), "entry other words\n")
        self.assertEqual(self.out("--entrypoint", "pwd", image), "/\n")
        self.assertEqual(self.out("--entrypoint", "echo", image, "x"), "x\n")

    def test_config_of_the_image(self):
        image = self.lab.image("configured", [tiny()], {**CONFIG, "WorkingDir": "/etc", "User": "1000:1000",
                                                        "Env": ["PATH=/bin", "X=1"], "Cmd": ["sh", "-c", "id -u; pwd; echo $X"]})
        if self.root or has_ranges():
            self.assertEqual(self.out(image), "1000\n/etc\n1\n")

    def test_input_and_output(self):
        self.assertEqual(self.out("-i", self.image, "cat", input=b"in\nand out\n"), "in\nand out\n")
        p = self.lab.lazyrun("run", self.image, "sh", "-c", "echo out; echo err >&2", check=0)
        self.assertEqual(p.stdout, "out\n")
        self.assertEqual(p.stderr, "err\n")
        data = os.urandom(3 << 20)
        p = self.lab.lazyrun("run", "-i", self.image, "cat", input=data, check=0)
        self.assertEqual(p.raw, data)

    def test_hostname_and_namespaces(self):
        self.assertEqual(self.out("--hostname", "box", self.image, "hostname"), "box\n")
        self.assertIn("box", self.out("--hostname", "box", self.image, "cat", "/etc/hosts"))
        self.assertEqual(self.out(self.image, "sh", "-c", "echo $$"), "1\n")
        out = self.out(self.image, "sh", "-c", "for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done")
        for line in out.split():
            kind = line.split(":")[0]
            here = os.readlink(f"/proc/self/ns/{kind}")
            (self.assertEqual if kind == "net" else self.assertNotEqual)(line, here)

    def test_resolv_conf(self):
        self.assertEqual(self.out(self.image, "cat", "/etc/resolv.conf").strip(), open("/etc/resolv.conf").read().strip())

    def test_no_network(self):
        out = self.out("--net=none", self.image, "cat", "/proc/net/dev", "/proc/net/route")
        self.assertIn("lo:", out)
        self.assertEqual(out.splitlines()[-1].split()[0], "Iface")  # the head of an empty table of routes

    def test_descriptors_do_not_leak(self):
        with open("/etc/hostname") as f:
            os.set_inheritable(f.fileno(), True)
            out = self.out(self.image, "sh", "-c", "ls /proc/1/fd", close_fds=False)
        self.assertLessEqual(len(out.split()), 4, out)  # 0 1 2, and what sh has open


def has_ranges():
    import pwd
    name = pwd.getpwuid(os.geteuid()).pw_name
    try:
        with open("/etc/subuid") as f:
            return any(line.startswith((name + ":", f"{os.geteuid()}:")) for line in f)
    except OSError:
        return False


class Files(RunCase):
    def test_root_is_private_and_goes_away(self):
        self.out(self.image, "sh", "-c", "echo new >/new; echo more >>/etc/passwd; rm /etc/os-release; cat /new")
        out = self.out(self.image, "sh", "-c", "ls /new; grep -c : /etc/passwd; cat /etc/os-release", code=0)
        self.assertEqual(out, '2\nNAME="tiny"\n')
        self.assertEqual(os.listdir(self.lab.store + "/containers"), [])

    def test_what_a_container_leaves_is_not_the_next_ones(self):
        """The directory of one that has ended is the next one's spare: nothing in or at its upper directory stays."""
        spare = self.lab.store + "/spare"
        self.run_ok("gc")  # no stage of a test before
        image_root = self.out(self.image, "ls", "-lnd", "/").split()[:4]
        for _ in range(3):
            wait_until("an emptied directory", lambda: os.path.exists(spare))
            self.assertFalse({"left", "left2"} & set(os.listdir(spare + "/upper")))
            with open(spare + "/image", "rb") as f:
                self.assertEqual(f.read(), bytes(64))
            directory = os.stat(spare).st_ino
            p = self.lab.start("run", "-i", self.image, "sh", "-c", "ls -lnd /; chmod 711 /; mkdir /left; >/left2; echo up; read x")
            root = read_until(p.stdout.fileno(), b"up").split()[:4]
            self.assertEqual(root, [x.encode() for x in image_root])
            container, = os.listdir(self.lab.store + "/containers")
            self.assertEqual(os.stat(f"{self.lab.store}/containers/{container}").st_ino, directory)
            p.communicate(timeout=60)

    def test_read_only(self):
        self.out("--read-only", self.image, "touch", "/x", code=1)
        self.assertEqual(self.out("--read-only", "--tmpfs", "/tmp", self.image, "sh", "-c",
                                  "touch /tmp/x && ls /tmp && df -T /tmp 2>/dev/null | grep -c tmpfs || true").split()[0], "x")

    def test_tmpfs_options(self):
        out = self.out("--tmpfs", "/scratch:size=1m,mode=700", self.image, "sh", "-c",
                       "stat -c %a /scratch; dd if=/dev/zero of=/scratch/x bs=1M count=3 2>/dev/null; echo $?")
        self.assertEqual(out.split(), ["700", "1"])

    def test_volumes(self):
        here = self.lab.where + "/volume"
        os.makedirs(here, exist_ok=True)
        with open(here + "/host", "w") as f:
            f.write("from the host\n")
        self.assertEqual(self.out("-v", f"{here}:/v", self.image, "sh", "-c", "cat /v/host; echo back >/v/guest"),
                         "from the host\n")
        with open(here + "/guest") as f:
            self.assertEqual(f.read(), "back\n")
        self.out("-v", f"{here}:/v:ro", self.image, "touch", "/v/x", code=1)
        self.assertEqual(self.out("-v", f"{here}/host:/etc/os-release:ro", self.image, "cat", "/etc/os-release"),
                         "from the host\n")
        p = self.lab.lazyrun("run", "-v", f"{here}/nowhere/at/all:/v:ro", self.image, "ls", "/v")
        self.assertIn(p.returncode, (0, 125))  # docker makes it, podman refuses; never anything else

    def test_copy_up_keeps_what_was_there(self):
        image = self.lab.image("copyup", [tiny([oci.member("etc/big", b"0123456789" * 100000, 0o640, mtime=1234567890)])], CONFIG)
        out = self.out(image, "sh", "-c", "echo x >>/etc/big; wc -c </etc/big; stat -c %a /etc/big; head -c 10 /etc/big")
        self.assertEqual(out, "1000002\n640\n0123456789")

    def test_usual_file_systems(self):
        out = self.out(self.image, "sh", "-c", "cat /proc/self/mountinfo")
        points = {line.split()[4]: line.split(" - ")[1].split()[0] for line in out.splitlines()}
        for at, kind in (("/", "overlay"), ("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"),
                         ("/dev/shm", "tmpfs"), ("/dev/mqueue", "mqueue"), ("/sys", "sysfs")):
            self.assertEqual(points.get(at), kind, f"{at} in {points}")
        out = self.out(self.image, "sh", "-c", "ls /dev; for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done")
        self.assertNotIn("no ", out)
        for name in ("fd", "stdin", "stdout", "stderr", "ptmx", "shm", "mqueue", "pts"):
            self.assertIn(name, out.split())

    def test_masked_and_read_only_paths(self):
        self.out(self.image, "sh", "-c", "echo 1 >/proc/sys/kernel/domainname", code=1)
        self.assertEqual(self.out(self.image, "sh", "-c", "wc -c </proc/keys 2>/dev/null || echo 0").strip(), "0")
        self.out(self.image, "sh", "-c", "echo b >/proc/sysrq-trigger", code=1)


DEFAULT_CAPS = 0x00000000a80425fb  # docker's default set


class Privileges(RunCase):
    def caps(self, *flags):
        out = self.out(*flags, self.image, "grep", "Cap", "/proc/self/status")
        return {k: int(v, 16) for k, v in (line.split(":") for line in out.splitlines())}

    def test_default_capabilities(self):
        c = self.caps()
        self.assertEqual(c["CapBnd"], DEFAULT_CAPS)
        self.assertEqual(c["CapEff"], DEFAULT_CAPS)
        self.assertEqual(c["CapPrm"], DEFAULT_CAPS)
        self.assertEqual((c["CapInh"], c["CapAmb"]), (0, 0))

    def test_add_and_drop(self):
        self.assertEqual(self.caps("--cap-drop", "ALL")["CapEff"], 0)
        self.assertEqual(self.caps("--cap-drop", "all", "--cap-add", "CHOWN")["CapEff"], 1)
        self.assertEqual(self.caps("--cap-add", "CAP_SYS_PTRACE")["CapEff"], DEFAULT_CAPS | 1 << 19)
        self.assertEqual(self.caps("--cap-drop", "kill")["CapEff"], DEFAULT_CAPS & ~(1 << 5))
        self.assertFails(self.lab.lazyrun("run", "--cap-add", "NONSENSE", self.image, "true"), 125, "NONSENSE")

    def test_another_user_has_none(self):
        if not self.root and not has_ranges():
            self.skipTest("no subordinate ids")
        c = self.caps("-u", "1000")
        self.assertEqual((c["CapEff"], c["CapPrm"], c["CapAmb"], c["CapBnd"]), (0, 0, 0, DEFAULT_CAPS))

    def test_no_new_privileges(self):
        flag = "no-new-privileges"
        self.assertIn("NoNewPrivs:\t0", self.out(self.image, "grep", "NoNewPrivs", "/proc/self/status"))
        self.assertIn("NoNewPrivs:\t1", self.out("--security-opt", flag, self.image, "grep", "NoNewPrivs", "/proc/self/status"))

    def test_seccomp(self):
        self.assertIn("Seccomp:\t2", self.out(self.image, "grep", "Seccomp:", "/proc/self/status"))
        self.assertIn("Seccomp:\t0", self.out("--security-opt", "seccomp=unconfined", self.image,
                                              "grep", "Seccomp:", "/proc/self/status"))

    def test_devices_cannot_be_opened(self):
        if not self.root:
            self.skipTest("an ordinary user cannot make device nodes at all")
        self.out(self.image, "sh", "-c", "mknod /x b 7 0 && dd if=/x of=/dev/null count=1 2>/dev/null", code=1)
        self.out(self.image, "sh", "-c", "mknod /n c 1 3 && echo x >/n")


class Terminal(RunCase):
    def start(self, *args, rows=33, columns=99):
        """lazyrun on a terminal of its own. Returns (Popen, the terminal's other end)."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        p = subprocess.Popen(self.lab.argv(*args), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                             env=self.lab.environ, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self.addCleanup(os.close, ours)
        self.addCleanup(end_process, p)
        return p, ours

    def test_a_terminal_on_both_ends_and_no_command(self):
        p, fd = self.start(self.image)
        read_until(fd, b"# ")
        os.write(fd, b"tty; stty size; exit 5\n")
        out = read_until(fd, b"33 99")
        self.assertIn(b"/dev/pts/0", out)
        self.assertEqual(p.wait(30), 5)

    def test_asked_for(self):
        p, fd = self.start("run", "-it", self.image, "sh", "-c", "tty; echo up; read x; echo got $x")
        read_until(fd, b"up")
        os.write(fd, b"word\n")
        read_until(fd, b"got word")
        self.assertEqual(p.wait(30), 0)

    def test_window_size_follows(self):
        p, fd = self.start("run", "-it", self.image, "sh", "-c",
                           "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done")
        read_until(fd, b"up")
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 70, 0, 0))
        read_until(fd, b"50 70")
        self.assertEqual(p.wait(30), 0)

    def test_interrupt_key(self):
        p, fd = self.start("run", "-it", self.image, "sh", "-c", "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.05; done")
        read_until(fd, b"up")
        os.write(fd, b"\x03")
        read_until(fd, b"caught")
        self.assertEqual(p.wait(30), 3)

    def test_terminal_is_restored(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        before = termios.tcgetattr(theirs)
        p = subprocess.Popen(self.lab.argv("run", "-it", self.image, "true"), stdin=theirs, stdout=theirs,
                             stderr=theirs, env=self.lab.environ, start_new_session=True)
        self.assertEqual(p.wait(60), 0)
        self.assertEqual(termios.tcgetattr(theirs), before)

    def test_no_terminal_without_t(self):
        self.out(self.image, "tty", code=1)

    def test_t_without_a_terminal(self):
        p = self.lab.lazyrun("run", "-t", self.image, "tty", check=0)
        self.assertIn("/dev/pts/0", p.stdout)


class Many(RunCase):
    def test_side_by_side(self):
        start = time.monotonic()
        ps = [self.lab.start("run", self.image, "sh", "-c", f"echo {i}; exit {i}") for i in range(8)]
        for i, p in enumerate(ps):
            out, _ = p.communicate(timeout=60)
            self.assertEqual((out.strip(), p.returncode), (b"%d" % i, i))
        self.assertLess(time.monotonic() - start, 60)
        self.assertEqual(os.listdir(self.lab.store + "/containers"), [])

    def test_killed_lazyrun_leaves_nothing_running(self):
        p = self.lab.start("run", self.image, "sh", "-c", "echo up; exec sleep 1001")
        read_until(p.stdout.fileno(), b"up")
        container, = os.listdir(self.lab.store + "/containers")
        p.kill()
        p.wait()
        wait_until("the end of the container", lambda: not find_sleep(1001), 30)

        def swept():
            self.run_ok("run", self.image, "true")
            return os.listdir(self.lab.store + "/containers") == []
        wait_until("a start that finds the container's last process gone", swept, 30)
        self.assertEqual(glob.glob(f"/sys/fs/cgroup/**/lazyrun/{container}", recursive=True), [])


if __name__ == "__main__":
    unittest.main()
