// Drives verify.mjs with every golden cookie, with the rows of cases.json, and with a few thousand values that were
// tampered with. Run it with `node examples/verify/test.mjs`; it ends with "N passed, N failed" and fails if any did.

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, isDeepStrictEqual } from 'node:util';

import { readRing, ring, ringOfSecret, verify, verifyValue } from './verify.mjs';

const SEED = 20260921;
const MUTATIONS = 6000;

let passed = 0;
let failed = 0;

function check(what, found, expected) {
    if (isDeepStrictEqual(found, expected)) {
        passed += 1;
    } else {
        failed += 1;
        console.log(`FAILED ${what}\n  found    ${JSON.stringify(found)}\n  expected ${JSON.stringify(expected)}`);
    }
}

/** What `make` gives, or the message with which it refuses to. */
function attempt(make) {
    try {
        return make();
    } catch (error) {
        return `refused: ${error.message}`;
    }
}

function read(path) {
    return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
}

function driveRows(file, called) {
    const keys = ring(file.keys);
    for (const row of file.rows) {
        const expected = { reading: row.reading, session: row.session ? saturated(row.session) : null };
        const shown = ({ reading, session }) => ({ reading, session });
        const of = { name: row.name, keys, organization: row.organization, now: row.now };
        check(`${called}: ${row.what}`, attempt(() => shown(verifyValue(row.value, of))), expected);
        const header = `first=1; ${row.name}=${row.value}; last=2`;
        check(`${called}, in a header: ${row.what}`, attempt(() => shown(verify(header, of))), expected);
    }
}

function saturated(session) {
    const most = Number.MAX_SAFE_INTEGER;
    return { ...session, iat: Math.min(session.iat, most), exp: Math.min(session.exp, most) };
}

function driveRequests({ keys, name, organization, now, values, requests }) {
    const of = { name, keys: ring(keys), organization, now };
    for (const { what, cookies, reading, exp = null, kid } of requests) {
        const headers = cookies.map((text) => text.replace(/\{(\w+)\}/g, (_, word) => values[word]));
        for (const header of [headers, headers.join('; ')]) {
            const shown = ({ reading, session, kid }) => ({ reading, exp: session?.exp ?? null, kid });
            check(what, attempt(() => shown(verify(header, of))), { reading, exp, kid });
        }
    }
    check('no header at all', verify(undefined, of).reading, 'absent');
    for (const wrong of [{ ...of, now: undefined }, { ...of, now: '1790000100' }, { ...of, name: undefined }]) {
        const found = attempt(() => verifyValue(values.good, wrong));
        check('a mistake of the caller', typeof found, 'string');
    }
    check('no key is printed', inspect(of.keys, { depth: 9 }).includes('Buffer'), false);
    check('a clock that is no number', verifyValue(values.good, { ...of, now: NaN }).reading, 'expired');
}

function driveRings({ name, organization, now, secrets, rings, keys }) {
    for (const { secret, previous, kids, value, refused } of secrets) {
        const found = attempt(() => ringOfSecret(secret, previous));
        checkRing(`a secret of ${secret.length}`, found, kids, refused);
        if (value) check('its cookie', verifyValue(value, { name, keys: found, organization, now }).reading, 'valid');
    }
    for (const { what, entries, kids, refused } of rings) {
        checkRing(`a ring with ${what}`, attempt(() => ring(entries)), kids, refused);
    }
    const folder = mkdtempSync(join(tmpdir(), 'verify-'));
    try {
        const path = join(folder, 'keys.json');
        writeFileSync(path, JSON.stringify({ key: keys }), { mode: 0o600 });
        checkRing('a ring file', attempt(() => readRing(path)), ['k2026a', 'k2026b']);
        chmodSync(path, 0o640);
        checkRing('a ring file that others may read', attempt(() => readRing(path)), undefined, 'chmod 600');
        chmodSync(path, 0o600);
        writeFileSync(path, '{"key": [{"secret": AAEC}]}');
        checkRing('a ring file that is no JSON', attempt(() => readRing(path)), undefined, 'is no JSON');
        check('its message quotes nothing', attempt(() => readRing(path)).includes('AAEC'), false);
    } finally {
        rmSync(folder, { recursive: true });
    }
}

function checkRing(what, found, kids, refused) {
    if (refused) {
        const isSo = typeof found === 'string' && found.startsWith('refused: ') && found.includes(refused);
        check(what, isSo ? refused : found, refused);
    } else {
        check(what, typeof found === 'string' ? found : [...found.keys()], kids);
    }
}

function tamper(files) {
    const random = chance(SEED);
    const rows = files.flatMap((file) => file.rows.map((row) => ({ row, file })));
    const good = rows.filter(({ row }) => row.reading === 'valid');
    const values = new Set(good.map(({ row }) => row.value));
    const forms = new Set([...values].map((value) => value.slice(0, 2)));
    check('both forms are tampered with', [...forms].sort(), ['e1', 'v1']);
    const rings = new Map(files.map((file) => [file, ring(file.keys)]));
    const all = [...values];
    const readings = new Map();
    for (let step = 0; step < MUTATIONS; step += 1) {
        const { row, file } = good[step % good.length];
        let value = mutated(row.value, all, random);
        while (random(4) === 0) value = mutated(value, all, random);
        if (values.has(value)) continue;
        const of = { name: row.name, keys: rings.get(file), organization: row.organization, now: row.now };
        const { reading, session } = attempt(() => verifyValue(value, of));
        readings.set(reading, (readings.get(reading) ?? 0) + 1);
        const isWell = ['forged', 'malformed', 'outdated'].includes(reading) && session === null;
        check(`step ${step} of seed ${SEED}: ${JSON.stringify(value)}`, isWell ? 'not good' : reading, 'not good');
    }
    // If they were all malformed, nothing would have reached the keys.
    check('enough of them reach the keys', (readings.get('forged') ?? 0) > MUTATIONS / 4, true);
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const STRANGE = '.=+/ "%;,\0\n\u00a0\u00ff\uff0e';

/** One change of `value`: to a character, to a stretch, or to one of its parts. */
function mutated(value, others, random) {
    const at = random(value.length + 1);
    const end = at + random(value.length - at + 1);
    const parts = value.split('.');
    const part = random(parts.length);
    const other = others[random(others.length)];
    const changes = [
        () => value.slice(0, at) + ALPHABET[random(64)] + value.slice(at + 1),
        () => value.slice(0, at) + STRANGE[random(STRANGE.length)] + value.slice(at + random(2)),
        () => value.slice(0, at) + ALPHABET[random(64)] + value.slice(at),
        () => value.slice(0, at) + value.slice(at + 1 + random(4)),
        () => value.slice(0, at) + value.slice(end) + value.slice(at, end),
        () => value.slice(0, at),
        () => value.slice(0, at) + other.slice(at),
        () => replaced(parts, part, other.split('.')[part] ?? '').join('.'),
        () => replaced(parts, part, lastBitsChanged(parts[part], random)).join('.'),
        () => replaced(parts, part, '').join('.'),
        () => (value.startsWith('v1') ? 'e1' : 'v1') + value.slice(2),
    ];
    return changes[random(changes.length)]();
}

function replaced(parts, place, text) {
    return parts.map((part, index) => (index === place ? text : part));
}

// The bits that base64url leaves unused stand at the end of a part.
function lastBitsChanged(part, random) {
    return part.slice(0, -1) + ALPHABET[ALPHABET.indexOf(part.at(-1)) ^ (1 << random(6))];
}

/** A generator of whole numbers below a bound, the same for the same seed (xorshift32). */
function chance(seed) {
    let state = seed;
    return (bound) => {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return (state >>> 0) % bound;
    };
}

const golden = read('../../tests/fixtures/cookies/v1.json');
const cases = read('cases.json');
driveRows(golden, 'golden');
driveRows(cases, 'case');
driveRequests(cases);
driveRings(cases);
tamper([golden, cases]);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
