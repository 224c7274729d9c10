"""starts: the commands that bench/lazy_start starts, and how it is seen that they have: by a line, or by an answer over
loopback."""
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time

REDIS, NGINX = 26379, 28080  # the same each time: a start pack belongs to a command with its arguments
SITE = f"server {{ listen 127.0.0.1:{NGINX}; root /var/www/html; index index.nginx-debian.html; }}"


class Start:
    """argv, and the sign that it has started: a regex (bytes) in its output, or the port of a server that answers GET /
    with one. A server (`serves`) goes on until it is told to end."""

    def __init__(self, argv, sign, port=0, serves=False):
        self.argv, self.sign, self.port, self.serves = argv, sign, port, serves or bool(port)


STARTS = {
    "debian": Start(["/bin/sh", "-c", "echo hello"], rb"hello"),
    "numpy": Start(["python3", "-c", "import numpy; print(numpy.__version__)"], rb"1\.\d+\.\d+"),
    "node": Start(["node", "-e", "console.log('hello from ' + process.version)"], rb"hello from v"),
    "java": Start(["java", "-version"], rb"openjdk version"),
    "gcc": Start(["sh", "-c", r"""printf '#include <stdio.h>\nint main(void) { puts("hello"); }\n' > /tmp/hello.c && """
                  "gcc -o /tmp/hello /tmp/hello.c && /tmp/hello"], rb"hello"),
    "redis": Start(["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", ""],
                   rb"Ready to accept connections", serves=True),
    "nginx": Start(["sh", "-c", f"echo '{SITE}' > /etc/nginx/sites-enabled/default; exec nginx -g 'daemon off;'"],
                   rb"Welcome to nginx", port=NGINX),
}


def answer(port):
    """What a server says to GET /, or b"" when there is none yet."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: s.recv(65536), b""))
    return b""


def said(process, start, end):
    """Output until the sign, or until the end of the output or of the time."""
    got = b""
    while not re.search(start.sign, got):
        ready, _, _ = select.select([process.stdout], [], [], max(0, end - time.perf_counter()))
        block = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not block:
            return got, False
        got += block
    return got, True


def answered(process, start, end):
    """The same for a server: polls it."""
    got = b""
    while time.perf_counter() < end and process.poll() is None:
        got = answer(start.port)
        if re.search(start.sign, got):
            return got, True
        time.sleep(0.002)
    return got, False


def seconds(argv, start, environ=None, end=None, limit=300):
    """Seconds from the spawn of argv, which runs `start` in some container, until its sign. It must then end well; a
    server is told to by `end`(), or by SIGTERM to argv's process."""
    if start.port and answer(start.port):
        raise RuntimeError(f"port {start.port} is in use: end what listens there")
    began = time.perf_counter()
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ,
                         start_new_session=True)
    try:
        got, seen = (answered if start.port else said)(p, start, began + limit)
        took = time.perf_counter() - began
        if start.serves and p.poll() is None:
            (end or p.terminate)()
        rest, _ = p.communicate(timeout=60)
        if not seen or p.returncode not in ((0, 128 + signal.SIGTERM) if start.serves else (0,)):
            raise RuntimeError(f"{' '.join(argv)}: exit code {p.returncode}, without {start.sign!r}: "
                               f"{(got + rest)[-2000:]!r}")
        return took
    finally:
        if p.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            p.wait()
        p.stdout.close()
