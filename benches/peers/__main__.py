"""What a request costs guestpass, and what it costs others at the same job: `python3 benches/peers`.

guestpass and each peer run alone on one core, one after the other in every round, with the upstream and the load on
another core. What counts is processor time per request, as a ratio to HAProxy that checks an HMAC itself, within one
round: throughput is capped by the load here, and absolute times drift with the machine.

Installs nothing. Where something is missing, says what.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile

# Nothing is left behind in the checkout.
sys.dont_write_bytecode = True

import loads
import machine
import peers
import report
from street import Street
from trouble import Trouble

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "..", "..", "target", "dist", "guestpass")

# Debian's package of each program that is needed whoever is compared.
NEEDED = {"h2load": "nghttp2-client", "nginx": "nginx-light", "openssl": "openssl"}


def arguments():
    parser = argparse.ArgumentParser(prog="python3 benches/peers", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    parser.add_argument("--seconds", type=int, default=3, help="how long each load lasts (default: 3)")
    parser.add_argument("--connections", type=int, default=1000, help="idle ones, for the memory of each (default: 1000)")
    parser.add_argument("--peers", default=",".join(peers.ALL), help=f"which, of {','.join(peers.ALL)} (default: all there are)")
    parser.add_argument("--loads", default=",".join(loads.ALL), help=f"which, of {','.join(loads.ALL)} (default: all)")
    parser.add_argument("--program", default=PROGRAM, help="the guestpass to measure (default: target/dist/guestpass)")
    parser.add_argument("--json", metavar="FILE", help="also write every single number there")
    parser.add_argument("--force", action="store_true", help="measure on a machine that is busy with other things, too")
    return parser.parse_args()


def main():
    wanted = arguments()
    # A supervisor's SIGTERM ends what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.allow_many_files()
    chosen = choose(wanted)
    conditions = machine.conditions(wanted.force)
    with tempfile.TemporaryDirectory(prefix="guestpass-peers-") as folder, Street(folder, wanted.program) as street:
        rounds = []
        for number in range(wanted.rounds):
            # Whoever comes first finds another machine than whoever comes last: each is first in turn.
            order = chosen[number % len(chosen):] + chosen[:number % len(chosen)]
            measured = {}
            for peer in order:
                print(f"round {number + 1} of {wanted.rounds}: {peer}", file=sys.stderr, flush=True)
                measured[peer] = measure(street, peer, wanted)
            rounds.append(measured)
    conditions["load_average_afterwards"] = os.getloadavg()[0]
    versions = {peer: peers.ALL[peer].version(wanted.program) for peer in chosen}
    result = report.summarize(chosen, rounds)
    print(report.table(result, versions, conditions))
    if wanted.json:
        with open(wanted.json, "w", encoding="utf-8") as file:
            json.dump({"conditions": conditions, "versions": versions, "summary": result, "rounds": rounds}, file, indent=1)


def choose(wanted):
    """Those of the wanted peers that are here; whoever was asked for by name has to be."""
    missing = [f"{program} (apt-get install {package})" for program, package in NEEDED.items() if not shutil.which(program)]
    chosen = []
    everybody = wanted.peers == ",".join(peers.ALL)
    for name in wanted.peers.split(","):
        if name not in peers.ALL:
            raise Trouble(f"nobody here is called {name}: there are {', '.join(peers.ALL)}")
        peer = peers.ALL[name]
        if peer.program == "guestpass":
            if not os.path.exists(wanted.program):
                missing.append(f"{os.path.normpath(wanted.program)} (cargo build --profile dist)")
        elif not shutil.which(peer.program):
            if peer.optional and everybody:
                print(f"{name} is not here, and left out (apt-get install {peer.package})", file=sys.stderr)
                continue
            missing.append(f"{peer.program} (apt-get install {peer.package})")
        chosen.append(name)
    for load in wanted.loads.split(","):
        if load not in loads.ALL:
            raise Trouble(f"there is no load called {load}: there are {', '.join(loads.ALL)}")
    if missing:
        raise Trouble("missing: " + ", ".join(missing))
    return chosen


def measure(street, peer, wanted):
    """Starts one peer alone, sees that it answers as it should, and puts every load on it."""
    with peers.start(street, peer) as running:
        loads.check(running)
        measured = {"idle_mib": running.memory() / 2**20}
        for load in wanted.loads.split(","):
            measured.update(loads.ALL[load](running, wanted))
    return measured


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)
