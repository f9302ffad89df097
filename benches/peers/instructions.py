"""How many instructions the whole program takes for a request with a good cookie, and where:
`python3 benches/peers/instructions.py`.

Counted by callgrind, so that neither the machine nor its load matters: from one load to twice the load, which leaves
out what starting takes. The kernel's share is not in it. valgrind knows no SHA extensions, so that SHA-256 takes some
six times what it takes on the processor itself.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Nothing is left behind in the checkout.
sys.dont_write_bytecode = True

import loads
import machine
import peers
from street import PATIENCE, Street
from trouble import Trouble

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "..", "..", "target", "dist", "guestpass")

PROTOCOLS = {"http1": ["--h1", "-c", "4"], "http2": ["-c", "1", "-m", "4"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="from so many to twice as many (default: 2000)")
    parser.add_argument("--program", default=PROGRAM, help="built with line tables, if its functions are to have names")
    parser.add_argument("--functions", type=int, default=40, help="how many are listed (default: 40)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="http1", help="which HTTP visitors speak")
    parser.add_argument("--keep", metavar="FILE", help="where callgrind's own file is put, for KCachegrind and the like")
    wanted = parser.parse_args()
    if not shutil.which("valgrind"):
        raise Trouble("missing: valgrind (apt-get install valgrind)")
    if not os.path.exists(wanted.program):
        raise Trouble(f"missing: {wanted.program} (CARGO_PROFILE_DIST_DEBUG=line-tables-only cargo build --profile dist)")
    with tempfile.TemporaryDirectory(prefix="guestpass-instructions-") as folder, Street(folder, wanted.program) as street:
        # A few more come before, so that what happens once has happened.
        less, more = (count(street, wanted, requests) for requests in (wanted.requests, 2 * wanted.requests))
    total = (more["total"] - less["total"]) / wanted.requests
    print(f"{total:,.0f} instructions a request over {wanted.protocol}")
    functions = {name: (more["inclusive"][name] - less["inclusive"].get(name, 0)) / wanted.requests
                 for name in more["inclusive"]}
    own = {name: (more["own"][name] - less["own"].get(name, 0)) / wanted.requests for name in more["own"]}
    for title, found in (("with all that they call:", functions), ("by themselves:", own)):
        print(title)
        for name, each in sorted(found.items(), key=lambda entry: -entry[1])[:wanted.functions]:
            print(f"    {each:>10,.0f}  {each / total:6.1%}  {name[:150]}")


def count(street, wanted, requests):
    out = street.path(f"callgrind.{requests}")
    with under_callgrind(street, out) as running:
        loads.check(running)
        loads.h2load(running, [*PROTOCOLS[wanted.protocol], "-n", str(requests)], "/account/small")
    if wanted.keep:
        shutil.copy(out, wanted.keep)
    return {"own": read(out, "no"), "inclusive": read(out, "yes"), "total": total(out)}


@contextlib.contextmanager
def under_callgrind(street, out):
    port = machine.free_port()
    command, environment = peers.ALL["guestpass"].prepare(street, port)
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command]
    child = street.spawn(command, street.server_core, "callgrind", environment)
    try:
        street.await_port(port, child)
        yield peers.Running(street, "guestpass", child, port)
    finally:
        # It writes at its end.
        street.stop(child)


def read(file, inclusive):
    """What callgrind_annotate makes of it: instructions by function."""
    said = annotate(file, inclusive)
    found = {}
    for line in said.splitlines():
        match = re.match(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+(?:\S*?:)?(.*?)(?: \[.*\])?$", line)
        if match and "PROGRAM TOTALS" not in line:
            # What was inlined stands under its own file: a part of what the function takes by itself, and nothing to be
            # added where that is counted already.
            merge = max if inclusive == "yes" else int.__add__
            found[match[2]] = merge(found.get(match[2], 0), int(match[1].replace(",", "")))
    return found


def total(file):
    match = re.search(r"([\d,]+) \([\d.]+%\)\s+PROGRAM TOTALS", annotate(file, "no"))
    return int(match[1].replace(",", ""))


def annotate(file, inclusive):
    command = ["callgrind_annotate", "--auto=no", "--threshold=99.9", f"--inclusive={inclusive}", file]
    return subprocess.run(command, capture_output=True, text=True, timeout=6 * PATIENCE, check=True).stdout


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
