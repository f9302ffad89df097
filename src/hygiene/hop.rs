//! Hop-by-hop headers: what one connection says to its other end, and nobody beyond it.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};

use super::{drop_names, names};

/// Drops the headers of RFC 9110, section 7.6.1, and those that `Connection` names.
///
/// A sender must not name a header there that is meant for every recipient, and some do it to make a proxy lose what
/// the server behind it relies on (`Connection: cookie, x-forwarded-for`). So the headers that HTTP defines end to end,
/// and the ones that we or a trusted proxy vouch for, stay whatever `Connection` says.
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if tokens(headers, &CONNECTION).any(names_a_header) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !names::is_end_to_end(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    drop_names(headers, is_hop_by_hop);
}

/// One look at each name that there is costs less than asking the map for each of these, of which there is one or none.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" | "http2-settings"
    )
}

/// The members of a comma-separated list over all lines of a header. A line that is no text has none.
pub(super) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// The options that nearly every `Connection` consists of name no header that is not dropped anyway.
fn names_a_header(option: &str) -> bool {
    !["keep-alive", "close", "upgrade", "te"].iter().any(|usual| option.eq_ignore_ascii_case(usual))
}
