//! Which certificate a client is shown: by the name it asks for in SNI (RFC 6066, section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::Facts;
use super::certificate::Certificate;

/// All certificates, by the names that they bear.
#[derive(Debug)]
pub(super) struct BySni {
    /// What each says of itself, in the order of the configuration.
    pub(super) facts: Vec<Facts>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// The first configured: a client that names none, or one we do not know, gets an answer that it can complain about.
    default: Arc<CertifiedKey>,
}

impl BySni {
    /// `None` when there is no certificate at all. Of several that bear one name, the first is shown.
    pub(super) fn new(certificates: Vec<Certificate>) -> Option<Self> {
        let default = Arc::clone(&certificates.first()?.key);
        let facts = certificates.iter().map(|certificate| certificate.facts.clone()).collect();
        let mut this = Self { facts, exact: HashMap::new(), wildcard: HashMap::new(), default };
        for Certificate { facts, key } in certificates {
            for name in facts.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wildcard, parent.to_owned()),
                    None => (&mut this.exact, name),
                };
                table.entry(name).or_insert_with(|| Arc::clone(&key));
            }
        }
        Some(this)
    }

    /// What a client is shown that asks for `name`.
    pub(super) fn resolve(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        Arc::clone(name.map_or(&self.default, |name| self.choose(name)))
    }

    /// Exact before wildcard; `*` stands for exactly one label (RFC 9525, section 6.3).
    fn choose(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).or_else(wildcard).unwrap_or(&self.default)
    }
}
