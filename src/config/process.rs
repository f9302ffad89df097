//! The sections about the process itself: `own`, `store`, `admin`, `audit`, `kms`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::front;
use super::raw::Section;
use super::upstream;
use super::value::{self, Unfit};
use crate::admin;
use crate::audit::{self, ClientAddress, Mode};
use crate::outbox::SigningSecret;
use crate::routes::OwnPrefix;
use crate::secret::SecretText;
use crate::store::Place;

/// Where the operator is listened to, unless the file says otherwise.
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// What nobody guesses over a network, 64 bits in hexadecimal.
const SHORTEST_TOKEN: usize = 16;

/// Some three hundred thousand lines: what an editor still opens.
const AUDIT_SIZE: u64 = 100 * 1024 * 1024;

/// Smaller files would be all openings.
const SMALLEST_AUDIT: u64 = 64 * 1024;

/// A terabyte: who wants one file means this.
const LARGEST_AUDIT: u64 = 1 << 40;

/// Four times the rest of a line.
const LONGEST_COMPLIANCE: usize = 1_024;

/// A gigabyte, of the size above.
const AUDIT_FILES: usize = 10;

/// A receiver that only keeps the event answers in far less; one of the few deliveries that go out at once is not to be
/// held by a slow one for longer.
const KMS_TIMEOUT: Duration = Duration::from_secs(5);

/// A weekend and a morning: so long a receiver may be down without anybody noticing.
const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 3_600);

/// `[kms]`, where it names somebody to tell.
#[derive(Debug)]
pub(super) struct Kms {
    pub(super) url: String,
    pub(super) secret: SigningSecret,
    pub(super) ca: Option<PathBuf>,
    pub(super) timeout: Duration,
    pub(super) give_up_after: Duration,
}

/// `[own]`.
pub(super) fn own(section: &mut Section<'_>) -> OwnPrefix {
    let prefix = |value: &DeValue<'_>| {
        OwnPrefix::parse(&value::text(value)?).ok_or_else(|| {
            Unfit::new("is not a prefix for paths", "expected a path with \"/\" at either end")
                .help("write letters, digits, `_` and `-` between slashes: \"/_guestpass/\"")
        })
    };
    section.get("prefix", value::like("^/([A-Za-z0-9_-]+/)+$", prefix)).unwrap_or_default()
}

/// `[store]`.
pub(super) fn store(section: &mut Section<'_>) -> Place {
    let folder = section.surroundings.folder;
    let place = section.get("path", |value| match value::text(value)?.as_str() {
        "off" => Ok(Place::Memory),
        "" => Err(Unfit::new("is empty", "expected a folder").help("write a folder, such as \"state\", or \"off\"")),
        path => Ok(Place::Folder(folder.join(path))),
    });
    if place == Some(Place::Memory) {
        let spot = section.places().of("path");
        section
            .findings
            .warning(&spot, "revocations are forgotten when the process ends", "kept in memory alone")
            .help("name a folder that the process may write in");
    }
    place.unwrap_or_else(|| Place::Folder(folder.join("state")))
}

/// `[kms]`; `None` tells nobody.
pub(super) fn kms(section: &mut Section<'_>) -> Option<Kms> {
    let url = section.optional("webhook_url", value::like("^https?://", webhook_url));
    let is_on = section.places().says("webhook_url");
    let secret = match is_on {
        true => section.need("webhook_secret", webhook_secret),
        false => section.optional("webhook_secret", webhook_secret),
    };
    let ca = section.path("ca");
    if let Some(ca) = &ca {
        upstream::inspect_authorities(section, ca, "the receiver");
    }
    let timeout = section.get("timeout", value::duration).unwrap_or(KMS_TIMEOUT);
    let give_up_after = section.get("give_up_after", value::duration).unwrap_or(GIVE_UP_AFTER);
    let url = url?;
    if value::is_in_the_clear(&url) {
        let spot = section.places().of("webhook_url");
        section
            .findings
            .warning(&spot, "`kms.webhook_url` tells of sessions in the clear", "no TLS")
            .help("write https://");
    }
    Some(Kms { url, secret: secret?, ca, timeout, give_up_after })
}

fn webhook_url(value: &DeValue<'_>) -> value::Reading<String> {
    const HELP: &str = "write scheme, host and path: \"https://kms.example/hooks/guestpass\"";
    let text = value::text(value)?;
    let unfit = |label: &str| Unfit::new("is not an http:// or https:// URL", label).help(HELP);
    let uri: http::Uri = text.parse().map_err(|_| unfit("cannot be understood"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(unfit("has no scheme and host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(unfit("can have no user"));
    }
    Ok(text)
}

fn webhook_secret(value: &DeValue<'_>) -> value::Reading<SigningSecret> {
    const HELP: &str =
        "make one with `openssl rand -base64 32`; the receiver needs the same, perhaps with whsec_ before it";
    let text = value.as_str().ok_or_else(|| Unfit::type_of(value, "text").help(HELP))?;
    SigningSecret::parse(text).map_err(|error| Unfit::new("is no secret for webhooks", error.to_string()).help(HELP))
}

/// `[admin]`, which is asked for its keys also where it does not stand.
pub(super) fn admin(section: &mut Section<'_>) -> admin::Config {
    let help = "write address and port: \"127.0.0.1:9180\"";
    let address = section.get("address", value::like(front::ADDRESS, value::parsed("an address", help)));
    let address = address.unwrap_or(ADMIN_ADDRESS);
    let token = section.optional("token", value::like("^[!-~]{16,}$", token));
    let tls = section.table("tls", front::admin_tls);
    if !address.ip().is_loopback() {
        needs_both(section, token.is_some(), tls.is_some());
    }
    admin::Config { address, token, tls }
}

/// What is asked of a listener that others than this machine can reach.
fn needs_both(section: &mut Section<'_>, has_token: bool, has_tls: bool) {
    let places = section.places().clone();
    let loopback = "or write \"127.0.0.1:9180\" or \"[::1]:9180\", and reach it through a tunnel such as ssh's";
    // What was said of them and is wrong has been reported.
    if !has_tls && !places.says("tls") {
        section
            .findings
            .error(&places.of("address"), "the admin listener needs TLS on this address", "others could listen in")
            .note("without it the token would cross the network in the clear")
            .help(format!("name a certificate by `tls = {{ chain = \"…\", key = \"…\" }}`, {loopback}"));
    }
    if !has_token && !places.says("token") {
        section
            .findings
            .error(&places.of("address"), "the admin listener needs a token on this address", "others could look on")
            .help(format!("set GUESTPASS_ADMIN_TOKEN, {loopback}"));
    }
}

/// `[audit]`: how much of a client's address may be shown, whoever shows it, and the log; `None` writes none.
pub(super) fn audit(section: &mut Section<'_>) -> (ClientAddress, Option<audit::Config>) {
    let folder = section.surroundings.folder;
    let path = section.get("path", |value| match value::text(value)?.as_str() {
        "off" => Ok(None),
        path if Path::new(path).file_name().is_some() && !path.ends_with('/') => Ok(Some(folder.join(path))),
        _ => Err(Unfit::new("is no file's name", "expected a file").help("write \"audit/session.log\", or \"off\"")),
    });
    let mode = section.get("mode", value::one_of(&[("best_effort", Mode::BestEffort), ("required", Mode::Required)]));
    let compliance = section.optional("compliance", compliance);
    let client_address = section.get(
        "client_address",
        value::one_of(&[
            ("full", ClientAddress::Full),
            ("truncated", ClientAddress::Truncated),
            ("none", ClientAddress::None),
        ]),
    );
    let client_address = client_address.unwrap_or_default();
    let max_size = section.get("max_size", value::size(SMALLEST_AUDIT..=LARGEST_AUDIT));
    // The one that is written, and the one before it.
    let keep = section.get("keep", value::number(2..=100_000));
    let path = path.unwrap_or_else(|| Some(folder.join("audit/session.log")));
    let log = path.map(|path| audit::Config {
        path,
        mode: mode.unwrap_or_default(),
        compliance,
        client_address,
        max_size: max_size.unwrap_or(AUDIT_SIZE),
        keep: keep.unwrap_or(AUDIT_FILES),
    });
    (client_address, log)
}

fn compliance(value: &DeValue<'_>) -> value::Reading<String> {
    let text = value::text(value)?;
    if text.len() > LONGEST_COMPLIANCE {
        let label = format!("these are {} bytes", text.len());
        return Err(
            Unfit::new("is too long", label).help(format!("{LONGEST_COMPLIANCE} are the most: it stands on each line"))
        );
    }
    Ok(text)
}

fn token(value: &DeValue<'_>) -> value::Reading<SecretText> {
    const HELP: &str = "make one with `openssl rand -hex 32`";
    let text = value.as_str().ok_or_else(|| Unfit::type_of(value, "text").help(HELP))?;
    // RFC 6750, section 2.1, has no space in it, and no header can hold a control character.
    if text.len() < SHORTEST_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let label = format!("expected {SHORTEST_TOKEN} or more letters, digits and signs");
        return Err(Unfit::new("is no good token", label).help(HELP));
    }
    Ok(SecretText::new(text.to_owned()))
}
