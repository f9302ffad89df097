"""Reads guestpass' session cookie in Python 3.11 or later, as guestpass itself reads it.

Signed cookies (v1) need the standard library alone. Sealed ones (e1) are AES-256-GCM, which the standard library does
not have: they are read where the package `cryptography` is installed. Where it is not, `SEALED_ARE_READ` is False and a
request with a sealed cookie under a known key reads "unsupported", whatever other cookies it brings.

What the cookie is made of is said in README.md, next to this file. Nothing here makes or changes a cookie.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import stat
import tomllib
from functools import reduce
from typing import Iterable, Mapping, NamedTuple

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    SEALED_ARE_READ = True
except ImportError:
    SEALED_ARE_READ = False

# Browsers promise to keep no more of a cookie (RFC 6265, section 6.1).
LONGEST = 4096
# As many bytes as the keys that are derived from a secret (RFC 2104, section 3).
SHORTEST_SECRET = 32
GCM_NONCE = 12
GCM_TAG = 16
LARGEST_INTEGER = 2**64 - 1

# Which of a request's cookies decides: the lowest, and the first of equals. "unsupported" comes first, since that
# cookie may be the visitor's own, and then another's that was planted beside it must not count.
PRECEDENCE = ["unsupported", "conflict", "valid", "expired", "outdated", "forged", "malformed", "absent"]


class Key(NamedTuple):
    """The two keys that come from one secret."""

    signing: bytes
    sealing: bytes

    def __repr__(self) -> str:
        return "Key(…)"


class Session(NamedTuple):
    """What a cookie says of its session; `iat` and `exp` in seconds since 1970."""

    sid: str
    tok: str
    org: str
    iat: int
    exp: int

    def __repr__(self) -> str:
        return f"Session(sid={self.sid!r}, tok=…, org={self.org!r}, iat={self.iat}, exp={self.exp})"


class Verdict(NamedTuple):
    """`reading` is valid, absent, expired, outdated, forged, malformed or conflict, and "unsupported" as said above.

    `session` is there exactly when it is valid. `kid` is the deciding cookie's key, if the ring has it.
    """

    reading: str
    session: Session | None = None
    kid: str | None = None


def verify(
    cookie_header: str | Iterable[str] | None, *, name: str, keys: Mapping[str, Key], organization: str, now: float
) -> Verdict:
    """Reads all session cookies of one request and makes one reading of them.

    `cookie_header` is the `Cookie` header, or several, as latin-1 text (as WSGI gives it); `keys` come from
    `read_ring`, `ring` or `ring_of_secret`; `now` is in seconds since 1970.
    """
    headers = [cookie_header] if isinstance(cookie_header, str) else cookie_header or []
    values = [value for header in headers for value in _values(header, name)]
    verdicts = [verify_value(value, name=name, keys=keys, organization=organization, now=now) for value in values]
    return reduce(_together, verdicts, Verdict("absent"))


def verify_value(value: str, *, name: str, keys: Mapping[str, Key], organization: str, now: float) -> Verdict:
    """Reads one cookie's value by itself.

    The order of the checks is the cookie's own: form, key, tag, and only then what stands inside.
    """
    parts = _parts(value)
    if parts is None:
        return Verdict("malformed")
    version, kid, third, fourth = parts
    key = keys.get(kid)
    if key is None:
        return Verdict("outdated")
    if version == "v1":
        signed_text = value.rpartition(".")[0]
        tag = hmac.digest(key.signing, _context(name, signed_text), "sha256")
        text = third if hmac.compare_digest(fourth, tag) else None
    elif SEALED_ARE_READ:
        text = _opened(key, name, kid, third, fourth)
    else:
        return Verdict("unsupported", kid=kid)
    if text is None:
        return Verdict("forged", kid=kid)
    session = _claims(text)
    if session is None:
        return Verdict("malformed", kid=kid)
    if session.org != organization:
        return Verdict("outdated", kid=kid)
    # Not `now >= session.exp`: NaN is never before anything, so that such a clock lets nobody in.
    if not now < session.exp:
        return Verdict("expired", kid=kid)
    return Verdict("valid", session, kid)


def read_ring(path: str | os.PathLike[str]) -> dict[str, Key]:
    """The keys of a ring file, which must be its owner's alone."""
    with open(path, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise ValueError(f"{path} is open to others than its owner: chmod 600 {path}")
        return ring(tomllib.load(file).get("key", []))


def ring(entries: Iterable[Mapping]) -> dict[str, Key]:
    """The keys of a ring's entries. Retired ones must be right as well, but are not accepted."""
    known = {"id", "secret", "state", "created", "signs_from", "signed_until"}
    seen: set[str] = set()
    keys: dict[str, Key] = {}
    signing = 0
    for entry in entries:
        kid, state = entry.get("id"), entry.get("state")
        if not _is_key_id(kid):
            raise ValueError('a key has no legal id: 1 to 16 letters, digits, "_" and "-"')
        if kid in seen:
            raise ValueError(f"key {kid} stands there twice")
        seen.add(kid)
        if not entry.keys() <= known:
            raise ValueError(f"key {kid} has a member that is not known")
        if state not in ("signing", "verifying", "retired"):
            raise ValueError(f"key {kid} has no known state")
        secret = _base64(entry.get("secret"))
        if secret is None:
            raise ValueError(f"key {kid} has a secret that is no base64")
        key = _key(secret, f"key {kid}")
        signing += state == "signing"
        if state != "retired":
            keys[kid] = key
    if signing != 1:
        raise ValueError(f"exactly one key signs, and here {signing} do")
    return keys


def ring_of_secret(secret: str, previous: str | None = None) -> dict[str, Key]:
    """The keys of `HMAC_SECRET`, and of `HMAC_SECRET_PREVIOUS` where there is one."""
    keys: dict[str, Key] = {}
    for text in [secret, previous] if previous else [secret]:
        data = text.encode()
        kid = "env-" + hashlib.sha256(b"guestpass kid" + data).hexdigest()[:8]
        if kid in keys and text != secret:
            raise ValueError(f"both secrets have the key id {kid}")
        keys[kid] = _key(data, kid)
    return keys


def _values(header: str, name: str) -> list[str]:
    # Names are compared without the white space around them, values are taken to the byte (RFC 6265bis, section 5.6).
    # `strip()` alone would be wrong: it also takes what a site would keep as part of the name.
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value for spelled, equals, value in pairs if equals and spelled.strip(" \t\n\f\r") == name]


def _together(one: Verdict, other: Verdict) -> Verdict:
    # So a planted or stale twin can neither log a visitor out nor slip another's session under them.
    if one.session and other.session:
        if one.session.sid != other.session.sid:
            return Verdict("conflict")
        return other if other.session.exp > one.session.exp else one
    return min(one, other, key=lambda verdict: PRECEDENCE.index(verdict.reading))


def _parts(value: str) -> tuple[str, str, bytes, bytes] | None:
    # A character beyond ASCII may be several bytes, but then the value is malformed however long it is.
    parts = value.split(".")
    if len(value) > LONGEST or len(parts) != 4:
        return None
    version, kid = parts[:2]
    third, fourth = _base64url(parts[2]), _base64url(parts[3])
    if version not in ("v1", "e1") or not _is_key_id(kid) or third is None or fourth is None:
        return None
    return version, kid, third, fourth


def _is_key_id(text: object) -> bool:
    # `fullmatch`, since `$` also matches before a newline at the end.
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,16}", text) is not None


def _base64url(text: str) -> bytes | None:
    # The decoder takes unused bits that are not zero, so that only what encodes to the same text again was canonical.
    if re.fullmatch(r"[A-Za-z0-9_-]*", text) is None:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text else None


def _base64(text: object) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None


def _opened(key: Key, name: str, kid: str, nonce: bytes, ciphertext: bytes) -> bytes | None:
    if len(nonce) != GCM_NONCE or len(ciphertext) < GCM_TAG:
        return None
    try:
        return AESGCM(key.sealing).decrypt(nonce, ciphertext, _context(name, f"e1.{kid}"))
    except InvalidTag:
        return None


def _context(name: str, text: str) -> bytes:
    return f"guestpass cookie\0{name}\0{text}".encode()


def _key(secret: bytes, called: str) -> Key:
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(f"{called} has a secret of {len(secret)} bytes, and {SHORTEST_SECRET} or more are needed")
    # HKDF (RFC 5869) without a salt, which stands for a hash's length of zeros. One block is all the output: T(1).
    extracted = hmac.digest(bytes(32), secret, "sha256")
    signing, sealing = (hmac.digest(extracted, info + b"\x01", "sha256") for info in _INFO)
    return Key(signing, sealing)


_INFO = (b"guestpass v1 sign", b"guestpass v1 seal")


def _claims(data: bytes) -> Session | None:
    """The claims, if they are exactly the five members, each once and of its type."""
    if not data.startswith(b"{"):
        return None
    try:
        # Decoded here, since `json.loads` would take UTF-16 as well.
        members = json.loads(data.decode(), object_pairs_hook=list, parse_int=_integer)
    # Brackets in brackets can be deeper than the parser goes.
    except (ValueError, RecursionError):
        return None
    claims = dict(members)
    if len(claims) != len(members) or claims.keys() != set(Session._fields):
        return None
    texts, moments = [claims["sid"], claims["tok"], claims["org"]], [claims["iat"], claims["exp"]]
    # `type` and not `isinstance`, to which True is an int.
    if not all(type(text) is str and _is_whole(text) for text in texts) or not all(type(at) is int for at in moments):
        return None
    return Session(**claims)


def _integer(digits: str) -> int:
    # "-0" would be 0 to `int`. What has more digits than 2^64 is not made a number at all.
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 20 or int(digits) > LARGEST_INTEGER:
        raise ValueError("no unsigned integer of 64 bits")
    return int(digits)


def _is_whole(text: str) -> bool:
    # Half of a surrogate pair, written as an escape, is no text (RFC 8259, section 8.2).
    return not any("\ud800" <= character <= "\udfff" for character in text)
