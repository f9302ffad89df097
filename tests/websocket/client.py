"""What a client of the websockets library does with a WebSocket, through the proxy whose address is the argument."""

import asyncio
import hashlib
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

BASE = sys.argv[1]
MIB = 1024 * 1024
ANYBODY = ssl.create_default_context()
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE


def opened(path, **options):
    return connect(BASE + path, ssl=ANYBODY, max_size=32 * MIB, proxy=None, **options)


def digest(message):
    return hashlib.sha256(message if isinstance(message, bytes) else message.encode()).hexdigest()


async def closed_with(path):
    async with opened(path) as socket:
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)
    raise AssertionError("it stays open")


async def run():
    for compression in (None, "deflate"):
        async with opened("/", compression=compression) as socket:
            assert bool(socket.protocol.extensions) == (compression is not None)
            for message in ("hello", "", "a" * MIB, os.urandom(16 * MIB)):
                await socket.send(message)
                assert digest(await socket.recv()) == digest(message)

            await socket.send(f"{n}," for n in range(1000))
            assert await socket.recv() == "".join(f"{n}," for n in range(1000))
            await (await socket.ping())

            await socket.close(4000, "done")
            assert (socket.close_code, socket.close_reason) == (4000, "done")

    async with opened("/fragments") as socket:
        parts = [part async for part in socket.recv_streaming()]
        assert "".join(parts) == "".join(f"{n}," for n in range(100))
        assert len(parts) == 100, "fragments stay what they were"

    assert await closed_with("/close") == (4001, "because")
    assert await closed_with("/vanish") is None

    async with opened("/") as socket:
        socket.transport.abort()
    print("all is well")


asyncio.run(run())
