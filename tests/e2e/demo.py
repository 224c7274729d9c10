#!/usr/bin/python3
"""demo: `make run`. A registry on this machine, a tiny image, a container from it, and what it cost."""
import os
import shlex
import subprocess
import sys
import time

from lab import CONFIG, LAZYRUN, Lab, tiny


def show(lab, *args):
    print("$ lazyrun " + shlex.join(args), flush=True)
    start = time.monotonic()
    p = subprocess.run([LAZYRUN, *args], env=lab.environ, stdin=subprocess.DEVNULL)
    print(f"  [exit code {p.returncode}, {1000 * (time.monotonic() - start):.0f} ms]\n", flush=True)
    return p.returncode


def main():
    lab = Lab()
    try:
        reference = lab.image("hello", [tiny()], CONFIG)
        print(f"A docker-registry at {lab.registry.address} holds {reference}, and the store is empty.\n")
        before = len(lab.registry.requests())
        script = "echo hello from $(hostname), pid $$; grep NAME /etc/os-release; ls /"
        bad = show(lab, "run", reference, "sh", "-c", script)
        requests = lab.registry.requests()[before:]
        print(f"The registry answered {len(requests)} requests:")
        for method, path, status, size in requests:
            print(f"  {method} {path} {status}, {size} bytes")
        print("\nOnce more, now that the image is there:\n", flush=True)
        before = len(lab.registry.requests())
        bad += show(lab, "run", reference, "echo", "hello again")
        print(f"The registry answered {len(lab.registry.requests()) - before} requests.\n", flush=True)
        bad += show(lab, "images")
        sys.exit(1 if bad else 0)
    finally:
        lab.close()


if __name__ == "__main__":
    main()
