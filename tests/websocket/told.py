"""WebSockets that stay open until they are closed from the other side, through the proxy whose address is the argument."""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

ANYBODY = ssl.create_default_context()
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE


async def stay(path, compression, opened):
    async with connect(sys.argv[1] + path, ssl=ANYBODY, proxy=None, compression=compression) as socket:
        opened.release()
        try:
            while True:
                assert len(await socket.recv()) == 100_000
        except ConnectionClosed as closed:
            assert closed.rcvd and closed.sent, "both have said goodbye"
            print(f"closed with {closed.rcvd.code}", flush=True)


async def run():
    opened = asyncio.Semaphore(0)
    staying = [
        asyncio.create_task(stay(path, compression, opened))
        for path in ("/", "/talk")
        for compression in (None, "deflate")
    ]
    for _ in staying:
        await opened.acquire()
    print("all are open", flush=True)
    await asyncio.gather(*staying)


asyncio.run(run())
