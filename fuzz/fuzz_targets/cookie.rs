//! Reading a cookie's value: only what a key of the ring has signed or sealed is ever good, and then it says what was
//! signed. What a key vouches for is worked out here once more, by another implementation of the cryptography.

#![no_main]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::{aead, hkdf, hmac};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use guestpass::clock::Timestamp;
use guestpass::cookie::{Config, Jar, Key, KeyId, KeyRing, Reading};
use guestpass::random::SystemRandom;
use guestpass::secret::SecretBytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NAME: &str = "genesys_session";
const ORGANIZATION: &str = "6a1c5a39-6f0b-4d0c-9a57-0d6a8c6f7d11";
const NOW: u64 = 1_790_000_100;

/// The keys of the golden cookies, whose values the corpus begins with.
const KEYS: [(&str, &str); 2] = [
    ("k2026a", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    ("k2026b", "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoOEhYaHiImKi4yNjo+QkZKT"),
];

static JAR: LazyLock<Jar> = LazyLock::new(|| {
    let [signing, verifying] = KEYS.map(|(id, secret)| {
        Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(BASE64_STANDARD.decode(secret).unwrap()))
    });
    let ring = KeyRing::new(signing, vec![verifying]).unwrap();
    Jar::new(Config::default(), ring, ORGANIZATION.to_owned(), Arc::new(SystemRandom))
});

fuzz_target!(|input: &[u8]| {
    judged_as_a_value(input);
    judged_as_signed_claims(input);
});

fn judged_as_a_value(value: &[u8]) {
    let (verdict, flaw) = JAR.judge(value, Timestamp::from_seconds(NOW));
    assert_eq!(flaw.is_none(), verdict.reading() == Reading::Valid);
    match verdict.session() {
        Some(session) => {
            let claims = vouched_for(value).expect("no key has made this");
            says(&claims, session);
        }
        None => assert_ne!(verdict.reading(), Reading::Valid),
    }
    // What a key vouches for was once written by us, and is at least not called a forgery.
    let is_ours = vouched_for(value).is_some();
    assert!(!is_ours || verdict.reading() != Reading::Forged);
}

/// The input under a good signature, as only whoever holds the key can make it.
fn judged_as_signed_claims(claims: &[u8]) {
    let mut value = format!("v1.{}.{}", KEYS[0].0, BASE64_URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&signing_key(KEYS[0].1), &signed_text(value.as_bytes()));
    value.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(tag, &mut value);
    let (verdict, _) = JAR.judge(value.as_bytes(), Timestamp::from_seconds(NOW));
    assert!(!matches!(verdict.reading(), Reading::Forged | Reading::Absent | Reading::Revoked | Reading::Conflict));
    let Some(session) = verdict.session() else { return };
    says(claims, session);

    // One changed character, anywhere, and nobody vouches for it any more.
    let place = claims.iter().fold(7, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let mut changed = value.into_bytes();
    let place = place % changed.len();
    changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
    assert_ne!(JAR.judge(&changed, Timestamp::from_seconds(NOW)).0.reading(), Reading::Valid);
}

/// A good session says what the claims say, which are an object of five members.
fn says(claims: &[u8], session: &guestpass::session::Session) {
    let claims: Value = serde_json::from_slice(claims).expect("claims are JSON");
    assert_eq!(claims.as_object().map(serde_json::Map::len), Some(5));
    assert_eq!(claims["sid"], session.id.as_str());
    assert_eq!(claims["tok"], session.token.expose());
    assert_eq!(claims["org"], ORGANIZATION);
    assert_eq!(session.organization_id, ORGANIZATION);
    let issued = claims["iat"].as_u64().expect("a whole number");
    let expires = claims["exp"].as_u64().expect("a whole number");
    assert_eq!(session.issued_at, Timestamp::from_seconds(issued));
    assert!(expires > NOW && session.expires_at == Timestamp::from_seconds(expires));
}

/// The claims of a value that one of the keys has made for this cookie's name.
fn vouched_for(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let [version, id, third, fourth] = text.split('.').collect::<Vec<_>>().try_into().ok()?;
    let (_, secret) = KEYS.into_iter().find(|(known, _)| *known == id)?;
    let (third, fourth) = (BASE64_URL_SAFE_NO_PAD.decode(third).ok()?, BASE64_URL_SAFE_NO_PAD.decode(fourth).ok()?);
    match version {
        "v1" => {
            let (signed, _) = text.rsplit_once('.')?;
            hmac::verify(&signing_key(secret), &signed_text(signed.as_bytes()), &fourth).ok()?;
            Some(third)
        }
        "e1" => {
            let key = aead::UnboundKey::new(&aead::AES_256_GCM, &derived(secret, b"guestpass v1 seal")).ok()?;
            let nonce = aead::Nonce::try_assume_unique_for_key(&third).ok()?;
            let mut text = fourth;
            let bound = aead::Aad::from(signed_text(format!("e1.{id}").as_bytes()));
            let length = aead::LessSafeKey::new(key).open_in_place(nonce, bound, &mut text).ok()?.len();
            text.truncate(length);
            Some(text)
        }
        _ => None,
    }
}

fn signing_key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &derived(secret, b"guestpass v1 sign"))
}

fn signed_text(text: &[u8]) -> Vec<u8> {
    [b"guestpass cookie\0", NAME.as_bytes(), b"\0", text].concat()
}

fn derived(secret: &str, info: &[u8]) -> [u8; 32] {
    let secret = BASE64_STANDARD.decode(secret).unwrap();
    let mut key = [0; 32];
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret);
    pseudorandom.expand(&[info], hkdf::HKDF_SHA256).unwrap().fill(&mut key).unwrap();
    key
}
