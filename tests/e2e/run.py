#!/usr/bin/python3
"""run: runs the end-to-end tests, tests/e2e/test_*.py.

usage: tests/e2e/run.py [-k PART]... [--root-only | --user-only]

As root: the tests of root, then those of an ordinary user, as the user lazyrun-test (made when it
is missing, with subordinate ids). As an ordinary user: those. One line a test, then the details of
what failed, and at last a line "N passed, N failed, N skipped". LAZYRUN names the binary.
"""
import argparse
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
USER = "lazyrun-test"
TEST_DEADLINE = int(os.environ.get("LAB_TEST_DEADLINE", "180"))
TOTAL = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


class Result(unittest.TestResult):
    """Prints a line for each test as it ends."""

    def __init__(self, who):
        super().__init__()
        self.who, self.passed, self.details = who, 0, []

    def startTest(self, test):
        super().startTest(test)
        self.start = time.monotonic()
        signal.alarm(TEST_DEADLINE)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def line(self, word, test, more=""):
        name = test.id() if hasattr(test, "id") else str(test)
        took = f" {time.monotonic() - self.start:.1f}s" if hasattr(self, "start") else ""
        print(f"{word} {self.who} {name}{took}{more}", flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self.line("PASS", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("SKIP", test, ": " + reason)

    def _bad(self, test, err):
        self.details.append((test, "".join(traceback.format_exception(*err))))
        self.line("FAIL", test, f": {str(err[1]).splitlines()[0] if str(err[1]) else err[0].__name__}"[:200])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._bad(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._bad(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self._bad(subtest, err)

    def addExpectedFailure(self, test, err):
        self.addSkip(test, "an expected failure")

    def addUnexpectedSuccess(self, test):
        self.addSuccess(test)


def tests_of(suite, who, parts):
    """The test cases that this kind of user runs."""
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from tests_of(t, who, parts)
        elif getattr(t, "who", "root") in (who, "both") or type(t).__module__ == "unittest.loader":
            if not parts or any(p in t.id() for p in parts):
                yield t


def run_here(who, parts):
    """Runs tests in this process. Returns (passed, failed, skipped)."""
    def too_late(*_):
        raise TimeoutError(f"the test did not end within {TEST_DEADLINE} s")
    signal.signal(signal.SIGALRM, too_late)
    found = unittest.TestLoader().discover(HERE, "test_*.py", HERE)
    result = Result(who)
    unittest.TestSuite(tests_of(found, who, parts)).run(result)
    for test, text in result.details:
        print(f"\n=== {who} {test}\n{text}", flush=True)
    return result.passed, len(result.details), len(result.skipped)


def make_user():
    """The user with subordinate ids, and /dev/fuse for everyone. Harmless when all is there."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
    for kind in ("subuid", "subgid"):
        path = "/etc/" + kind
        text = open(path).read() if os.path.exists(path) else ""
        if not re.search(rf"^{USER}:", text, re.M):
            taken = [int(a) + int(n) for a, n in re.findall(r"^[^:]*:(\d+):(\d+)$", text, re.M)]
            with open(path, "a") as f:
                f.write(f"{USER}:{max([2000000, *taken])}:65536\n")
    if not os.path.exists("/dev/fuse"):
        subprocess.run(["mknod", "/dev/fuse", "c", "10", "229"], check=True)
    if stat.S_IMODE(os.stat("/dev/fuse").st_mode) != 0o666:
        os.chmod("/dev/fuse", 0o666)


def run_as_user(parts):
    """Runs the ordinary user's tests as USER, from a copy that USER can read."""
    make_user()
    lazyrun = os.environ.get("LAZYRUN", os.path.join(HERE, "../../build/lazyrun"))
    with tempfile.TemporaryDirectory(prefix="lazyrun-user-", dir="/var/tmp") as where:
        os.chmod(where, 0o755)
        shutil.copytree(HERE, where + "/tests/e2e", ignore=shutil.ignore_patterns("__pycache__"))
        os.mkdir(where + "/build")
        for name in ("lazyrun", "lazyrun-image"):
            shutil.copy2(os.path.join(os.path.dirname(lazyrun), name), f"{where}/build/{name}")
        user = pwd.getpwnam(USER)
        for d in ("tmp", "runtime"):
            os.mkdir(f"{where}/{d}", 0o700)
            os.chown(f"{where}/{d}", user.pw_uid, user.pw_gid)
        keep = {k: v for k, v in os.environ.items() if k.startswith(("LAB_", "ASAN_", "UBSAN_"))}
        environ = {**keep, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": user.pw_dir,
                   "USER": USER, "LAZYRUN": where + "/build/lazyrun", "LAB_TMP": where + "/tmp",
                   "XDG_RUNTIME_DIR": where + "/runtime", "PYTHONDONTWRITEBYTECODE": "1"}
        argv = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups",
                "--inh-caps=-all", "/usr/bin/python3", where + "/tests/e2e/run.py", "--user-only"]
        for p in parts:
            argv += ["-k", p]
        p = subprocess.Popen(argv, env=environ, cwd=where, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, text=True, errors="replace")
        counts = None
        for line in p.stdout:
            if m := TOTAL.match(line):
                counts = tuple(map(int, m.groups()))
            else:
                print(line, end="", flush=True)
        p.wait()
        return counts or (0, 1, 0)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-k", action="append", default=[], metavar="PART")
    p.add_argument("--root-only", action="store_true")
    p.add_argument("--user-only", action="store_true")
    a = p.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all it starts
    totals = []
    if os.geteuid() != 0:
        totals.append(run_here("user", a.k))
    else:
        if not a.user_only:
            totals.append(run_here("root", a.k))
        if not a.root_only:
            totals.append(run_as_user(a.k))
    passed, failed, skipped = map(sum, zip(*totals))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
