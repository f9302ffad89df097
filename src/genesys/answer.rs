//! Judges the body of a successful answer: a session, or why it is none. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::genesys::EXPIRATION_SECONDS;
use crate::genesys::wire::{Moment, SessionAnswer};
use crate::secret::SecretText;
use crate::session::Session;

/// What is known beside the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) organization_id: &'a str,
    pub(super) expiration_seconds: u32,
    pub(super) received: Timestamp,
}

/// The session that `body` speaks of, or a sentence's end that says why it speaks of none. The sentence never quotes
/// the body, in which a token may stand.
pub(super) fn judge(body: &[u8], asked: Asked<'_>) -> Result<Session, String> {
    let answer: SessionAnswer = serde_json::from_slice(body).map_err(|error| misread(&error))?;
    let id = answer.id.filter(|id| !id.is_empty()).ok_or("id is missing")?;
    if !is_header_safe(&id) {
        return Err("id is longer than 256 characters, or not all of them are visible ASCII".to_owned());
    }
    let token = answer.session_token.filter(|token| !token.is_empty()).ok_or("sessionToken is missing")?;
    if !is_session_token(&token) {
        return Err("sessionToken is not 20 to 256 of A-Z, a-z, 0-9, - and _".to_owned());
    }
    Ok(Session {
        id,
        token: SecretText::new(token),
        organization_id: asked.organization_id.to_owned(),
        issued_at: asked.received,
        expires_at: expiry(answer.expiration_timestamp, asked)?,
    })
}

/// What is wrong with JSON that could not be read: the place alone, since serde's own words quote what stands there.
pub(super) fn misread(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "a field is of another type than agreed" } else { "it is no JSON" };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// Genesys' clock and ours may differ by this much before an expiry counts as too far ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

fn expiry(written: Option<Moment>, asked: Asked<'_>) -> Result<Timestamp, String> {
    let expires_at = match written {
        None => asked.received.plus(Duration::from_secs(asked.expiration_seconds.into())),
        Some(Moment::EpochMillis(millis)) => Timestamp::from_millis(millis),
        Some(Moment::Rfc3339(text)) => Timestamp::from_rfc3339(&text)
            .ok_or("expirationTimestamp is neither an RFC 3339 date and time nor epoch milliseconds")?,
    };
    let furthest = asked.received.plus(Duration::from_secs((*EXPIRATION_SECONDS.end()).into())).plus(CLOCK_SKEW);
    if expires_at <= asked.received {
        Err(format!("expirationTimestamp {expires_at} is past"))
    } else if expires_at > furthest {
        Err(format!("expirationTimestamp {expires_at} is further ahead than any session lasts"))
    } else {
        Ok(expires_at)
    }
}

/// `^[A-Za-z0-9_-]{20,256}$`
fn is_session_token(text: &str) -> bool {
    (20..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The id is told to the site in a header (RFC 9110, section 5.5): a line break in it would be a header of its own.
fn is_header_safe(id: &str) -> bool {
    id.len() <= 256 && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_357_200); // 2026-11-22T14:20:00Z
    const ASKED: Asked<'_> = Asked { organization_id: "org", expiration_seconds: 3600, received: NOW };
    const TOKEN: &str = "abcdefghijklmnopqrst";

    fn judged(body: &str) -> Result<Session, String> {
        judge(body.as_bytes(), ASKED)
    }

    fn expiry_of(timestamp: &str) -> Result<u64, String> {
        judged(&format!(r#"{{"id":"s","sessionToken":"{TOKEN}","expirationTimestamp":{timestamp}}}"#))
            .map(|session| session.expires_at.since(NOW).as_secs())
    }

    #[test]
    fn an_expiry_is_taken_in_every_way_it_may_be_written() {
        for (timestamp, seconds) in [
            ("\"2026-11-22T15:20:00Z\"", 3600),
            ("\"2026-11-22T16:20:00.500+01:00\"", 3600),
            ("1795360800000", 3600),
            ("null", 3600),
            ("1795357201000", 1),
            ("1795443900000", 86_700),
        ] {
            assert_eq!(expiry_of(timestamp), Ok(seconds), "{timestamp}");
        }
        let without = judged(&format!(r#"{{"id":"s","sessionToken":"{TOKEN}","expirationSeconds":60}}"#)).unwrap();
        assert_eq!(without.expires_at, NOW.plus(Duration::from_secs(3600)), "what was asked for counts");
    }

    #[test]
    fn an_expiry_that_no_session_can_have_is_refused() {
        for timestamp in
            ["1795357200000", "\"2026-11-22T14:19:59Z\"", "1795443900001", "\"tomorrow\"", "-1", "[]", "1e999", "\"\""]
        {
            assert!(expiry_of(timestamp).is_err(), "{timestamp}");
        }
    }

    #[test]
    fn a_token_has_the_agreed_form_to_the_letter() {
        let long = "a".repeat(256);
        for (token, good) in [
            (TOKEN, true),
            ("ABCdef012345678_-9xyz", true),
            (long.as_str(), true),
            (&TOKEN[1..], false),
            (&format!("{long}a"), false),
            ("abcdefghijklmnopqrs+", false),
            ("abcdefghijklmnopqrst\\n", false),
            ("abcdefghijklmnopqrsä", false),
            ("", false),
        ] {
            let body = format!(r#"{{"id":"s","sessionToken":"{token}"}}"#);
            assert_eq!(judged(&body).is_ok(), good, "{token}");
        }
    }

    #[test]
    fn what_is_no_session_is_said_without_quoting_it() {
        for (body, reason) in [
            ("", "no JSON"),
            ("<html>", "no JSON"),
            ("[]", "another type"),
            ("{}", "id is missing"),
            (r#"{"id":"","sessionToken":"abcdefghijklmnopqrst"}"#, "id is missing"),
            (r#"{"id":null,"sessionToken":"abcdefghijklmnopqrst"}"#, "id is missing"),
            (r#"{"id":"a\r\nb","sessionToken":"abcdefghijklmnopqrst"}"#, "visible ASCII"),
            (r#"{"id":"s"}"#, "sessionToken is missing"),
            (r#"{"id":"s","sessionToken":"hush hush"}"#, "sessionToken is not"),
            (r#"{"id":"s","sessionToken":{"hush":1}}"#, "another type"),
            (r#"{"id":"s","sessionToken":"abcdefghijklmnopqrst""#, "no JSON"),
        ] {
            let said = judged(body).unwrap_err();
            assert!(said.contains(reason) && !said.contains("hush"), "{body}: {said}");
        }
        let misread = judged(r#"{"id":7,"sessionToken":"hush"}"#).unwrap_err();
        assert_eq!(misread, "a field is of another type than agreed (line 1, column 7)");
    }

    #[test]
    fn a_session_knows_what_it_was_asked_for() {
        let session = judged(&format!(r#"{{"id":"s-1","sessionToken":"{TOKEN}","new":true}}"#)).unwrap();
        assert_eq!((session.id.as_str(), session.token.expose()), ("s-1", TOKEN));
        assert_eq!((session.organization_id.as_str(), session.issued_at), ("org", NOW));
    }
}
