//! Host, path and method lead to a policy and an upstream, whichever way the path is read.

mod table;
mod readings;
mod pattern;
mod own;

pub use self::pattern::{PathPattern, PatternError};

#[doc(hidden)]
pub use self::own::OwnPrefix;
#[doc(hidden)]
pub use self::pattern::HostPattern;
#[doc(hidden)]
pub use self::readings::Rule;
#[doc(hidden)]
pub use self::table::{Read, Table, Unroutable};

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::policy::Rules;

/// One route as configured.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `shop.example`, `*.shop.example` or `*`.
    pub host: HostPattern,
    /// `/account/**`.
    pub path: PathPattern,
    /// Empty means all; GET covers HEAD.
    pub methods: Vec<Method>,
    /// What the gate does here.
    pub rules: Rules,
    /// Which upstream, as its place in the configuration.
    pub upstream: usize,
    /// What an encoded separator does here.
    pub encoded_separators: EncodedSeparators,
    /// Whether ASCII case is ignored.
    pub ignore_case: bool,
}

impl Route {
    /// Whether `other` could never be met because of this route, or the other way round: the same hosts, the same paths
    /// and a method in common.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        let shared = |method: &Method| other.methods.contains(method);
        self.host == other.host
            && self.path.says_the_same(&other.path, self.ignore_case || other.ignore_case)
            && self.methods.is_empty() == other.methods.is_empty()
            && (self.methods.is_empty() || self.methods.iter().any(shared))
    }
}

/// What happens to a path that meets another route once an encoded `/` or `\\` in it is read as a separator.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSeparators {
    /// It is refused.
    #[default]
    Judge,
    /// The route that the path meets as it was received settles it: for a site that is known to leave encoded
    /// separators alone. Anything else that makes readings differ is refused here too.
    Pass,
}

/// The route that a request met. Stands in its extensions as `Matched`.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The path pattern as configured; `/**` for the implied one.
    pub pattern: Arc<str>,
    /// Its place in the configuration; the implied one's is behind the last.
    pub place: usize,
    /// What the gate does.
    pub rules: Arc<Rules>,
    /// Which upstream, as its place in the configuration.
    pub upstream: usize,
}

/// The methods that a request's headers ask the site to take instead of the request's own: `X-HTTP-Method`,
/// `X-HTTP-Method-Override` and `X-Method-Override`, in every spelling that CGI-like interfaces make the same of them,
/// and in upper case, as the sites that heed them read them. Nothing is allocated where there are none.
#[doc(hidden)]
#[must_use]
pub fn override_methods(headers: &HeaderMap) -> Vec<Method> {
    const NAMES: [&[u8]; 3] = [b"x-http-method", b"x-http-method-override", b"x-method-override"];
    let same = |a: &u8, b: &u8| a == b || (*b == b'-' && !a.is_ascii_alphanumeric());
    let is_override = |name: &[u8]| {
        NAMES.iter().any(|known| known.len() == name.len() && name.iter().zip(*known).all(|(a, b)| same(a, b)))
    };
    let mut methods = Vec::new();
    for (_, value) in headers.iter().filter(|(name, _)| is_override(name.as_str().as_bytes())) {
        // Of a list, which repeated headers become on the way, sites take the first.
        let first = value.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        // What is no method is none to the site either.
        if let Ok(method) = Method::from_bytes(&first.to_ascii_uppercase())
            && !methods.contains(&method)
        {
            methods.push(method);
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn override_headers_are_found_in_every_spelling() {
        let mut headers = HeaderMap::new();
        assert!(override_methods(&headers).is_empty());
        for (name, value) in [
            ("x-http-method", "delete"),
            ("x_http.method-override", " PATCH , GET"),
            ("x-method-override", "DELETE"),
            ("x-method-override", "not a method"),
            ("x-http-methods", "PUT"),
            ("xahttp-method", "PUT"),
        ] {
            headers.append(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        assert_eq!(override_methods(&headers), [Method::DELETE, Method::PATCH]);
    }
}
