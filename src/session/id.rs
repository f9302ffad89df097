//! What a session's id can look like, for people who type one.
//!
//! Genesys promises no form; its ids are UUIDs in lower case (RFC 9562, section 4). What is certainly no whole id is told
//! from what may be one, since whoever takes back a session that is nobody's believes that it is done.

/// Longer than any id that Genesys' answers are believed with.
const LONGEST: usize = 256;

/// The lengths of a UUID's groups.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// Why a text is no session's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Nothing, or more than any id has.
    #[error("has 1 to {LONGEST} characters")]
    Length,
    /// A space, or something that no header can hold.
    #[error("has neither spaces nor other characters beyond visible ASCII")]
    Characters,
    /// The beginning of one, as the demo shows it.
    #[error("is the whole of it, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6, and not its beginning")]
    Beginning,
    /// One in capitals.
    #[error("is compared letter by letter: write it in lower case, as the access log has it")]
    Capitals,
}

/// Whether `text` may be a session's id.
///
/// # Errors
///
/// When no session has such an id. The error's words go on from "a session's id".
pub fn check_id(text: &str) -> Result<(), BadId> {
    if text.is_empty() || text.len() > LONGEST {
        return Err(BadId::Length);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BadId::Characters);
    }
    let is_hexadecimal = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups: Vec<&str> = text.split('-').collect();
    let last = groups.len() - 1;
    let begins_a_uuid = last < GROUPS.len()
        && groups.iter().all(|group| is_hexadecimal(group))
        && groups.iter().zip(GROUPS).take(last).all(|(group, length)| group.len() == length)
        && groups[last].len() <= GROUPS[last];
    match begins_a_uuid {
        true if text.len() < GROUPS.iter().sum::<usize>() + GROUPS.len() - 1 => Err(BadId::Beginning),
        true if text.bytes().any(|byte| byte.is_ascii_uppercase()) => Err(BadId::Capitals),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certainly_no_whole_id_is_told_from_what_may_be_one() {
        let whole = "0f0db0c5-5717-4562-b3fc-2c963f66afa6";
        for (text, judged) in [
            (whole, Ok(())),
            ("a-name-of-another-kind", Ok(())),
            ("0f0db0c5571745623b3fc2c963f66afa", Ok(())),
            ("", Err(BadId::Length)),
            (&"x".repeat(257), Err(BadId::Length)),
            ("0f0db0c5-5717 -4562-b3fc-2c963f66afa6", Err(BadId::Characters)),
            (" 0f0db0c5-5717-4562-b3fc-2c963f66afa6", Err(BadId::Characters)),
            ("sessión", Err(BadId::Characters)),
            ("0f0db0c5", Err(BadId::Beginning)),
            ("0f0db0c5-", Err(BadId::Beginning)),
            ("0F0DB0C5", Err(BadId::Beginning)),
            (&whole[..35], Err(BadId::Beginning)),
            (&whole.to_uppercase(), Err(BadId::Capitals)),
        ] {
            assert_eq!(check_id(text), judged, "{text}");
        }
    }
}
