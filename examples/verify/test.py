"""Drives verify.py with every golden cookie, with the rows of cases.json, and with a few thousand values that were
tampered with. Run it with `python3 examples/verify/test.py`; it ends with "N passed, N failed" and fails if any did.

Without the package `cryptography`, sealed values must read "unsupported", and what can be known only by opening them is
left out and counted.
"""

import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

# Nothing is left behind in the checkout.
sys.dont_write_bytecode = True

import verify as subject
from verify import Verdict, read_ring, ring, ring_of_secret, verify, verify_value

SEED = 20260921
MUTATIONS = 6000
HERE = Path(__file__).resolve().parent

tally = Counter()


def check(what, found, expected):
    if found == expected and type(found) is type(expected):
        tally["passed"] += 1
    else:
        tally["failed"] += 1
        print(f"FAILED {what}\n  found    {found!r}\n  expected {expected!r}")


def attempt(make):
    """What `make` gives, or the message with which it refuses to."""
    try:
        return make()
    except Exception as error:
        return f"refused: {error}"


def drive_rows(file, called):
    keys = ring(file["keys"])
    for row in file["rows"]:
        expected = (row["reading"], row.get("session"))
        options = dict(name=row["name"], keys=keys, organization=row["organization"], now=row["now"])
        header = f"first=1; {row['name']}={row['value']}; last=2"
        found = attempt(lambda: verify_value(row["value"], **options))
        if is_left_out(found, row["value"]):
            continue
        check(f"{called}: {row['what']}", shown(found), expected)
        check(f"{called}, in a header: {row['what']}", shown(attempt(lambda: verify(header, **options))), expected)


def is_left_out(found, value):
    """Whether the value would have to be opened, and cannot be."""
    if subject.SEALED_ARE_READ or not value.startswith("e1."):
        return False
    is_so = isinstance(found, Verdict) and found.reading == "unsupported" and found.session is None
    tally["left out"] += is_so
    return is_so


def shown(found):
    if isinstance(found, str):
        return found
    return found.reading, found.session and found.session._asdict()


def drive_requests(file):
    options = dict(name=file["name"], keys=ring(file["keys"]), organization=file["organization"], now=file["now"])
    for row in file["requests"]:
        headers = [text.format_map(file["values"]) for text in row["cookies"]]
        expected = (row["reading"], row.get("exp"), row["kid"])
        if not subject.SEALED_ARE_READ and any("{sealed" in text for text in row["cookies"]):
            expected = ("unsupported", None, "k2026a")
        for header in (headers, "; ".join(headers)):
            found = attempt(lambda: verify(header, **options))
            brief = found if isinstance(found, str) else (found.reading, found.session and found.session.exp, found.kid)
            check(row["what"], brief, expected)
    check("no header at all", verify(None, **options).reading, "absent")
    good = file["values"]["good"]
    for wrong in ({"now": None}, {"now": "1790000100"}):
        check("a mistake of the caller", str(attempt(lambda: verify_value(good, **options | wrong)))[:9], "refused: ")
    check("a clock that is no number", verify_value(good, **options | {"now": float("nan")}).reading, "expired")
    verdict = verify_value(good, **options)
    check("no token and no key is printed", "tok-" in repr(verdict) or "\\x" in repr(options["keys"]), False)


def drive_rings(file):
    for row in file["secrets"]:
        found = attempt(lambda: ring_of_secret(row["secret"], row.get("previous")))
        check_ring(f"a secret of {len(row['secret'])}", found, row)
        if "value" in row:
            options = dict(name=file["name"], keys=found, organization=file["organization"], now=file["now"])
            check("its cookie", verify_value(row["value"], **options).reading, "valid")
    for row in file["rings"]:
        check_ring(f"a ring with {row['what']}", attempt(lambda: ring(row["entries"])), row)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "keys.toml")
        entry = '[[key]]\nid = "{id}"\nsecret = "{secret}"\ncreated = 2026-11-22T00:00:00Z\nstate = "{state}"\n'
        Path(path).write_text("".join(entry.format_map(key) for key in file["keys"]))
        os.chmod(path, 0o600)
        check_ring("a ring file", attempt(lambda: read_ring(path)), {"kids": ["k2026a", "k2026b"]})
        os.chmod(path, 0o640)
        check_ring("a ring file that others may read", attempt(lambda: read_ring(path)), {"refused": "chmod 600"})


def check_ring(what, found, row):
    if "refused" in row:
        is_so = isinstance(found, str) and found.startswith("refused: ") and row["refused"] in found
        check(what, row["refused"] if is_so else found, row["refused"])
    else:
        check(what, found if isinstance(found, str) else list(found), row["kids"])


def tamper(files):
    chance = random.Random(SEED)
    good = [(row, ring(file["keys"])) for file in files for row in file["rows"] if row["reading"] == "valid"]
    values = [row["value"] for row, _ in good]
    check("both forms are tampered with", {value[:2] for value in values}, {"v1", "e1"})
    readings = Counter()
    for step in range(MUTATIONS):
        row, keys = good[step % len(good)]
        value = mutated(row["value"], values, chance)
        while chance.randrange(4) == 0:
            value = mutated(value, values, chance)
        if value in values:
            continue
        options = dict(name=row["name"], keys=keys, organization=row["organization"], now=row["now"])
        found = attempt(lambda: verify_value(value, **options))
        if is_left_out(found, value):
            continue
        reading, session = (found, None) if isinstance(found, str) else found[:2]
        readings[reading] += 1
        is_well = reading in ("forged", "malformed", "outdated") and session is None
        check(f"step {step} of seed {SEED}: {value!r}", "not good" if is_well else reading, "not good")
    # If they were all malformed, nothing would have reached the keys.
    least = MUTATIONS // 4 if subject.SEALED_ARE_READ else MUTATIONS // 10
    check("enough of them reach the keys", readings["forged"] > least, True)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
STRANGE = '.=+/ "%;,\0\n\u00a0\u00ff\uff0e'


def mutated(value, others, chance):
    """One change of `value`: to a character, to a stretch, or to one of its parts."""
    at = chance.randrange(len(value) + 1)
    end = chance.randrange(at, len(value) + 1)
    parts = value.split(".")
    part = chance.randrange(len(parts))
    other = chance.choice(others)
    changes = [
        lambda: value[:at] + chance.choice(ALPHABET) + value[at + 1 :],
        lambda: value[:at] + chance.choice(STRANGE) + value[at + chance.randrange(2) :],
        lambda: value[:at] + chance.choice(ALPHABET) + value[at:],
        lambda: value[:at] + value[at + 1 + chance.randrange(4) :],
        lambda: value[:at] + value[end:] + value[at:end],
        lambda: value[:at],
        lambda: value[:at] + other[at:],
        lambda: replaced(parts, part, (other.split(".") + [""] * len(parts))[part]),
        lambda: replaced(parts, part, last_bits_changed(parts[part], chance)),
        lambda: replaced(parts, part, ""),
        lambda: ("e1" if value.startswith("v1") else "v1") + value[2:],
    ]
    return chance.choice(changes)()


def replaced(parts, place, text):
    return ".".join(parts[:place] + [text] + parts[place + 1 :])


def last_bits_changed(part, chance):
    # The bits that base64url leaves unused stand at the end of a part.
    index = ALPHABET.find(part[-1:])
    return part[:-1] + ALPHABET[(index ^ (1 << chance.randrange(6))) % 64]


golden = json.loads((HERE / "../../tests/fixtures/cookies/v1.json").read_text("utf-8"))
cases = json.loads((HERE / "cases.json").read_text("utf-8"))
drive_rows(golden, "golden")
drive_rows(cases, "case")
drive_requests(cases)
drive_rings(cases)
tamper([golden, cases])
if not subject.SEALED_ARE_READ:
    print(f"the package cryptography is not installed: {tally['left out']} sealed values were not opened")
print(f"{tally['passed']} passed, {tally['failed']} failed")
sys.exit(0 if tally["passed"] and not tally["failed"] else 1)
