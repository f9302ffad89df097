//! The sections about a visitor's session: `genesys`, `session`, `cookie`, `keys`.

use std::time::Duration;

use toml::de::DeValue;

use super::env;
use super::findings::{At, Spot};
use super::raw::{Places, Section};
use super::value::{self, Unfit};
use crate::cookie::{self, Protection, SameSite};
use crate::gate::{IssueOn, MintLimit};
use crate::genesys::{self, Channel, ClientAuth, Payload};
use crate::keys;
use crate::routes::PathPattern;
use crate::secret::{SecretBytes, SecretText};

/// The API of the region that Genesys itself runs most organizations in.
const BASE_URL: &str = "https://api.mypurecloud.com";

/// What it and the tokens' address begin with.
const URL: &str = "^https?://";

/// A visitor waits this long for a page without leaving; past it the page goes out as the route's failure rule says.
const MINT_TIMEOUT: Duration = Duration::from_secs(3);

/// A carrier's whole network can share an address, so browsers get plenty; what is no browser hardly needs any.
const MINT_LIMIT: MintLimit = MintLimit { per: Duration::from_secs(60), browsers: 600, others: 10 };

/// A session that waited longer is thrown away: of the shortest that Genesys makes, four fifths are left then.
const WARM_POOL_MAX_AGE: Duration = Duration::from_secs(60);

/// Ten times of what Genesys grants an organization in the same second: more is a slip of the keyboard.
const LARGEST_WARM_POOL: usize = 1_000;

/// `[session]`: what goes to Genesys, and what the gate goes by.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) payload: Option<Payload>,
    pub(super) warm_pool: WarmPool,
    pub(super) issue_on: IssueOn,
    pub(super) never_issue: Vec<PathPattern>,
    pub(super) mint_limit: MintLimit,
}

/// How much is made ahead. What it can be refilled with is said in `[genesys]`.
#[derive(Debug)]
pub(super) struct WarmPool {
    pub(super) size: usize,
    pub(super) max_age: Duration,
    pub(super) places: Places,
}

/// `[genesys]`, and out of it `mint_timeout`, which is the gate's.
pub(super) fn genesys(section: &mut Section<'_>, payload: Option<Payload>) -> (Option<genesys::Config>, Duration) {
    let mint_timeout = section.get("mint_timeout", value::duration).unwrap_or(MINT_TIMEOUT);
    let config = provider(section, payload);
    if let Some(config) = &config
        && mint_timeout < config.attempt_timeout
    {
        let title = "`genesys.mint_timeout` is shorter than `genesys.attempt_timeout`";
        let spot = section.places().of("mint_timeout");
        section
            .findings
            .warning(&spot, title, "ends every attempt early")
            .help("make it long enough for an attempt and a second one");
    }
    (config, mint_timeout)
}

fn provider(section: &mut Section<'_>, payload: Option<Payload>) -> Option<genesys::Config> {
    // One provider so far, so that nothing depends on the answer; a wrong one is still reported.
    section.get("provider", value::one_of(&[("rest", ())]));
    let base_url = section.optional("base_url", value::like(URL, url)).unwrap_or_else(|| BASE_URL.to_owned());
    let token_url =
        section.optional("token_url", value::like(URL, url)).unwrap_or_else(|| format!("{base_url}/oauth/token"));
    let client_auth =
        section.get("client_auth", value::one_of(&[("body", ClientAuth::Body), ("basic", ClientAuth::Basic)]));
    let client_id = section.need("client_id", value::text);
    let client_secret = section.need("client_secret", value::text).map(SecretText::new);
    let organization_id = section.need("organization_id", organization_id);
    let region = section.optional("region", value::text);
    let scopes = section.list("scopes", value::text).unwrap_or_default();
    let rate_limit = section.get("rate_limit", value::number(1..=100_000));
    let attempt_timeout = section.get("attempt_timeout", value::duration);
    let max_attempts = section.get("max_attempts", value::number(1..=10));
    let breaker_failures = section.get("breaker_failures", value::number(1..=1000));
    let breaker_retry = section.get("breaker_retry", value::duration);
    need_scope(section, &scopes);
    warn_of_clear_text(section, "base_url", &base_url);
    warn_of_clear_text(section, "token_url", &token_url);
    let defaults = genesys::Config::new(base_url, client_id?, client_secret?, organization_id?);
    Some(genesys::Config {
        token_url,
        client_auth: client_auth.unwrap_or_default(),
        region: region.unwrap_or_else(|| defaults.region.clone()),
        scopes,
        payload: payload?,
        rate_limit: rate_limit.unwrap_or(defaults.rate_limit),
        attempt_timeout: attempt_timeout.unwrap_or(defaults.attempt_timeout),
        max_attempts: max_attempts.unwrap_or(defaults.max_attempts),
        breaker_failures: breaker_failures.unwrap_or(defaults.breaker_failures),
        breaker_retry: breaker_retry.unwrap_or(defaults.breaker_retry),
        ..defaults
    })
}

fn url(value: &DeValue<'_>) -> value::Reading<String> {
    const HELP: &str = "write scheme and host: \"https://api.mypurecloud.ie\"";
    let text = value::text(value)?;
    let unfit = |label: &str| Unfit::new("is not an http:// or https:// URL", label).help(HELP);
    let uri: http::Uri = text.parse().map_err(|_| unfit("cannot be understood"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(unfit("has no scheme and host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
        return Err(unfit("can have neither a user nor a query"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn organization_id(value: &DeValue<'_>) -> value::Reading<String> {
    let id = value::text(value)?;
    genesys::check_organization_id(&id).map_err(|error| {
        Unfit::new("is no organization id", error.to_string())
            .help("write the id that Genesys Cloud shows under Admin, Organization Settings")
    })?;
    Ok(id)
}

fn need_scope(section: &mut Section<'_>, scopes: &[String]) {
    let scope = genesys::REQUIRED_SCOPE;
    if !scopes.is_empty() && scopes.iter().all(|granted| granted != scope) {
        let spot = section.places().of("scopes");
        section
            .findings
            .error(&spot, format!("the scope {scope} is missing"), "without it no session can be made")
            .help("grant it to the OAuth client in Genesys Cloud and add it here, or say nothing of scopes");
    }
}

fn warn_of_clear_text(section: &mut Section<'_>, key: &'static str, url: &str) {
    if value::is_in_the_clear(url) && section.places().says(key) {
        let spot = section.places().of(key);
        section
            .findings
            .warning(&spot, format!("`genesys.{key}` sends the client's secret in the clear"), "no TLS")
            .help("write https://");
    }
}

/// `[session]`.
pub(super) fn session(section: &mut Section<'_>) -> Session {
    let payload = payload(section);
    let issue_on = section.get("issue_on", value::one_of(&[("visit", IssueOn::Visit), ("any", IssueOn::Any)]));
    let never_issue = section.list("never_issue", path_pattern);
    let mint_limit = section.table("mint_limit", |section| MintLimit {
        per: section.get("per", value::duration).unwrap_or(MINT_LIMIT.per),
        browsers: section.get("browsers", value::number(1..=u32::MAX)).unwrap_or(MINT_LIMIT.browsers),
        others: section.get("others", value::number(1..=u32::MAX)).unwrap_or(MINT_LIMIT.others),
    });
    let warm_pool = section.table("warm_pool", |section| WarmPool {
        size: section.get("size", value::number(0..=LARGEST_WARM_POOL)).unwrap_or(0),
        max_age: section.get("max_age", value::duration).unwrap_or(WARM_POOL_MAX_AGE),
        places: section.places().clone(),
    });
    Session {
        payload,
        warm_pool,
        issue_on: issue_on.unwrap_or_default(),
        never_issue: never_issue.unwrap_or_default(),
        mint_limit,
    }
}

fn payload(section: &mut Section<'_>) -> Option<Payload> {
    let channel = section.get(
        "channel",
        value::one_of(&[("web", Channel::Web), ("mobile", Channel::Mobile), ("desktop", Channel::Desktop)]),
    );
    let expiration = section.get("expiration_seconds", value::number(genesys::EXPIRATION_SECONDS));
    let metadata = section.texts("metadata");
    let metadata = match metadata {
        None if !section.places().says("metadata") => [("source".to_owned(), "guestpass".to_owned())].into(),
        said => said?,
    };
    let length = genesys::metadata_size(&metadata);
    if length > genesys::METADATA_LIMIT {
        let spot = section.places().of("metadata");
        let limit = genesys::METADATA_LIMIT;
        section
            .findings
            .error(&spot, format!("`{}` is too long", spot.key), format!("{length} bytes as JSON"))
            .help(format!("Genesys takes at most {limit} bytes: say less"));
    }
    Some(Payload {
        channel: channel.unwrap_or_default(),
        expiration_seconds: expiration.unwrap_or_else(|| Payload::default().expiration_seconds),
        metadata,
    })
}

/// A path in which `*` and `**` stand for segments.
pub(super) fn path_pattern(value: &DeValue<'_>) -> value::Reading<PathPattern> {
    PathPattern::parse(&value::text(value)?).map_err(|error| {
        Unfit::new("is not a path pattern", error.to_string())
            .help("write \"/account/**\", \"/shop/*/cart\" or \"/login\"")
    })
}

/// `[cookie]`, and out of it `strip_from_upstream`, which is the gate's.
pub(super) fn cookie(section: &mut Section<'_>) -> (cookie::Config, bool) {
    let strip_from_upstream = section.get("strip_from_upstream", value::flag).unwrap_or(true);
    let default = cookie::Config::default();
    let name = section.get("name", value::like("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", cookie_name)).unwrap_or(default.name);
    let protection =
        section.get("protection", value::one_of(&[("signed", Protection::Signed), ("sealed", Protection::Sealed)]));
    let same_site = section.get(
        "same_site",
        value::one_of(&[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)]),
    );
    let domain = section.optional("domain", cookie_domain);
    let path = section.get("path", value::like("^/[!-:<-~]*$", cookie_path)).unwrap_or(default.path);
    let expiry_margin = section.get("expiry_margin", value::duration_or_zero).unwrap_or(default.expiry_margin);
    // RFC 6265bis, section 4.1.3.2: browsers drop a cookie of this prefix that is not host-only and for every path.
    // They compare the prefix without regard to case. `__Secure-` asks for Secure alone, which is always set.
    if name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Host-")) {
        if domain.is_some() {
            let spot = section.places().of("domain");
            section
                .findings
                .error(&spot, "a `__Host-` cookie cannot have a `domain`", "browsers drop the cookie")
                .help("take `domain` away, or name the cookie without `__Host-`");
        }
        if path != "/" {
            let spot = section.places().of("path");
            section
                .findings
                .error(&spot, "a `__Host-` cookie needs `path = \"/\"`", "browsers drop the cookie")
                .help("write `path = \"/\"`, or name the cookie without `__Host-`");
        }
    }
    let protection = protection.unwrap_or(default.protection);
    let same_site = same_site.unwrap_or(default.same_site);
    (cookie::Config { name, protection, same_site, domain, path, expiry_margin }, strip_from_upstream)
}

fn cookie_name(value: &DeValue<'_>) -> value::Reading<String> {
    // RFC 9110, section 5.6.2, which RFC 6265, section 4.1.1, asks of a name.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = value::text(value)?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Unfit::new("is not a cookie's name", "not a token of RFC 6265")
            .help("write letters, digits, `-` and `_`: \"genesys_session\""));
    }
    Ok(name)
}

fn cookie_domain(value: &DeValue<'_>) -> value::Reading<String> {
    const HELP: &str = "write the name of the site without a dot before it: \"example.com\"";
    let domain = value::text(value)?;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Browsers take no address as a domain (RFC 6265, section 5.1.3).
    let is_address = domain.parse::<std::net::IpAddr>().is_ok();
    if domain.len() > 253 || is_address || !domain.split('.').all(is_label) {
        return Err(Unfit::new("is not a domain", "expected the name of a host").help(HELP));
    }
    Ok(domain.to_ascii_lowercase())
}

fn cookie_path(value: &DeValue<'_>) -> value::Reading<String> {
    let path = value::text(value)?;
    // RFC 6265, section 4.1.1: no control characters, no semicolon. A space would have to be encoded in a path.
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        return Err(Unfit::new("is not a cookie's path", "expected a path").help("write \"/\" or \"/shop\""));
    }
    Ok(path)
}

/// `[keys]`.
pub(super) fn keys(section: &mut Section<'_>) -> Option<keys::Config> {
    let source = keys_source(section);
    let help = "write \"off\", or how old a key may become: \"90d\"";
    let rotate_every = section.get("rotate_every", |value| match value.as_str() {
        Some("off") => Ok(None),
        _ => match value::duration_or_zero(value) {
            // Each key goes on verifying for a day after it has signed, so that they would only pile up.
            Ok(every) if every < keys::LONGEST_SESSION => {
                Err(Unfit::new("is less than a day", "expected a day or more").help(help))
            }
            Ok(every) => Ok(Some(every)),
            Err(unfit) => Err(unfit.help(help).or_word("off")),
        },
    });
    let stage_for = section.get("stage_for", value::duration).unwrap_or(keys::Config::STAGE_FOR);
    let rotate_every = rotate_every.unwrap_or(Some(keys::Config::ROTATE_EVERY));
    if rotate_every.is_some_and(|every| every <= stage_for) {
        let (stage, every) = (section.places().of("stage_for"), section.places().of("rotate_every"));
        section
            .findings
            .error(&stage, "a key would be replaced before it signs", "this is longer")
            .beside(&every, "`keys.rotate_every`")
            .help("write less than `rotate_every`; \"10m\" is enough for most");
    }
    Some(keys::Config { source: source?, rotate_every, stage_for })
}

fn keys_source(section: &mut Section<'_>) -> Option<keys::Source> {
    let current = section.optional("secret", value::secret);
    let file = section.path("file");
    let previous = previous_secret(section);
    let (secret, ring) = (section.places().of("secret"), section.places().of("file"));
    match (section.places().says("secret"), file) {
        (true, Some(_)) => {
            section
                .findings
                .error(&secret, "there are both a secret and a key ring", "one of the two is enough")
                .beside(&ring, "`keys.file`")
                .help("take one of them away, here or in the environment (HMAC_SECRET)");
            None
        }
        (true, None) => Some(keys::Source::Secret { current: current?, previous }),
        (false, Some(file)) => {
            if previous.is_some() {
                let spot = Spot { key: "keys.file".to_owned(), at: At::Variable(env::PREVIOUS_SECRET.to_owned()) };
                section
                    .findings
                    .error(&spot, "HMAC_SECRET_PREVIOUS goes with HMAC_SECRET, not with a key ring", "")
                    .help("unset it: the ring file knows which keys still verify");
            }
            let source = keys::Source::File(file);
            if let Err(error) = keys::load(&source) {
                let finding = section.findings.error(&ring, error.to_string(), "this key ring");
                if let Some(source) = std::error::Error::source(&error) {
                    finding.note(format!("the system says: {source}"));
                }
                if let Some(advice) = error.advice() {
                    finding.help(advice);
                }
            }
            Some(source)
        }
        (false, None) => {
            section
                .findings
                .error(&section.places().header(), "no key to sign cookies with", "`keys` needs `secret` or `file`")
                .help("set HMAC_SECRET or HMAC_SECRET_FILE (32 bytes or more), or write `file = \"keys.toml\"`");
            None
        }
    }
}

fn previous_secret(section: &mut Section<'_>) -> Option<SecretBytes> {
    let spot = |name: &str| Spot { key: "keys.secret".to_owned(), at: At::Variable(name.to_owned()) };
    match env::read(env::PREVIOUS_SECRET, section.surroundings.env) {
        Ok(variable) => {
            let variable = variable?;
            let text = DeValue::String(variable.text.into());
            section.accept(&spot(&variable.name), value::secret(&text))
        }
        Err(error) => {
            section.findings.error(&spot(error.variable()), error.to_string(), "").help(error.help());
            None
        }
    }
}
