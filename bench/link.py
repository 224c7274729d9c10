#!/usr/bin/env python3
"""link: a TCP proxy that is a slow link: each connection costs a round trip, each direction half of one, and all
connections together get so many bits a second towards the client.

usage: bench/link.py HOST:PORT RTT_MS MBIT    prints its own port, and goes on until its standard input ends; each line
                                              there is answered with how many bytes went to the client so far
"""
import asyncio
import os
import subprocess
import sys

CHUNK = 16384
QUEUE = 0.004  # seconds of bytes that wait before the wire


class Wire:
    """What one after the other of all connections goes through."""

    def __init__(self, rate):
        self.rate, self.free, self.passed = rate, 0.0, 0

    def slot(self, now, size):
        """When the last byte of so many is through."""
        self.passed += size
        self.free = max(self.free, now) + (size / self.rate if self.rate else 0)
        return self.free


async def deliver(queue, writer):
    loop = asyncio.get_running_loop()
    while (item := await queue.get()) is not None:
        when, data = item
        await asyncio.sleep(max(0, when - loop.time()))
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def pump(reader, writer, wire, delay, first):
    """`first`: what the first bytes wait in addition, for the connection's own round trip."""
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue()
    out = asyncio.create_task(deliver(queue, writer))
    try:
        while data := await reader.read(CHUNK):
            through = wire.slot(loop.time(), len(data))
            queue.put_nowait((through + delay + first, data))
            first = 0
            # All connections take turns: the next bytes of this one come when these are nearly through. Not later, or
            # the wire would idle (asyncio sleeps for whole milliseconds).
            await asyncio.sleep(max(0, through - QUEUE - loop.time()))
    finally:
        queue.put_nowait(None)
        await out


async def serve(upstream, rtt, mbit):
    down, up = Wire(mbit * 125000), Wire(0)
    host, port = upstream.rsplit(":", 1)

    async def connection(reader, writer):
        try:
            their_reader, their_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(pump(reader, their_writer, up, rtt / 2, rtt),
                                 pump(their_reader, writer, down, rtt / 2, 0))
            their_writer.close()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        print(down.passed, flush=True)
    os._exit(0)  # whatever is on its way is of no more use


class Link:
    """The same, for a bench: .address is where it listens, .passed() what went to the client so far."""

    def __init__(self, upstream, rtt_ms, mbit):
        self.process = subprocess.Popen([sys.executable, __file__, upstream, str(rtt_ms), str(mbit)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def passed(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2]) / 1000, float(sys.argv[3])))
