#!/usr/bin/python3
"""all: `make test`. Every stage, one after the other, and one line of totals at the end.

  tree       tests/check_tree.py: the map and the includes
  unit       meson test: unit tests, every parser's corpus replayed
  sanitized  the same under address and undefined, and one end-to-end story
  e2e        tests/e2e/run.py, as root and as an ordinary user
"""
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
TOTAL = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99:print_stacktrace=1"}


def build(where, *options):
    """Builds; returns whether that went well and without a warning."""
    log = f"{where}-build.log"
    with open(os.path.join(TOP, log), "w") as out:
        ok = True
        if not os.path.exists(f"{TOP}/{where}/build.ninja"):
            ok = subprocess.run(["meson", "setup", where, *options], cwd=TOP, stdout=out, stderr=out).returncode == 0
        ok = ok and subprocess.run(["ninja", "-C", where], cwd=TOP, stdout=out, stderr=out).returncode == 0
    with open(os.path.join(TOP, log)) as f:
        text = f.read()
    warnings = re.findall(r"^.*\bwarning: .*$", text, re.M)
    if not ok or warnings:
        print("\n".join(warnings) if ok else text[-5000:], flush=True)
    return ok and not warnings


def meson_tests(where, environ=None):
    """(passed, failed, skipped) of meson's tests."""
    log = f"{TOP}/{where}/meson-logs/testlog.json"
    if os.path.exists(log):
        os.unlink(log)
    p = subprocess.run(["meson", "test", "-C", where, "--no-rebuild", "--print-errorlogs"], cwd=TOP,
                       env={**os.environ, **(environ or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace")
    counts = [0, 0, 0]
    with open(log) as f:
        for line in f:
            t = json.loads(line)
            kind = {"OK": 0, "EXPECTEDFAIL": 0, "SKIP": 2}.get(t["result"], 1)
            counts[kind] += 1
            print(f"{('PASS', 'FAIL', 'SKIP')[kind]} {where} {t['name']} {t['duration']:.1f}s", flush=True)
    if p.returncode and not counts[1]:
        counts[1] = 1
    if counts[1]:
        print(p.stdout[-10000:], flush=True)
    return counts


def end_to_end(environ=None, *args):
    """Runs tests/e2e/run.py; its output passes through."""
    p = subprocess.Popen(["/usr/bin/python3", HERE + "/e2e/run.py", *args], stdout=subprocess.PIPE, text=True,
                         errors="replace", env={**os.environ, **(environ or {})}, stdin=subprocess.DEVNULL)
    counts = None
    for line in p.stdout:
        if m := TOTAL.match(line):
            counts = list(map(int, m.groups()))
        else:
            print(line, end="", flush=True)
    p.wait()
    return counts or [0, 1, 0]


def tree():
    program = HERE + "/check_tree.py"
    p = subprocess.run(["/usr/bin/python3", program], cwd=TOP)
    print(f"{'FAIL' if p.returncode else 'PASS'} tree check_tree", flush=True)
    return [0, 1, 0] if p.returncode else [1, 0, 0]


def unit():
    return meson_tests("build") if build("build") else [0, 1, 0]


def sanitized():
    if not build("build-asan", "-Db_sanitize=address,undefined", "-Db_lundef=false"):
        return [0, 1, 0]
    a = meson_tests("build-asan", SANITIZERS)
    b = end_to_end({**SANITIZERS, "LAZYRUN": TOP + "/build-asan/lazyrun"}, "--root-only", "-k", "test_story.")
    return [x + y for x, y in zip(a, b)]


def main():
    totals = [0, 0, 0]
    for stage in (tree, unit, sanitized, end_to_end):
        start = time.monotonic()
        print(f"--- {stage.__name__}", flush=True)
        counts = stage()
        totals = [a + b for a, b in zip(totals, counts)]
        print(f"--- {stage.__name__}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped, "
              f"{time.monotonic() - start:.0f} s", flush=True)
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped", flush=True)
    sys.exit(1 if totals[1] or not totals[0] else 0)


if __name__ == "__main__":
    main()
