"""Instructions that each layer takes of a request with a good cookie, held to what is written in
benches/instructions.json: `python3 benches/instructions.py`.

callgrind counts `benches/gate.rs` for some requests and for twice as many, which leaves out what starting takes. The
same program on the same input always takes the same, so that a machine at work with other things changes nothing. More
than 3 % over what is written is a failure: make it faster, or write down what it costs now (`--write`), in the same
commit as the reason.

valgrind knows no SHA extensions, so that SHA-256 takes some six times of what it takes on most processors; and it counts
each byte that `rep movsb` moves.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
WRITTEN = os.path.join(ROOT, "benches", "instructions.json")
LAYERS = ["context", "route", "hygiene", "read", "strip", "gate", "way"]
TIMES = 500

# Another hash of the same length or another place in memory makes a thousandth of a difference; a real one is above this.
MARGIN = 0.03


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write down what it takes now")
    wanted = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("error: missing: valgrind (apt-get install valgrind)")
    program = build()
    request = count(program, "request")
    counted = {layer: count(program, layer) - request for layer in LAYERS}
    tools = {"rustc": first_line(["rustc", "--version"]), "valgrind": first_line(["valgrind", "--version"])}
    if wanted.write:
        with open(WRITTEN, "w", encoding="utf-8") as file:
            json.dump({"tools": tools, "instructions": counted}, file, indent=4)
            file.write("\n")
        print("written:", counted)
        return
    with open(WRITTEN, encoding="utf-8") as file:
        written = json.load(file)
    failed = compare(written["instructions"], counted)
    if written["tools"] != tools:
        # Another compiler makes other code of the same source, and nobody here could mend it.
        print(f"Not judged: written down with {written['tools']}, counted with {tools}. Say --write on the last good commit first.")
    elif failed:
        sys.exit(f"error: more than {MARGIN:.0%} above benches/instructions.json: {', '.join(failed)}")


def build():
    """Where cargo puts it. The library alone, since no server is counted here."""
    command = ["cargo", "bench", "--locked", "--no-default-features", "--bench", "gate", "--no-run",
               "--message-format=json"]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=1200, check=True)
    messages = [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]
    return next(message["executable"] for message in messages
                if message.get("executable") and message["target"]["name"] == "gate")


def count(program, layer):
    """Instructions for one time."""
    less, more = (total(program, layer, times) for times in (TIMES, 2 * TIMES))
    return round((more - less) / TIMES)


def total(program, layer, times):
    with tempfile.NamedTemporaryFile() as out:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", program, "count", layer, str(times)]
        subprocess.run(command, stderr=subprocess.DEVNULL, timeout=120, check=True)
        line = next(line for line in open(out.name, encoding="utf-8", errors="replace") if line.startswith("summary:"))
        return int(line.split()[1])


def compare(written, counted):
    failed = []
    for layer, now in counted.items():
        before = written.get(layer)
        change = "new" if before is None else f"{(now - before) / before:+.1%}"
        print(f"{layer:10} {now:>8,}  {change}")
        if before is None or now > before * (1 + MARGIN):
            failed.append(layer)
    return failed


def first_line(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()[0]


if __name__ == "__main__":
    main()
