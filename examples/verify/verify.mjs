// Reads guestpass' session cookie in Node.js, as guestpass itself reads it. Node 18.14 or later has all that it needs.
//
// What the cookie is made of is said in README.md, next to this file. Nothing here makes or changes a cookie.

import { isUtf8 } from 'node:buffer';
import { createDecipheriv, createHash, createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';

// Browsers promise to keep no more of a cookie (RFC 6265, section 6.1).
const LONGEST = 4096;
// As many bytes as the keys that are derived from a secret (RFC 2104, section 3).
const SHORTEST_SECRET = 32;
const GCM_NONCE = 12;
const GCM_TAG = 16;
const LARGEST_INTEGER = 2n ** 64n - 1n;

// Which of a request's cookies decides: the lowest, and the first of equals.
const PRECEDENCE = ['conflict', 'valid', 'expired', 'outdated', 'forged', 'malformed', 'absent'];

/**
 * Reads all session cookies of one request and makes one reading of them.
 *
 * @param {string | string[] | undefined} cookieHeader the `Cookie` header, or several, as Node gives them (latin1)
 * @param {{name: string, keys: Map, organization: string, now: number}} expected `name` of the cookie, `keys` from
 *   readRing, ring or ringOfSecret, the Genesys `organization` id, and `now` in seconds since 1970
 * @returns {{reading: string, session: ?object, kid: ?string}} `reading` is valid, absent, expired, outdated, forged,
 *   malformed or conflict; `session` ({sid, tok, org, iat, exp}) is there exactly when it is valid; `kid` is the
 *   deciding cookie's key, if the ring has it
 */
export function verify(cookieHeader, expected) {
    const headers = cookieHeader === undefined ? [] : [cookieHeader].flat();
    return headers
        .flatMap((header) => valuesOf(header, expected.name))
        .map((value) => verifyValue(value, expected))
        .reduce(together, without('absent'));
}

/** Reads one cookie's value by itself. The order of the checks is the cookie's own: form, key, tag, and only then what
 * stands inside. */
export function verifyValue(value, { name, keys, organization, now }) {
    if (typeof name !== 'string' || typeof organization !== 'string' || typeof now !== 'number') {
        throw new TypeError('name and organization are text, and now is a number of seconds');
    }
    const parts = partsOf(value);
    if (!parts) return without('malformed');
    const key = keys.get(parts.kid);
    if (!key) return without('outdated');
    const text = parts.version === 'v1' ? checked(parts, key, name) : opened(parts, key, name);
    if (!text) return without('forged', parts.kid);
    const session = claimsOf(text);
    if (!session) return without('malformed', parts.kid);
    if (session.org !== organization) return without('outdated', parts.kid);
    // Not `now >= session.exp`: what is no number is never before anything, so that such a clock lets nobody in.
    if (!(now < session.exp)) return without('expired', parts.kid);
    return { reading: 'valid', session, kid: parts.kid };
}

/** The keys of a ring file in JSON: `{"key": [{"id": …, "secret": …, "state": …}, …]}`. The file must be its owner's
 * alone. */
export function readRing(path) {
    const file = openSync(path, 'r');
    try {
        const mode = fstatSync(file).mode & 0o7777;
        if (mode & 0o077) throw new Error(`${path} is open to others than its owner: chmod 600 ${path}`);
        return ring(JSON.parse(readFileSync(file, 'utf8')).key);
    } catch (error) {
        // The parser's own message may quote the file, and the file holds secrets.
        throw error instanceof SyntaxError ? new Error(`${path} is no JSON`) : error;
    } finally {
        closeSync(file);
    }
}

/** The keys of a ring's entries. Retired ones must be right as well, but are not accepted. */
export function ring(entries) {
    if (!Array.isArray(entries)) throw new Error('a ring is a list of keys');
    const known = ['id', 'secret', 'state', 'created', 'signs_from', 'signed_until'];
    const seen = new Set();
    const keys = new Map();
    let signing = 0;
    for (const entry of entries) {
        const { id, secret, state } = entry;
        if (!isKeyId(id)) throw new Error('a key has no legal id: 1 to 16 letters, digits, "_" and "-"');
        if (seen.has(id)) throw new Error(`key ${id} stands there twice`);
        seen.add(id);
        const unknown = Object.keys(entry).find((member) => !known.includes(member));
        if (unknown !== undefined) throw new Error(`key ${id} has a member that is not known`);
        if (!['signing', 'verifying', 'retired'].includes(state)) throw new Error(`key ${id} has no known state`);
        const bytes = typeof secret === 'string' ? decoded(secret, 'base64') : undefined;
        if (!bytes) throw new Error(`key ${id} has a secret that is no base64`);
        const key = keyOf(bytes, `key ${id}`);
        if (state === 'signing') signing += 1;
        if (state !== 'retired') keys.set(id, key);
    }
    if (signing !== 1) throw new Error(`exactly one key signs, and here ${signing} do`);
    return keys;
}

/** The keys of `HMAC_SECRET`, and of `HMAC_SECRET_PREVIOUS` where there is one. */
export function ringOfSecret(secret, previous) {
    const keys = new Map();
    for (const text of previous ? [secret, previous] : [secret]) {
        const bytes = Buffer.from(text, 'utf8');
        const digest = createHash('sha256').update('guestpass kid').update(bytes).digest('hex');
        const kid = `env-${digest.slice(0, 8)}`;
        if (keys.has(kid) && text !== secret) throw new Error(`both secrets have the key id ${kid}`);
        keys.set(kid, keyOf(bytes, kid));
    }
    return keys;
}

// Names are compared without the white space around them, values are taken to the byte (RFC 6265bis, section 5.6).
// `trim` would be wrong: it also takes what a site would keep as part of the name.
function valuesOf(header, name) {
    return header.split(';').flatMap((pair) => {
        const equals = pair.indexOf('=');
        if (equals < 0) return [];
        const spelled = pair.slice(0, equals).replace(/^[ \t\n\f\r]+|[ \t\n\f\r]+$/g, '');
        return spelled === name ? [pair.slice(equals + 1)] : [];
    });
}

// So a planted or stale twin can neither log a visitor out nor slip another's session under them.
function together(one, next) {
    if (one.session && next.session) {
        if (one.session.sid !== next.session.sid) return without('conflict');
        return next.session.exp > one.session.exp ? next : one;
    }
    return PRECEDENCE.indexOf(next.reading) < PRECEDENCE.indexOf(one.reading) ? next : one;
}

function without(reading, kid = null) {
    return { reading, session: null, kid };
}

// A character beyond ASCII may be several bytes, but then the value is malformed however long it is.
function partsOf(value) {
    if (value.length > LONGEST) return undefined;
    const parts = value.split('.');
    if (parts.length !== 4) return undefined;
    const [version, kid] = parts;
    if (version !== 'v1' && version !== 'e1') return undefined;
    if (!isKeyId(kid)) return undefined;
    const [third, fourth] = [decoded(parts[2], 'base64url'), decoded(parts[3], 'base64url')];
    if (!third || !fourth) return undefined;
    return { version, kid, third, fourth, signedText: parts.slice(0, 3).join('.') };
}

function isKeyId(text) {
    return typeof text === 'string' && /^[A-Za-z0-9_-]{1,16}$/.test(text);
}

// Node's decoder passes over what it does not know, so that only what encodes to the same text again was canonical.
function decoded(text, encoding) {
    const bytes = Buffer.from(text, encoding);
    return bytes.toString(encoding) === text ? bytes : undefined;
}

// The payload of a signed value, if the key vouches for it under this cookie's name.
function checked({ signedText, third, fourth }, key, name) {
    const tag = createHmac('sha256', key.signing).update(context(name, signedText)).digest();
    // timingSafeEqual wants equal lengths; how long a tag is, is no secret.
    return fourth.length === tag.length && timingSafeEqual(fourth, tag) ? third : undefined;
}

// What a sealed value holds, if the key opens it under this cookie's name.
function opened({ kid, third, fourth }, key, name) {
    if (third.length !== GCM_NONCE || fourth.length < GCM_TAG) return undefined;
    const cipher = createDecipheriv('aes-256-gcm', key.sealing, third, { authTagLength: GCM_TAG });
    cipher.setAAD(context(name, `e1.${kid}`));
    cipher.setAuthTag(fourth.subarray(-GCM_TAG));
    const text = cipher.update(fourth.subarray(0, -GCM_TAG));
    try {
        // Only here is the tag compared, by OpenSSL in constant time: before, `text` is worth nothing.
        cipher.final();
        return text;
    } catch {
        return undefined;
    }
}

function context(name, text) {
    return Buffer.from(`guestpass cookie\0${name}\0${text}`, 'utf8');
}

function keyOf(secret, called) {
    if (secret.length < SHORTEST_SECRET) {
        throw new Error(`${called} has a secret of ${secret.length} bytes, and ${SHORTEST_SECRET} or more are needed`);
    }
    // Key objects, unlike buffers, do not show themselves in a log.
    const derive = (info) => createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', info, 32)));
    return { signing: derive('guestpass v1 sign'), sealing: derive('guestpass v1 seal') };
}

const STRING = String.raw`"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"`;
const SPACE = String.raw`[ \t\n\r]*`;
// One member of the claims and what stands behind it.
const MEMBER = new RegExp(`${SPACE}(${STRING})${SPACE}:${SPACE}(${STRING}|0|[1-9][0-9]*)${SPACE}([,}])`, 'y');
const CLAIMS = { sid: 'string', tok: 'string', org: 'string', iat: 'number', exp: 'number' };

// The claims, if they are exactly the five members, each once and of its type. JSON.parse alone would not do: of a
// member that stands there twice it keeps the last, 1e9 and 1.0 are integers to it, and it rounds large ones.
function claimsOf(bytes) {
    if (!isUtf8(bytes)) return undefined;
    const text = bytes.toString('utf8');
    if (!text.startsWith('{')) return undefined;
    const claims = new Map();
    MEMBER.lastIndex = 1;
    for (let last = false; !last; ) {
        const found = MEMBER.exec(text);
        if (!found) return undefined;
        const name = JSON.parse(found[1]);
        const value = found[2].startsWith('"') ? JSON.parse(found[2]) : seconds(found[2]);
        if (!Object.hasOwn(CLAIMS, name) || claims.has(name) || typeof value !== CLAIMS[name]) return undefined;
        // Half of a surrogate pair, written as an escape, is no text (RFC 8259, section 8.2).
        if (typeof value === 'string' && /\p{Surrogate}/u.test(value)) return undefined;
        claims.set(name, value);
        last = found[3] === '}';
        if (last && !/^[ \t\n\r]*$/.test(text.slice(MEMBER.lastIndex))) return undefined;
    }
    return claims.size === Object.keys(CLAIMS).length ? Object.fromEntries(claims) : undefined;
}

// A moment past 2^53 - 1, in 285 million years, is as good as that one.
function seconds(digits) {
    const exact = BigInt(digits);
    if (exact > LARGEST_INTEGER) return undefined;
    return exact > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(exact);
}
