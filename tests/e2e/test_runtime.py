"""The runtime alone, on directories made on purpose: what no honest image would bring, and what only the host can see.

Driven through build/tests/run_dir (the flags of `lazyrun run`, a directory in place of the image); root only.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

from lab import LAZYRUN, TMP, read_until, wait_until

RUN_DIR = os.path.join(os.path.dirname(LAZYRUN), "tests", "run_dir")
APPLETS = ("sh ls cat id echo mount mknod sleep stat touch rm ln grep env dd kill true mkdir umount chmod readlink "
           "test seq ps head hostname").split()


@unittest.skipIf(os.geteuid() != 0, "the runtime on plain directories is tried as root")
@unittest.skipUnless(os.path.exists(RUN_DIR), RUN_DIR + " is not built")
class RuntimeCase(unittest.TestCase):
    def setUp(self):
        self.where = tempfile.mkdtemp(prefix="lazyrun-runtime.", dir=TMP)
        self.addCleanup(shutil.rmtree, self.where, True)
        self.root = self.where + "/root"
        self.environ = {"PATH": os.environ["PATH"], "LAZYRUN_STORE": self.where + "/store"}
        for d in ("bin", "etc", "tmp", "root"):
            os.makedirs(f"{self.root}/{d}")
        shutil.copy("/bin/busybox", self.root + "/bin/busybox")
        for name in APPLETS:
            os.symlink("busybox", f"{self.root}/bin/{name}")
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
        self.write("etc/group", "root:x:0:\nuser:x:1000:\n")

    def write(self, name, text):
        with open(f"{self.root}/{name}", "w") as f:
            f.write(text)

    def run_dir(self, *args, code=0, wrap=(), **environ):
        p = subprocess.run([*wrap, RUN_DIR, *args], env={**self.environ, **environ}, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        if code is not None:
            self.assertEqual(p.returncode, code, p.stdout + p.stderr)
        return p

    def sh(self, script, *flags, code=0, **kw):
        return self.run_dir(*flags, self.root, "sh", "-c", script, code=code, **kw).stdout


def groups_left():
    return [d for d, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(os.path.dirname(d)) == "lazyrun"]


class HostileRoots(RuntimeCase):
    """A link where a mount goes must never lead to the host."""

    def test_links_in_place_of_system_directories(self):
        outside = self.where + "/outside"
        for name in ("proc", "sys", "dev"):
            for target in (outside, "/tmp", "../outside"):
                with self.subTest(name=name, target=target):
                    os.makedirs(outside, exist_ok=True)
                    shutil.rmtree(f"{self.root}/{name}", True)
                    os.symlink(target, f"{self.root}/{name}")
                    for plain in ({}, {"RUN_DIR_PLAIN": "1"}):
                        p = self.run_dir(self.root, "true", code=125, **plain)
                        self.assertIn("/" + name, p.stderr)
                    os.unlink(f"{self.root}/{name}")
                    self.assertEqual(os.listdir(outside), [])

    def test_link_in_place_of_a_nested_one(self):
        os.makedirs(self.root + "/sys/fs")
        os.symlink("/etc", self.root + "/sys/fs/cgroup")  # hidden below sysfs
        self.assertNotIn("passwd", self.sh("ls /sys/fs/cgroup"))

    def test_small_files_through_links(self):
        victim = self.where + "/victim"
        with open(victim, "w") as f:
            f.write("host\n")
        os.symlink("../.." + victim, self.root + "/etc/hosts")
        os.symlink("/run/systemd/resolve/stub-resolv.conf", self.root + "/etc/resolv.conf")  # as Debian's images have it
        out = self.sh("cat /etc/hosts; grep -c . /run/systemd/resolve/stub-resolv.conf || true")
        self.assertIn("localhost", out)
        with open(victim) as f:
            self.assertEqual(f.read(), "host\n")

    def test_volume_through_links(self):
        outside, source = self.where + "/outside", self.where + "/source"
        os.makedirs(outside)
        os.makedirs(source)
        os.symlink(outside, self.root + "/data")
        os.symlink("../../../../../.." + outside, self.root + "/climbs")
        self.sh("touch /data/x/here /climbs/y/here", "-v", source + ":/data/x", "-v", source + ":/climbs/y")
        self.assertEqual(os.listdir(outside), [])
        self.assertEqual(os.listdir(source), ["here"])

    def test_nothing_in_proc_is_covered(self):
        for at in ("/proc", "/proc/self", "/proc/sys/kernel", "/linked"):
            with self.subTest(at):
                if at == "/linked":
                    os.symlink("/proc/self/attr", self.root + "/linked")
                p = self.run_dir("-v", f"{self.where}:{at}", self.root, "true", code=125)
                self.assertIn("/proc", p.stderr)

    def test_passwd_that_blocks_or_lies(self):
        os.unlink(self.root + "/etc/passwd")
        os.mkfifo(self.root + "/etc/passwd")
        self.assertIn("regular", self.run_dir(self.root, "true", code=125).stderr)
        os.unlink(self.root + "/etc/passwd")
        os.symlink("/dev/zero", self.root + "/etc/passwd")
        os.makedirs(self.root + "/dev")
        os.mknod(self.root + "/dev/zero", 0o600 | 0o020000, os.makedev(1, 5))
        self.assertIn("regular", self.run_dir(self.root, "true", code=125).stderr)

    def test_lazyruns_own_program_cannot_be_reached(self):
        """CVE-2019-5736: what a container executes as /proc/self/exe is a sealed file, never our own."""
        self.write("bin/script", "#!/proc/self/exe\n")
        os.chmod(self.root + "/bin/script", 0o755)
        for argv in (["/proc/self/exe"], ["/bin/script"]):
            p = self.run_dir(self.root, *argv, "--version", code=None)
            self.assertNotIn("lazyrun", p.stdout)
        self.assertIn("memfd", self.sh("readlink /proc/1/exe", "--init"))
        self.sh("echo x >/proc/1/exe", "--init", code=1)
        self.assertIn("busybox", self.sh("readlink /proc/self/exe"))

    def test_working_directory_leads_nowhere(self):
        os.symlink("/proc/self/fd/7", self.root + "/cwd")  # CVE-2024-21626
        for cwd in ("/proc/self/fd/5", "/proc/self/fd/9/..", "/cwd", "/etc/passwd"):
            p = self.run_dir("-w", cwd, self.root, "ls", code=None)
            self.assertEqual(p.returncode, 125, (cwd, p.stdout))


class Containment(RuntimeCase):
    def test_devices(self):
        self.sh("mknod /disk b 254 0 && dd if=/disk of=/dev/null count=1 2>/dev/null", code=1)
        self.sh("mknod /mem c 1 1 && dd if=/mem of=/dev/null count=1 2>/dev/null", code=1)
        self.sh("mknod /null c 1 3 && echo x >/null && echo x 2>/dev/null >/dev/full", code=1)
        self.sh("echo x >/dev/null && head -c 4 /dev/urandom >/dev/null && test -c /dev/tty")
        self.assertEqual(self.sh("stat -c '%t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty"),
                         "1:3 666\n1:5 666\n1:7 666\n1:8 666\n1:9 666\n5:0 666\n")

    def test_devices_with_cgroup_v2_alone(self):
        v2 = next((m for m in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                   if os.path.exists(m + "/cgroup.controllers")), None)
        if not v2:
            self.skipTest("no cgroup v2 here")
        view = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                f'mkdir -p {self.where}/v2 && mount --bind {v2} {self.where}/v2 && umount -l /sys/fs/cgroup 2>/dev/null; '
                f'mount --bind {self.where}/v2 /sys/fs/cgroup && exec "$@"', "sh"]
        self.sh("mknod /disk b 254 0 && dd if=/disk of=/dev/null count=1 2>/dev/null", code=1, wrap=view)
        self.sh("mknod /mem c 1 1 && dd if=/mem of=/dev/null count=1 2>/dev/null", code=1, wrap=view)
        out = self.sh("echo x >/dev/null; mknod /n c 1 3 && echo y >/n; cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs",
                      wrap=view)
        self.assertIn("0::/\n", out)
        self.assertTrue(out.endswith("\n1\n") or "\n1\n" in out, out)

    def test_without_a_cgroup_no_device_can_be_made(self):
        view = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                'mount -t tmpfs none /sys/fs/cgroup && mount -o remount,ro /sys/fs/cgroup && exec "$@"', "sh"]
        self.sh("mknod /disk b 254 0", code=1, wrap=view)

    def test_cgroup_is_its_own_and_goes_away(self):
        before = groups_left()
        out = self.sh("cat /proc/self/cgroup; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && echo made $d; done; true")
        self.assertNotIn("made", out)
        for line in out.splitlines():
            if line.count(":") == 2 and "cpuset" not in line:
                self.assertTrue(line.endswith(":/"), line)
        self.assertEqual(groups_left(), before)

    def test_masked_and_read_only(self):
        for path in ("/proc/keys", "/proc/timer_list", "/proc/interrupts"):
            if os.path.exists(path):
                self.assertEqual(self.sh(f"cat {path}"), "", path)
        for path in ("/proc/acpi", "/sys/firmware"):
            if os.path.isdir(path):
                self.assertEqual(self.sh(f"ls {path}"), "", path)
                self.sh(f"touch {path}/x", code=1)
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/mm/ksm/run"):
            self.sh(f"echo 0 >{path}", "--cap-add", "SYS_ADMIN", code=1)
        self.assertNotIn(" ", self.sh("ls /dev/shm"))

    def test_mounts_stay_inside(self):
        with open("/proc/self/mountinfo") as f:
            before = f.read()
        self.sh("mount -t tmpfs none /tmp && touch /tmp/x", "--cap-add", "SYS_ADMIN", "-v", self.where + ":/v")
        with open("/proc/self/mountinfo") as f:
            self.assertEqual(f.read(), before)

    def test_seccomp_files(self):
        profile = self.where + "/profile.json"
        with open(profile, "w") as f:
            f.write('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], '
                    '"action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}')
        for _ in range(2):  # compiled, then from the cache
            p = self.run_dir("--security-opt", "seccomp=" + profile, self.root, "mkdir", "/x", code=1)
            self.assertIn("No space left", p.stderr)
        self.assertEqual(len(os.listdir(self.where + "/store/seccomp")), 1)
        with open(profile, "w") as f:
            f.write("{")
        self.assertIn("profile.json", self.run_dir("--security-opt", "seccomp=" + profile, self.root, "true", code=125).stderr)

    def test_a_profile_that_forbids_our_last_steps(self):
        profile = self.where + "/profile.json"
        with open(profile, "w") as f:
            f.write('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_ERRNO"}]}')
        self.sh("true", "--security-opt", "seccomp=" + profile)

    def test_users(self):
        self.assertIn("uid=1000(user) gid=1000(user)", self.sh("id", "-u", "user"))
        self.assertEqual(self.sh("grep Groups /proc/self/status", "-u", "7:8").split(), ["Groups:", "8"])
        self.sh("chmod 700 /root 2>/dev/null; ls /root", "-u", "user", "-w", "/tmp")
        out = self.sh("grep -E 'Cap(Eff|Prm)' /proc/self/status", "-u", "user", "--security-opt", "no-new-privileges")
        self.assertEqual(out.split()[1::2], ["0" * 16] * 2)

    def test_kept_upper(self):
        kept = self.where + "/kept"
        self.sh("echo kept >/file; mkdir /dir; rm /etc/group", "--upper", kept)
        self.assertEqual(self.sh("cat /file; ls -d /dir; ls /etc/group 2>&1 | grep -c 'No such'", "--upper", kept),
                         "kept\n/dir\n1\n")
        self.sh("cat /file", code=1)


class Life(RuntimeCase):
    def start(self, *args, **kw):
        p = subprocess.Popen([RUN_DIR, *args], env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **kw)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def test_init_reaps_and_forwards(self):
        self.run_dir("--init", self.root, "sh", "-c", "exit 9", code=9)
        self.run_dir("--init", self.root, "sh", "-c", "kill -TERM $$", code=143)
        self.run_dir("--init", self.root, "nothing", code=127)
        self.run_dir("--init", self.root, "/etc/passwd", code=126)
        p = self.start("--init", self.root, "sh", "-c", "echo up; exec sleep 1000")
        read_until(p.stdout.fileno(), b"up")
        p.send_signal(signal.SIGTERM)  # sleep has no handler, but it is not process 1
        self.assertEqual(p.wait(20), 143)
        out = self.sh("for i in $(seq 20); do (sleep 0 &); done; sleep 0.2; ps | grep -c '\\[sleep\\]'; true", "--init")
        self.assertEqual(out.strip(), "0")

    def test_three_interrupts_end_what_ignores_them(self):
        p = self.start(self.root, "sh", "-c", "trap '' INT; echo up; while :; do sleep 0.1; done")
        read_until(p.stdout.fileno(), b"up")
        for _ in range(3):
            p.send_signal(signal.SIGINT)
            try:
                p.wait(0.3)
            except subprocess.TimeoutExpired:
                pass
        self.assertEqual(p.wait(20), 137)

    def test_the_container_ends_with_lazyrun(self):
        for user in ("root", "user"):  # a change of credentials disarms PR_SET_PDEATHSIG
            with self.subTest(user):
                p = self.start("-u", user, self.root, "sh", "-c", "echo up; exec sleep 4242")
                read_until(p.stdout.fileno(), b"up")
                p.kill()
                wait_until("the end of the container", lambda: not running(b"sleep\x004242\x00"), 20)

    def test_what_a_killed_one_left_is_swept(self):
        p = self.start(self.root, "sh", "-c", "echo up; exec sleep 4243")
        read_until(p.stdout.fileno(), b"up")
        p.kill()
        p.wait()
        wait_until("the end of the container", lambda: not running(b"sleep\x004243\x00"), 20)
        self.assertEqual(len(os.listdir(self.where + "/store/containers")), 1)

        def swept():
            self.sh("true")
            return os.listdir(self.where + "/store/containers") == []
        wait_until("a start that finds its last process gone", swept, 20)

    def test_a_running_one_is_not_swept(self):
        p = self.start(self.root, "sh", "-c", "echo up; sleep 1; cat /etc/hostname; echo here >/x; cat /x")
        read_until(p.stdout.fileno(), b"up")
        self.sh("true")
        self.assertIn(b"here", p.stdout.read())

    def test_ignored_signals_and_masks_do_not_come_along(self):
        p = subprocess.run([RUN_DIR, self.root, "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"], env=self.environ, stdout=subprocess.PIPE, text=True,
                           preexec_fn=lambda: (signal.signal(signal.SIGHUP, signal.SIG_IGN),
                                               signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})))
        self.assertEqual([int(line.split()[1], 16) for line in p.stdout.splitlines()], [0, 0])


def running(cmdline):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read() == cmdline:
                    return True
        except OSError:
            pass
    return False


if __name__ == "__main__":
    unittest.main()
