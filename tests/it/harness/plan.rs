//! How a town's proxy is configured: as any operator would, by the text of a `proxy.toml`.

use std::sync::Arc;

use guestpass::clock::Clock;
use guestpass::demo::genesys::{DEMO_CLIENT, DEMO_ORGANIZATION, DEMO_SECRET, Faults, Simulator};
use guestpass::demo::site::Site;
use guestpass::tls::CertificateFiles;
use http::HeaderMap;
use toml::{Table, Value};

/// What differs from the ordinary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) faults: Faults,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(super) answers: HeaderMap,
    settings: Vec<(String, Value)>,
    routes: Option<Vec<Table>>,
    listeners: Vec<Table>,
}

impl Plan {
    /// One setting by its key, as in `limits.keep_alive`. In a list of tables it is the first one's.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Routes instead of the ordinary ones: a table each, in TOML.
    pub(crate) fn routes(mut self, routes: &[&str]) -> Self {
        self.routes = Some(routes.iter().map(|route| route.parse().unwrap()).collect());
        self
    }

    /// A field that every answer of the site bears.
    pub(crate) fn answer(mut self, name: &'static str, value: &str) -> Self {
        self.answers.append(name, value.parse().unwrap());
        self
    }

    /// One more listener, as a table in TOML.
    pub(crate) fn listener(mut self, text: &str) -> Self {
        self.listeners.push(text.parse().unwrap());
        self
    }

    pub(crate) fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    pub(super) fn text(&self, genesys: &Simulator, site: &Site, certificate: &CertificateFiles) -> String {
        let mut table: Table = format!(
            r#"
            workers = 2
            listen = [{{ address = "127.0.0.1:0" }}]
            tls.certificate = [{{ chain = "{chain}", key = "{key}" }}]
            genesys.base_url = "{genesys}"
            genesys.client_id = "{client_id}"
            genesys.client_secret = "{client_secret}"
            genesys.organization_id = "{organization_id}"
            keys.secret = "a test's secret, long enough to be one"
            upstream = [{{ name = "site", servers = ["http://{site}"] }}]
            log.access = "off"
            store.path = "off"
            audit.path = "off"
            "#,
            chain = certificate.chain.display(),
            key = certificate.key.display(),
            genesys = genesys.base_url(),
            client_id = DEMO_CLIENT,
            client_secret = DEMO_SECRET,
            organization_id = DEMO_ORGANIZATION,
            site = site.address(),
        )
        .parse()
        .unwrap();
        let ordinary = || {
            let routes = [
                r#"path = "/public/**"
                session = "open""#,
                r#"path = "/account/**"
                session = "require""#,
            ];
            routes.iter().map(|route| route.parse().unwrap()).collect()
        };
        let routes: Vec<Table> = self.routes.clone().unwrap_or_else(ordinary);
        table.insert("route".to_owned(), routes.into());
        for (key, value) in &self.settings {
            set(&mut table, key, value.clone());
        }
        for listener in &self.listeners {
            table["listen"].as_array_mut().unwrap().push(listener.clone().into());
        }
        table.to_string()
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table.entry(first).or_insert_with(|| Table::new().into());
    let inner = match inner {
        Value::Array(list) => list.first_mut().unwrap(),
        single => single,
    };
    set(inner.as_table_mut().unwrap(), rest, value);
}
