//! The sections on the visitors' side: `listen`, `tls`, `limits`, `trust`, `log`, `shutdown`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::findings::Spot;
use super::raw::{Entry, Section};
use super::value::{self, Unfit};
use crate::access_log;
use crate::context::{Scheme, Trust};
use crate::server::{Limits, Listener, ProxyProtocol};
use crate::tls::{self, CertificateFiles, Version};

/// What browsers assume where a URL names no port (RFC 9110, section 4.2.2).
const HTTPS_PORT: u16 = Scheme::Https.default_port();

/// What an orchestrator commonly waits between its request to stop and its order to (Docker 10 s, Kubernetes 30 s).
const GRACE: Duration = Duration::from_secs(30);

/// The session cookie alone can have 4,096 bytes, and hyper's own smallest buffer for a head has this many.
const SMALLEST_HEAD: u64 = 8 * 1024;

/// A head is held in memory whole, for every connection at once.
const LARGEST_HEAD: u64 = 1024 * 1024;

/// An IP address and a port.
pub(super) const ADDRESS: &str = r"^([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}$";

/// `[tls]`, of which HSTS is not the TLS room's business.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) min_version: Version,
    pub(super) hsts: Option<Duration>,
    pub(super) certificates: Vec<Entry<CertificateFiles>>,
}

/// One `[[listen]]`.
pub(super) fn listener(section: &mut Section<'_>) -> Option<Listener> {
    let address = section.need(
        "address",
        // A name is not looked up: it may mean several addresses, and other ones tomorrow.
        value::like(
            ADDRESS,
            value::parsed::<SocketAddr>(
                "an IP address and a port",
                "write both: \"0.0.0.0:8443\" for all of IPv4, \"[::]:8443\", or \"127.0.0.1:8443\" for this machine alone",
            ),
        ),
    );
    let redirects = section.get("redirect_to_https", value::flag).unwrap_or(false);
    let tls = section.get("tls", value::flag);
    let scheme = section.get("scheme", value::one_of(&[("https", Scheme::Https), ("http", Scheme::Http)]));
    let port = section.get("https_port", value::number(1..=u16::MAX));
    let proxy_protocol = section.get(
        "proxy_protocol",
        value::one_of(&[
            ("off", ProxyProtocol::Off),
            ("accept", ProxyProtocol::Accept),
            ("require", ProxyProtocol::Require),
        ]),
    );
    let tls = tls.unwrap_or(!redirects);
    options_say_something(section, redirects, tls, scheme);
    // What a redirecting listener is reached by; a TLS listener's scheme is settled, whatever was said.
    let scheme = if redirects { Scheme::Http } else { scheme.filter(|_| !tls).unwrap_or(Scheme::Https) };
    Some(Listener {
        address: address?,
        tls: tls && !redirects,
        scheme,
        proxy_protocol: proxy_protocol.unwrap_or_default(),
        redirect_to_https: redirects.then_some(port.unwrap_or(HTTPS_PORT)),
    })
}

/// A setting that another one makes void is an error: whoever wrote it believes that it does something.
fn options_say_something(section: &mut Section<'_>, redirects: bool, tls: bool, scheme: Option<Scheme>) {
    let places = section.places().clone();
    let mut void = |key: &str, title: &str, help: &str| {
        section.findings.error(&places.of(key), title, "says nothing here").help(help);
    };
    if redirects && tls {
        let help = "take `tls` away: whoever comes over TLS is where the redirect leads already";
        void("tls", "a listener that redirects to https cannot terminate TLS", help);
    }
    if redirects && places.says("scheme") {
        void("scheme", "a listener that only redirects has no `scheme`", "take it away");
    }
    if !redirects && places.says("https_port") {
        let help = "take it away, or write `redirect_to_https = true` beside it";
        void("https_port", "`https_port` is for a listener that redirects", help);
    }
    if !redirects && tls && scheme == Some(Scheme::Http) {
        let help = "take `scheme` away, or write `tls = false` beside it";
        void("scheme", "a listener that terminates TLS is always https", help);
    }
}

/// `[tls]`.
pub(super) fn tls(section: &mut Section<'_>) -> Tls {
    let min_version = section.get("min_version", value::one_of(&[("1.2", Version::Tls12), ("1.3", Version::Tls13)]));
    let hsts = section.get("hsts", |value| match value.as_str() {
        Some("off") => Ok(None),
        _ => value::duration_or_zero(value).map(Some).map_err(|unfit| {
            unfit.help("write \"off\", or for how long browsers shall remember it: \"180d\"").or_word("off")
        }),
    });
    let certificates = section.each("certificate", |section| {
        let chain = section.need_path("chain");
        let key = section.need_path("key");
        Some(inspected(section, chain?, key?))
    });
    // TLS 1.2 still reaches the browsers of the last decade, and its suites that rustls has are all sound.
    Tls { min_version: min_version.unwrap_or(Version::Tls12), hsts: hsts.flatten(), certificates }
}

/// `admin.tls`: a certificate and its key, or neither.
pub(super) fn admin_tls(section: &mut Section<'_>) -> Option<CertificateFiles> {
    let (chain, key) = (section.path("chain"), section.path("key"));
    for (one, other, name) in [(&chain, &key, "key"), (&key, &chain, "chain")] {
        if one.is_some() && other.is_none() && !section.places().says(name) {
            section.need_path(name);
        }
    }
    Some(inspected(section, chain?, key?))
}

/// Says what is wrong with them.
fn inspected(section: &mut Section<'_>, chain: PathBuf, key: PathBuf) -> CertificateFiles {
    let files = CertificateFiles { chain, key };
    inspect(section, &files);
    files
}

fn inspect(section: &mut Section<'_>, files: &CertificateFiles) {
    let (chain, key) = (section.places().of("chain"), section.places().of("key"));
    match tls::inspect(files) {
        Ok(facts) if facts.not_after <= section.surroundings.now => {
            let names = facts.names.join(", ");
            section
                .findings
                .warning(&chain, "the certificate has expired", format!("was good until {}", facts.not_after))
                .note(format!("it is for {names}"))
                .help("renew it: browsers turn visitors away");
        }
        Ok(_) => {}
        Err(tls::Error::Read { path, source }) => {
            let is_key = path == files.key;
            unreadable(section, if is_key { &key } else { &chain }, &path, &source);
            // Where the chain is not there, nobody has looked for the key.
            if let (false, Err(source)) = (is_key, std::fs::File::open(&files.key)) {
                unreadable(section, &key, &files.key, &source);
            }
        }
        Err(error) => {
            let spot = match &error {
                tls::Error::NoKey { .. } | tls::Error::BadKey { .. } | tls::Error::KeyMismatch { .. } => &key,
                _ => &chain,
            };
            let help = match &error {
                tls::Error::KeyMismatch { .. } => "name the key that the certificate was made with".to_owned(),
                tls::Error::NoKey { .. } | tls::Error::BadKey { .. } => {
                    "name a PEM file with a key in PKCS #8, PKCS #1 or SEC 1 form, not encrypted".to_owned()
                }
                _ => "name a PEM file with the site's certificate first and the ones that vouch for it behind it"
                    .to_owned(),
            };
            section.findings.error(spot, error.to_string(), "this file").help(help);
        }
    }
}

fn unreadable(section: &mut Section<'_>, spot: &Spot, path: &Path, error: &io::Error) {
    let title = format!("{} cannot be read", path.display());
    let finding = section.findings.error(spot, title, "this file").note(format!("the system says: {error}"));
    finding.help("name a PEM file that is there and that we may read");
}

/// `[limits]`.
pub(super) fn limits(section: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let head = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        connections: section.get("connections", value::number(1..=1_000_000)).unwrap_or(default.connections),
        connections_per_address: section
            .get("connections_per_address", value::number(1..=1_000_000))
            .unwrap_or(default.connections_per_address),
        handshake_timeout: section.get("handshake_timeout", value::duration).unwrap_or(default.handshake_timeout),
        header_timeout: section.get("header_timeout", value::duration).unwrap_or(default.header_timeout),
        header_size: section
            .get("header_size", value::size(SMALLEST_HEAD..=LARGEST_HEAD))
            .map_or(default.header_size, head),
        headers: section.get("headers", value::number(1..=1000)).unwrap_or(default.headers),
        body_size: section
            .get("body_size", value::size(0..=u64::MAX))
            .map_or(default.body_size, |bytes| (bytes > 0).then_some(bytes)),
        body_timeout: section.get("body_timeout", value::duration).unwrap_or(default.body_timeout),
        keep_alive: section.get("keep_alive", value::duration).unwrap_or(default.keep_alive),
        h2_streams: section.get("h2_streams", value::number(1..=10_000)).unwrap_or(default.h2_streams),
    }
}

/// `[trust]`.
pub(super) fn trust(section: &mut Section<'_>) -> Trust {
    let network = |value: &DeValue<'_>| {
        const HELP: &str =
            "write an address and how many of its bits count: \"10.0.0.0/8\", \"192.0.2.7/32\" or \"fd00::/8\"";
        let network: IpNet = value::parsed("a network in CIDR notation", HELP)(value)?;
        if network.prefix_len() == 0 {
            let unfit = Unfit::new("trusts everybody", "this is every address there is");
            return Err(
                unfit.help("name the addresses of the proxies in front: whoever is trusted can claim any address")
            );
        }
        Ok(network)
    };
    let proxies = section.list("proxies", value::like("^[0-9A-Fa-f:.]+/[0-9]{1,3}$", network));
    Trust { proxies: proxies.unwrap_or_default() }
}

/// `[log]`: the access log, and the level of all the rest.
pub(super) fn log(section: &mut Section<'_>) -> (access_log::Config, tracing::Level) {
    let folder = section.surroundings.folder;
    let target = section.get("access", |value| match value::text(value)?.as_str() {
        "stdout" => Ok(access_log::Target::Stdout),
        "off" => Ok(access_log::Target::Off),
        "" => Err(Unfit::new("is empty", "expected a target").help("write \"stdout\", \"off\" or the path of a file")),
        path => Ok(access_log::Target::File(folder.join(path))),
    });
    let format =
        section.get("format", value::one_of(&[("json", access_log::Format::Json), ("text", access_log::Format::Text)]));
    let level = section.get(
        "level",
        value::one_of(&[
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ]),
    );
    let config = access_log::Config { target: target.unwrap_or_default(), format: format.unwrap_or_default() };
    (config, level.unwrap_or(tracing::Level::INFO))
}

/// `[shutdown]`.
pub(super) fn grace(section: &mut Section<'_>) -> Duration {
    section.get("grace", value::duration_or_zero).unwrap_or(GRACE)
}

/// The text of `refusal_page`.
pub(super) fn refusal_page(section: &mut Section<'_>) -> Option<String> {
    let path = section.path("refusal_page")?;
    section.findings.reads(&path);
    let error = match std::fs::read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(text),
        Ok(Err(_)) => "it is not UTF-8".to_owned(),
        Err(error) => error.to_string(),
    };
    let spot = section.places().of("refusal_page");
    section
        .findings
        .error(&spot, format!("`refusal_page` cannot be read: {error}"), "this file")
        .note(format!("it was looked for at {}", path.display()))
        .help("name an HTML file, or take the key away for the built-in page");
    None
}
