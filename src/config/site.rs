//! The sections of what happens where: `route`.

use http::Method;
use toml::de::DeValue;

use super::form::Form;
use super::raw::Section;
use super::value::{self, Reading, Unfit};
use super::visitor::path_pattern;
use crate::policy::{OnMintFailure, OnMissing, Policy, Rules};
use crate::routes::{EncodedSeparators, HostPattern, Route};

/// One `[[route]]`. `upstreams` are the names that it can lead to; `None` is one that could not be read.
pub(super) fn route(section: &mut Section<'_>, upstreams: &[Option<String>]) -> Option<Route> {
    let path = section.need("path", path_pattern);
    let policies = [("open", Policy::Open), ("issue", Policy::Issue), ("require", Policy::Require)];
    let policy = section.get("session", value::one_of(&policies)).unwrap_or_default();
    let host = section.get("host", host_pattern);
    let methods = section.list("methods", value::like("^[^a-z]+$", method)).unwrap_or_default();
    let rules = rules(section, policy);
    let encoded_separators = section.get(
        "encoded_separators",
        value::one_of(&[("judge", EncodedSeparators::Judge), ("pass", EncodedSeparators::Pass)]),
    );
    let ignore_case = section.get("ignore_case", value::flag);
    let upstream = section.get("upstream", value::text);
    let upstream = upstream.map_or(Some(0), |name| place_of(section, upstreams, &name));
    Some(Route {
        host: host.unwrap_or(HostPattern::ANY),
        path: path?,
        methods,
        rules,
        upstream: upstream?,
        encoded_separators: encoded_separators.unwrap_or_default(),
        // What is protected is protected in every spelling: many servers look files up without regard to case.
        ignore_case: ignore_case.unwrap_or(policy == Policy::Require),
    })
}

fn rules(section: &mut Section<'_>, policy: Policy) -> Rules {
    let default = Rules::of(policy);
    let on_missing = section.get("on_missing", on_missing).unwrap_or(default.on_missing);
    let outcomes = [("pass", OnMintFailure::Pass), ("refuse", OnMintFailure::Refuse)];
    let on_mint_failure = section.get("on_mint_failure", value::one_of(&outcomes)).unwrap_or(default.on_mint_failure);
    let places = section.places().clone();
    if places.says("on_missing") && policy != Policy::Require {
        section
            .findings
            .error(&places.of("on_missing"), format!("`on_missing` is not asked on `{policy}`"), "says nothing here")
            .help("take it away, or write `session = \"require\"` beside it");
    }
    let mints = policy == Policy::Issue || policy == Policy::Require && on_missing == OnMissing::Issue;
    if places.says("on_mint_failure") && !mints {
        section
            .findings
            .error(
                &places.of("on_mint_failure"),
                "`on_mint_failure` is asked only where sessions are made",
                "says nothing here",
            )
            .help("take it away, or write `session = \"issue\"`, or `on_missing = \"issue\"` beside `require`");
    }
    if mints && policy == Policy::Require && on_mint_failure == OnMintFailure::Pass {
        section
            .findings
            .warning(
                &places.of("on_mint_failure"),
                "a protected route stays closed while Genesys does not answer",
                "is not heeded on `require`",
            )
            .help("write `on_mint_failure = \"refuse\"`");
    }
    let shadow = section.get("shadow", value::flag).unwrap_or(false);
    if shadow && policy == Policy::Open {
        section
            .findings
            .error(&places.of("shadow"), "nothing is judged on `open`", "says nothing here")
            .help("take it away, or write `session = \"require\"` beside it");
    } else if shadow {
        section
            .findings
            .warning(&places.of("shadow"), "this route is in shadow", "NOTHING IS REFUSED on it")
            .note("it is judged, and the access log says under `shadow` what would have been refused")
            .help("take it away once the log shows what it should");
    }
    Rules { policy, on_missing, on_mint_failure, shadow }
}

fn on_missing(value: &DeValue<'_>) -> Reading<OnMissing> {
    const HELP: &str = "write \"refuse\", \"issue\" or \"redirect:/path\"";
    const REDIRECT: Form = Form::Text(Some(r"^redirect:/([^/\\].*)?$"));
    let form = || REDIRECT.or_word("refuse").or_word("issue");
    let text = value::text(value).map_err(|unfit| unfit.help(HELP).form(form()))?;
    match text.as_str() {
        "refuse" => Ok(OnMissing::Refuse),
        "issue" => Ok(OnMissing::Issue),
        other => {
            let Some(target) = other.strip_prefix("redirect:") else {
                return Err(Unfit::new("is none of its values", "there is no such value").help(HELP));
            };
            // `//host` and, as browsers read it, `/\host` lead to another site.
            let stays = target.starts_with('/') && !target[1..].starts_with(['/', '\\']);
            if !stays || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Unfit::new("does not redirect to a path", "expected a path of the same site")
                    .help("write \"redirect:/login\""));
            }
            Ok(OnMissing::Redirect(target.to_owned()))
        }
    }
}

fn host_pattern(value: &DeValue<'_>) -> Reading<HostPattern> {
    HostPattern::parse(&value::text(value)?).map_err(|error| {
        Unfit::new("is not a host pattern", error.to_string())
            .help("write \"shop.example\", \"*.shop.example\" or \"*\"")
    })
}

fn method(value: &DeValue<'_>) -> Reading<Method> {
    const HELP: &str = "write methods in capitals: [\"GET\", \"POST\"]";
    let method: Method = value::parsed("a method", HELP)(value)?;
    // Methods are case-sensitive (RFC 9110, section 9.1), so that `get` would match no request there is.
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Unfit::new("is not a method", "methods are case-sensitive").help(HELP));
    }
    Ok(method)
}

fn place_of(section: &mut Section<'_>, upstreams: &[Option<String>], name: &str) -> Option<usize> {
    let place = upstreams.iter().position(|known| known.as_deref() == Some(name));
    // One without a name is reported where it stands, and may well be the one that is meant.
    if place.is_none() && upstreams.iter().all(Option::is_some) {
        let names = upstreams.iter().flatten().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let spot = section.places().of("upstream");
        section
            .findings
            .error(&spot, format!("there is no upstream \"{name}\""), "no [[upstream]] has this name")
            .help(if names.is_empty() {
                "add an [[upstream]] of this name".to_owned()
            } else {
                format!("there is {names}")
            });
    }
    place
}
