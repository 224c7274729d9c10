"""What a container's end leaves for the next start: a directory, and the container's mounts, made beforehand."""
import os
import signal
import socket
import struct
import subprocess
import unittest

import oci
from lab import CONFIG, Case, pid_alive, read_until, tiny, wait_until

SEEN = ("cut -d' ' -f4- /proc/self/mountinfo | sed 's/,upperdir=[^ ]*//;s/master:[0-9]*//' | sort;"
        "grep -E 'Cap|NoNewPrivs|Seccomp|Groups|Umask|Sig' /proc/self/status; ls -lan / /dev /dev/pts /dev/shm /etc |"
        "sed 's/ [A-Z][a-z][a-z] .[0-9] .*:[0-9][0-9] / /; s/ [0-9]* \\([0-9]* *[0-9]* *0 proc\\)$/ \\1/'; umask; pwd; id; env | grep -v HOSTNAME; cat /proc/1/comm; ls /proc/self/fd |"
        "wc -l; readlink /proc/self/cwd; readlink /proc/self/root; cat /etc/resolv.conf; grep -c . /etc/hosts; ulimit -a")


class Spare(Case):
    who = "both"
    maxDiff = None

    @classmethod
    def prepare(cls):
        cls.image = cls.lab.image("tiny", [tiny()], CONFIG)
        cls.spare = cls.lab.store + "/spare"

    def setUp(self):
        """No stage, whatever ran before."""
        self.run_ok("run", self.image, "true")
        self.run_ok("gc")

    def out(self, *args, **kw):
        return self.run_ok("run", *args, **kw).stdout

    def keeper(self):
        """Its pid, once there is one."""
        wait_until("a stage", lambda: os.path.exists(self.spare + "/facts"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            fd = os.open(self.spare, os.O_PATH)
            s.connect(f"/proc/self/fd/{fd}/keeper")
            os.close(fd)
            return struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def uses_the_stage(self, *args):
        """Starts a container on the stage that is there; returns what it says."""
        keeper, directory = self.keeper(), os.stat(self.spare).st_ino
        p = self.lab.start("run", "-i", *args, "sh", "-c", f"{SEEN}; echo --up--; read x")
        said = read_until(p.stdout.fileno(), b"--up--\n").decode().removesuffix("--up--\n")
        container, = os.listdir(self.lab.store + "/containers")
        self.assertEqual(os.stat(f"{self.lab.store}/containers/{container}").st_ino, directory)
        wait_until("the keeper's end", lambda: not pid_alive(keeper))
        self.assertEqual(self.lab.lazyrun("status", "--json", check=0).returncode, 0)
        p.communicate(b"x\n", timeout=60)
        self.assertEqual(p.returncode, 0)
        self.keeper()  # the next one's, or the test after this would meet it while it is made
        return said, container

    def test_nothing_is_different_on_a_stage(self):
        for flags in ((), ("--read-only",), ("-u", "7:8", "-w", "/tmp"), ("--tmpfs", "/scratch", "--shm-size", "1m"),
                      ("-v", "/usr:/host:ro", "--security-opt", "no-new-privileges"), ("--cap-drop", "ALL", "--init")):
            with self.subTest(flags):
                self.run_ok("gc")
                first = self.out("-i", *flags, self.image, "sh", "-c", f"{SEEN}", input=b"")
                self.assertEqual(first, self.uses_the_stage(*flags, self.image)[0])

    def test_the_name_is_its_own(self):
        self.out(self.image, "true")
        self.keeper()
        names = self.out(self.image, "sh", "-c", "hostname; cat /etc/hostname; tail -n1 /etc/hosts | cut -f2; echo $HOSTNAME").split()
        self.assertEqual(set(names), {names[0]})
        self.keeper()
        self.assertNotEqual(self.out(self.image, "hostname"), names[0] + "\n")

    def test_nothing_stays(self):
        for _ in range(3):
            self.assertEqual(self.out(self.image, "sh", "-c", "ls -d /left /dev/shm/left /dev/left 2>/dev/null; umask 0; chmod 711 /;"
                                      "for d in / /dev/shm /dev; do echo >$d/left; done"), "")
            self.keeper()
        self.assertEqual(self.out(self.image, "stat", "-c", "%a", "/"), "755\n")

    def test_other_facts_let_it_stand(self):
        self.out(self.image, "true")
        keeper = self.keeper()
        self.assertEqual(self.out("--hostname", "other", self.image, "sh", "-c", "hostname; cat /etc/hostname"), "other\nother\n")
        self.assertEqual(self.out("--shm-size", "1m", self.image, "sh", "-c", "df -k /dev/shm | awk 'END {print $2}'"), "1024\n")
        self.assertEqual(self.out("--net=none", self.image, "sh", "-c", "ls /sys/class/net"), "lo\n")
        self.assertEqual(self.keeper(), keeper)

    def test_a_killed_keeper(self):
        self.out(self.image, "true")
        os.kill(self.keeper(), signal.SIGKILL)
        self.assertEqual(self.out(self.image, "echo", "well"), "well\n")
        self.uses_the_stage(self.image)

    def test_a_stopped_keeper(self):
        """It need not do anything for a start."""
        self.out(self.image, "true")
        keeper = self.keeper()
        os.kill(keeper, signal.SIGSTOP)
        self.addCleanup(lambda: pid_alive(keeper) and os.kill(keeper, signal.SIGKILL))
        self.assertEqual(self.out(self.image, "echo", "well"), "well\n")

    def test_it_goes_with_its_image_and_its_server(self):
        """What would keep files of the image open ends before the command that removes it does."""
        for command in (("rmi", self.image), ("stop-server",)):
            with self.subTest(command[0]):
                self.out(self.image, "true")
                keeper = self.keeper()
                self.run_ok(*command)
                self.assertFalse(pid_alive(keeper))
                self.assertFalse(os.path.exists(self.spare))
                self.assertEqual(os.listdir(self.lab.store + "/removed"), [])
                self.assertEqual(self.out(self.image, "echo", "well"), "well\n")

    def test_a_killed_server(self):
        self.out(self.image, "true")
        keeper = self.keeper()
        os.kill(self.lab.status()["supervisor_pid"], signal.SIGKILL)
        wait_until("the keeper's end", lambda: not pid_alive(keeper))
        self.assertEqual(self.out(self.image, "echo", "well"), "well\n")

    def test_server_and_fetcher_killed(self):
        self.out(self.image, "true")
        self.keeper()
        for who in ("server_pid", "fetcher_pid"):
            os.kill(self.lab.status()[who], signal.SIGKILL)
        self.uses_the_stage(self.image)

    def test_another_image_of_the_same_name(self):
        """The container that began on the stage's word never executes anything."""
        old = self.lab.image("moves", [tiny()], CONFIG)
        self.out(old, "true")
        self.keeper()
        new = self.lab.image("moves", [tiny([oci.member("etc/new", b"new\n", 0o644)])], CONFIG)
        self.assertEqual(old, new)
        self.assertEqual(self.out("--pull=always", new, "cat", "/etc/new"), "new\n")
        self.assertEqual(os.listdir(self.lab.store + "/containers"), [])

    def test_failing_early_is_said_once(self):
        self.out(self.image, "true")
        self.keeper()
        p = self.lab.lazyrun("run", "-v", "/no/such/place/at/all:/v", "-w", "/etc/passwd", self.image, "true")
        self.assertEqual(p.returncode, 125)
        self.assertEqual(len(p.stderr.strip().splitlines()), 1, p.stderr)

    def test_many_at_once(self):
        self.out(self.image, "true")
        self.keeper()
        ps = [self.lab.start("run", self.image, "sh", "-c", f"echo {i}", stderr=subprocess.PIPE) for i in range(8)]
        for i, p in enumerate(ps):
            out, err = p.communicate(timeout=60)
            self.assertEqual((out, err, p.returncode), (b"%d\n" % i, b"", 0))
        self.uses_the_stage(self.image)


if __name__ == "__main__":
    unittest.main()
