use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::*;

#[test]
fn a_certificate_tells_its_names_and_its_end() {
    let folder = Folder::new();
    let mut params = CertificateParams::new(vec!["Shop.Example".to_owned(), "*.shop.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    params.not_after = rcgen::date_time_ymd(2031, 5, 17);
    let files = folder.write("a", &params);
    let facts = inspect(&files).unwrap();
    assert_eq!(facts.names, ["shop.example", "*.shop.example", "127.0.0.1"]);
    assert_eq!(facts.not_after.to_string(), "2031-05-17T00:00:00.000Z");
}

#[test]
fn an_expired_certificate_is_told_apart_by_its_end_alone() {
    let folder = Folder::new();
    let mut params = CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    assert_eq!(inspect(&folder.write("old", &params)).unwrap().not_after.seconds(), 978_307_200);
}

#[test]
fn every_mistake_in_the_files_has_its_own_error() {
    let folder = Folder::new();
    let good = folder.certificate("good", &["good.example"]);
    let other = folder.certificate("other", &["other.example"]);
    let text = folder.file("text.pem", "no PEM at all");
    let garbled = folder.file("garbled.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let bad_key = folder.file("bad.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let chain = |chain: &Path| inspect(&CertificateFiles { chain: chain.to_owned(), key: good.key.clone() });
    let key = |key: &Path| inspect(&CertificateFiles { chain: good.chain.clone(), key: key.to_owned() });

    assert!(matches!(chain(Path::new("/nowhere")), Err(Error::Read { path, .. }) if path == Path::new("/nowhere")));
    assert!(matches!(chain(&text), Err(Error::NoCertificate { path }) if path == text));
    assert!(matches!(chain(&good.key), Err(Error::NoCertificate { .. })));
    assert!(matches!(chain(&garbled), Err(Error::BadCertificate { path, .. }) if path == garbled));
    assert!(matches!(key(&text), Err(Error::NoKey { path }) if path == text));
    assert!(matches!(key(&bad_key), Err(Error::BadKey { path, .. }) if path == bad_key));
    assert!(matches!(key(&other.key), Err(Error::KeyMismatch { key, .. }) if key == other.key));
    assert!(matches!(Loaded::read(vec![]), Err(Error::NoneConfigured)));
}

#[test]
fn sni_chooses_exactly_then_by_wildcard_then_the_first() {
    let folder = Folder::new();
    let certificates = [["first.example"], ["*.Shop.example"], ["www.shop.example"]];
    let files: Vec<_> =
        certificates.iter().enumerate().map(|(n, names)| folder.certificate(&n.to_string(), names)).collect();
    let server = config(Version::Tls12, files.clone());
    let client = Client::new(&[&TLS13, &TLS12]);
    for (asked, shown) in [
        ("first.example", 0),
        ("a.shop.example", 1),
        ("A.SHOP.EXAMPLE", 1),
        ("www.shop.example", 2),
        ("WWW.shop.example", 2),
        ("a.b.shop.example", 0),
        ("shop.example", 0),
        ("unknown.example", 0),
        // An address is never sent as SNI, so this is the client that names none.
        ("127.0.0.1", 0),
    ] {
        let seen = client.connect(&server, asked).unwrap();
        assert_eq!(seen.certificate, first_certificate(&files[shown]), "{asked}");
    }
}

#[test]
fn certificates_are_exchanged_as_a_whole_and_a_bad_one_leaves_the_last_good_ones() {
    let folder = Folder::new();
    let files = vec![folder.certificate("a", &["a.example"]), folder.certificate("b", &["b.example"])];
    let mut keeper = Keeper::new(Loaded::read(files.clone()).unwrap());
    let server = server_config(Version::Tls12, &keeper).unwrap();
    let shown = |name: &str| Client::new(&[&TLS13]).connect(&server, name).unwrap().certificate;
    let first = [shown("a.example"), shown("b.example")];
    assert_eq!(keeper.look(false), Looked::Unchanged);

    let fresh = folder.certificate("fresh", &["b.example"]);
    fs::rename(&fresh.chain, &files[1].chain).unwrap();
    assert_eq!(keeper.look(false), Looked::Unchanged, "its key may come in a moment");
    fs::rename(&fresh.key, &files[1].key).unwrap();
    assert_eq!(keeper.look(false), Looked::Read);
    assert_eq!(shown("a.example"), first[0]);
    assert_ne!(shown("b.example"), first[1]);

    let second = shown("b.example");
    folder.certificate("a", &["a.example"]);
    folder.file("b.key", "no key");
    assert_eq!(
        [keeper.look(false), keeper.look(false), keeper.look(false)],
        [Looked::Unchanged, Looked::Broken, Looked::Unchanged]
    );
    assert_eq!([shown("a.example"), shown("b.example")], [first[0].clone(), second], "all or none");
    assert_eq!(keeper.look(true), Looked::Broken, "who asks is told again");
}

#[test]
fn the_oldest_version_is_the_operators_choice() {
    let folder = Folder::new();
    let files = vec![folder.certificate("a", &["a.example"])];
    let old_client = Client::new(&[&TLS12]);
    let both = config(Version::Tls12, files.clone());
    assert_eq!(old_client.connect(&both, "a.example").unwrap().version, ProtocolVersion::TLSv1_2);
    assert_eq!(Client::new(&[&TLS13, &TLS12]).connect(&both, "a.example").unwrap().version, ProtocolVersion::TLSv1_3);

    let strict = config(Version::Tls13, files);
    let refused = old_client.connect(&strict, "a.example").unwrap_err();
    assert!(matches!(refused, rustls::Error::PeerIncompatible(_)), "{refused}");
    assert_eq!(Client::new(&[&TLS13]).connect(&strict, "a.example").unwrap().version, ProtocolVersion::TLSv1_3);
}

#[test]
fn one_ticket_is_sent_and_it_resumes() {
    let folder = Folder::new();
    let server = config(Version::Tls12, vec![folder.certificate("a", &["a.example"])]);
    for versions in [&[&TLS13] as &[_], &[&TLS12]] {
        let client = Client::new(versions);
        let first = client.connect(&server, "a.example").unwrap();
        assert_eq!(first.kind, HandshakeKind::Full);
        if first.version == ProtocolVersion::TLSv1_3 {
            assert_eq!(first.tickets, 1);
        }
        assert_eq!(client.connect(&server, "a.example").unwrap().kind, HandshakeKind::Resumed, "{:?}", first.version);
    }
}

#[test]
fn http_2_is_preferred_and_unknown_protocols_are_refused() {
    let folder = Folder::new();
    let server = config(Version::Tls12, vec![folder.certificate("a", &["a.example"])]);
    for (offered, chosen) in [
        (&[b"http/1.1".as_slice(), b"h2"] as &[&[u8]], Some(b"h2".as_slice())),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let client = Client::new(&[&TLS13]).speaking(offered);
        assert_eq!(client.connect(&server, "a.example").unwrap().protocol.as_deref(), chosen, "{offered:?}");
    }
    assert!(Client::new(&[&TLS13]).speaking(&[b"spdy/3"]).connect(&server, "a.example").is_err());
}

#[test]
fn the_key_exchange_withstands_quantum_computers_where_the_client_can() {
    let folder = Folder::new();
    let server = config(Version::Tls12, vec![folder.certificate("a", &["a.example"])]);
    let group = Client::new(&[&TLS13]).connect(&server, "a.example").unwrap().group;
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
}

fn config(min_version: Version, certificates: Vec<CertificateFiles>) -> Arc<ServerConfig> {
    server_config(min_version, &Keeper::new(Loaded::read(certificates).unwrap())).unwrap()
}

fn first_certificate(files: &CertificateFiles) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(&files.chain).unwrap()
}

/// Certificates that live as long as a test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn certificate(&self, stem: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.write(stem, &CertificateParams::new(names).unwrap())
    }

    fn write(&self, stem: &str, params: &CertificateParams) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        CertificateFiles {
            chain: self.file(&format!("{stem}.pem"), &certificate.pem()),
            key: self.file(&format!("{stem}.key"), &key.serialize_pem()),
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// A client that takes any certificate, and remembers its sessions.
struct Client(ClientConfig);

/// What a client learned of a handshake.
#[derive(Debug)]
struct Seen {
    certificate: CertificateDer<'static>,
    version: ProtocolVersion,
    kind: HandshakeKind,
    group: Option<NamedGroup>,
    protocol: Option<Vec<u8>>,
    tickets: u32,
}

impl Client {
    fn new(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        Self(config)
    }

    fn speaking(mut self, protocols: &[&[u8]]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }

    /// Client and server pass each other's bytes in memory until neither has any left.
    fn connect(&self, server: &Arc<ServerConfig>, name: &str) -> Result<Seen, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(self.0.clone()), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(Seen {
            certificate: client.peer_certificates().unwrap()[0].clone().into_owned(),
            version: client.protocol_version().unwrap(),
            kind: client.handshake_kind().unwrap(),
            group: client.negotiated_key_exchange_group().map(|group| group.name()),
            protocol: client.alpn_protocol().map(<[u8]>::to_vec),
            tickets: client.tls13_tickets_received(),
        })
    }
}

/// Takes any certificate: these tests ask which one was shown, not whether it is trusted.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
