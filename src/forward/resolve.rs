//! Where names lead: asked again as time goes by, and when nobody answers there.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer is good. The system's resolver does not tell the record's own lifetime; names that move, as those
/// of containers do, are given some ten seconds.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);

/// Connecting in vain makes an answer doubtful, but not one that is as young as this: a server that is down must not
/// have its name asked for with each request.
const BEYOND_DOUBT: Duration = Duration::from_secs(1);

/// Addresses under way.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Who knows where names lead.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host`, the one to be tried first standing first.
    fn resolve(&self, host: &str) -> Resolving;
}

/// The operating system's resolver, which heeds `/etc/hosts` and orders addresses by RFC 6724.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Resolving {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// One name, and what all cores know of it.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    /// It is an address, which leads to itself for ever.
    is_address: bool,
    resolver: Arc<dyn Resolve>,
    known: Mutex<Known>,
    /// Changes whenever the addresses do.
    epoch: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Arc<[IpAddr]>,
    asked: Option<Instant>,
    /// Tried first: an address that swallows packets costs the first connection its patience, and not each one.
    worked: Option<IpAddr>,
}

impl Name {
    pub(super) fn new(host: &str, resolver: Arc<dyn Resolve>) -> Self {
        let known = Known { addresses: host.parse().into_iter().collect(), ..Known::default() };
        let is_address = !known.addresses.is_empty();
        Self { host: host.to_owned(), is_address, resolver, known: Mutex::new(known), epoch: AtomicU64::new(0) }
    }

    /// Its addresses in the order to try them, as they are known, or asked for if that is long ago.
    pub(super) async fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        if self.is_stale() {
            self.ask().await?;
        }
        let known = self.known();
        let mut addresses = known.addresses.to_vec();
        if let Some(worked) = known.worked {
            // The order is kept otherwise.
            addresses.sort_by_key(|address| *address != worked);
        }
        Ok(addresses)
    }

    /// Asks if that is due, so that whoever connects need not.
    pub(super) async fn keep_fresh(&self) {
        if self.is_stale()
            && let Err(error) = self.ask().await
        {
            tracing::debug!(host = self.host, %error, "a name cannot be resolved");
        }
    }

    pub(super) fn worked(&self, address: IpAddr) {
        self.known().worked = Some(address);
    }

    /// None of its addresses answered.
    pub(super) fn doubt(&self) {
        let mut known = self.known();
        known.worked = None;
        if known.asked.is_some_and(|asked| asked.elapsed() >= BEYOND_DOUBT) {
            known.asked = None;
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn leads_to(&self, address: IpAddr) -> bool {
        self.is_address || self.known().addresses.contains(&address)
    }

    fn is_stale(&self) -> bool {
        !self.is_address && self.known().asked.is_none_or(|asked| asked.elapsed() >= LIFETIME)
    }

    /// A resolver that fails takes nothing away from what was known: the site is up, though its name is not.
    async fn ask(&self) -> io::Result<()> {
        let answer = self.resolver.resolve(&self.host).await;
        let mut known = self.known();
        let addresses = match answer {
            Ok(addresses) if addresses.is_empty() && !known.addresses.is_empty() => Arc::clone(&known.addresses),
            Ok(addresses) => addresses.into(),
            Err(_) if !known.addresses.is_empty() => Arc::clone(&known.addresses),
            Err(error) => return Err(error),
        };
        known.asked = Some(Instant::now());
        let same = addresses.iter().all(|address| known.addresses.contains(address))
            && addresses.len() == known.addresses.len();
        if !same {
            known.addresses = addresses;
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Answers with what it was last told.
    #[derive(Debug, Default)]
    struct Book(Mutex<Option<Vec<IpAddr>>>, AtomicU64);

    impl Resolve for Book {
        fn resolve(&self, _host: &str) -> Resolving {
            self.1.fetch_add(1, Ordering::Relaxed);
            let answer = self.0.lock().unwrap().clone().ok_or_else(|| io::Error::other("no answer"));
            Box::pin(std::future::ready(answer))
        }
    }

    const OLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_a_while_and_doubt_shortens_it() {
        let book = Arc::new(Book::default());
        let name = Name::new("site.internal", Arc::clone(&book) as Arc<dyn Resolve>);
        assert!(name.addresses().await.is_err());
        *book.0.lock().unwrap() = Some(vec![OLD]);
        assert_eq!(name.addresses().await.unwrap(), [OLD]);
        *book.0.lock().unwrap() = Some(vec![NEW]);
        name.doubt();
        assert_eq!(name.addresses().await.unwrap(), [OLD], "it was asked just now");
        advance(BEYOND_DOUBT).await;
        name.doubt();
        let epoch = name.epoch();
        assert_eq!(name.addresses().await.unwrap(), [NEW]);
        assert!(name.epoch() != epoch && name.leads_to(NEW) && !name.leads_to(OLD));
        advance(LIFETIME).await;
        *book.0.lock().unwrap() = None;
        assert_eq!(name.addresses().await.unwrap(), [NEW], "a resolver that fails takes nothing away");
        assert_eq!(book.1.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_worked_is_tried_first_until_it_does_not() {
        let book = Arc::new(Book(Mutex::new(Some(vec![OLD, NEW])), AtomicU64::new(0)));
        let name = Name::new("site.internal", book);
        assert_eq!(name.addresses().await.unwrap(), [OLD, NEW]);
        name.worked(NEW);
        assert_eq!(name.addresses().await.unwrap(), [NEW, OLD]);
        name.doubt();
        assert_eq!(name.addresses().await.unwrap(), [OLD, NEW]);
    }

    #[tokio::test]
    async fn an_address_is_nobodys_to_resolve() {
        let book = Arc::new(Book::default());
        let name = Name::new("::1", Arc::clone(&book) as Arc<dyn Resolve>);
        assert_eq!(name.addresses().await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(book.1.load(Ordering::Relaxed), 0);
    }
}
