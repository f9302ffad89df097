"""What is done to each server, and what is read off it then."""

import re
import socket
import ssl
import subprocess
import time

from street import COOKIE, MEBIBYTE, PATIENCE
from trouble import Trouble

TLS = ["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]

# A second, over all connections: some tenth of what the slowest here can do on a core.
MODERATE = 800

# A burst of so many new connections is below every queue of connections that wait to be accepted.
AT_ONCE = 100

# Of one run of h2load, in seconds: each is to last a few.
LONGEST = 60


def check(running):
    """A valid cookie passes, one that was tampered with does not where it is checked: else nothing is worth measuring."""
    good = running.cookie()
    middle = good.index(".") + 20
    forged = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1:]
    for cookie, expected in ((good, {200}), (forged, {401, 403} if running.peer.checks else {200})):
        status, _ = running.get("/account/small", {"Cookie": f"{COOKIE}={cookie}"})
        if status not in expected:
            kind = "valid" if cookie == good else "forged"
            raise Trouble(f"{running.name} answers a {kind} cookie with {status}, not {sorted(expected)}")


def http1(running, wanted):
    done, seconds = h2load_for(wanted.seconds, 2000, running, ["--h1", "-c", "64"], "/account/small")
    return {"http1_us": seconds / done * 1e6}


def http2(running, wanted):
    done, seconds = h2load_for(wanted.seconds, 2000, running, ["-c", "8", "-m", "32"], "/account/small")
    return {"http2_us": seconds / done * 1e6}


def handshakes(running, wanted):
    """A connection, a full handshake, and one request on it. h2load resumes no session."""
    done, seconds = 0, 0.0
    until = time.monotonic() + wanted.seconds
    while time.monotonic() < until:
        more, taken, _ = h2load(running, ["--h1", "-c", str(AT_ONCE), "-n", str(AT_ONCE)], "/account/small")
        done, seconds = done + more, seconds + taken
    return {"handshake_us": seconds / done * 1e6}


def down(running, wanted):
    done, seconds = h2load_for(wanted.seconds, 64, running, ["--h1", "-c", "8"], "/account/large")
    return {"down_s_per_gib": seconds / (done * MEBIBYTE / 2**30)}


def up(running, wanted):
    body = running.street.path("site/account/large")
    done, seconds = h2load_for(wanted.seconds, 64, running, ["--h1", "-c", "8", "-d", body], "/account/upload")
    return {"up_s_per_gib": seconds / (done * MEBIBYTE / 2**30)}


def latency(running, wanted):
    """At a moderate rate that all of them keep with ease."""
    log, clients = running.street.path("latency.tsv"), 16
    open(log, "w", encoding="ascii").close()
    flags = ["--h1", "-c", str(clients), f"--rps={MODERATE // clients}", f"--log-file={log}"]
    h2load(running, [*flags, "-n", str(MODERATE * wanted.seconds)], "/account/small")
    with open(log, encoding="ascii") as file:
        took = sorted(int(line.split("\t")[2]) for line in file)
    return {"p50_us": took[len(took) // 2], "p99_us": took[len(took) * 99 // 100]}


def idle(running, wanted):
    """Connections that have had an answer and wait."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"GET /account/small HTTP/1.1\r\nHost: localhost\r\nCookie: {COOKIE}={running.cookie()}\r\n\r\n".encode()
    before, open_ones = running.memory(), []
    try:
        for _ in range(wanted.connections):
            connection = context.wrap_socket(socket.create_connection(("127.0.0.1", running.port), PATIENCE),
                                             server_hostname="localhost")
            open_ones.append(connection)
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"xxxx"):
                more = connection.recv(65536)
                if not more:
                    raise Trouble(f"{running.name} closes a connection that waits: {answer[:100]}")
                answer += more
        # What is put away after a while is put away by then.
        time.sleep(2)
        return {"kib_per_connection": (running.memory() - before) / wanted.connections / 1024}
    finally:
        for connection in open_ones:
            connection.close()


# Memory first: afterwards the allocator has a reserve, from which connections would seem to take nothing.
ALL = {"idle": idle, "http1": http1, "http2": http2, "handshakes": handshakes, "down": down, "up": up, "latency": latency}


def h2load_for(duration, few, running, flags, path):
    """As many requests as take about so many seconds, found out by a few, which warm the server up as well. (With `-D`,
    by the clock, a run once did not end.)"""
    _, _, elapsed = h2load(running, [*flags, "-n", str(few)], path)
    many = max(few, min(int(few / elapsed * duration), 1000 * few))
    done, seconds, _ = h2load(running, [*flags, "-n", str(many)], path)
    return done, seconds


def h2load(running, flags, path):
    """Puts a load on a server: how many requests succeeded, the server's processor time meanwhile, and the time."""
    command = ["taskset", "-c", str(running.street.load_core), "h2load", *flags, *TLS,
               "-H", f"cookie: {COOKIE}={running.cookie()}", f"https://localhost:{running.port}{path}"]
    began, before = time.monotonic(), running.processor_time()
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired as expired:
        raise Trouble(f"{running.name} keeps h2load waiting for {LONGEST} s: {' '.join(flags)} {path}") from expired
    seconds, elapsed = running.processor_time() - before, time.monotonic() - began
    found = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", ended.stdout)
    counted = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", ended.stdout)
    if ended.returncode != 0 or not found or not counted:
        raise Trouble(f"h2load fails at {running.name}: {ended.stdout[-500:]}{ended.stderr[-500:]}")
    done = int(found[1])
    if done == 0 or any(int(number) for number in found.groups()[1:]) or any(map(int, counted.groups())):
        raise Trouble(f"{running.name} answers wrongly under load: {found[0]}; {counted[0]}")
    return done, seconds, elapsed
