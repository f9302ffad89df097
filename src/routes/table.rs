//! The route table: which route a host, a path and a method meet. A path is judged in all its readings.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::policy::{OnMissing, Policy, Rules};
use crate::refusal::{Code, Refusal};

use super::pattern::{Host, Literal, Segment, match_segments};
use super::readings::{EncodedAs, Rule, is_plain, readings};
use super::{EncodedSeparators, HostPattern, Matched, PathPattern, Route};

/// How much of a path is repeated in the access log: enough to recognize it, too little to flood anything.
const QUOTED: usize = 200;

/// Why a request meets no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unroutable {
    /// Nothing is served under that host.
    #[error("the host is not served")]
    UnknownHost,
    /// The path means nothing, or different things to different servers.
    #[error("{rule}")]
    BadPath {
        /// For the access log: which rule it fell under, and which reading differed.
        rule: Cow<'static, str>,
    },
}

impl From<Unroutable> for Refusal {
    fn from(error: Unroutable) -> Self {
        match error {
            Unroutable::UnknownHost => Self::new(Code::UnknownHost, "the host is not served"),
            Unroutable::BadPath { rule } => Self::new(Code::BadPath, rule),
        }
    }
}

/// One way of reading a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<'t> {
    /// What it is read as.
    pub reading: String,
    /// The routes that cover it, each with its host, in the order in which they are asked.
    pub routes: Vec<(&'t HostPattern, &'t Matched)>,
}

/// All routes, in the order in which they are asked.
///
/// Host exact, then `*.host` (the longest first), then `*`; then the longest literal prefix, the most literal segments,
/// a route that names the method before one that does not. Two that are still equal: fewer `**`, then the stricter,
/// then the earlier. Behind all of them stands an implied `/**` that issues, to the first upstream, for every host that
/// a route names, or for any host where none does.
///
/// What it promises: in whichever way a server reads a path, if that reading meets a protected route, then the path is
/// judged as protected in the same way or refused.
#[derive(Clone, Debug)]
pub struct Table {
    exact: HashMap<Box<str>, Level>,
    below: HashMap<Box<str>, Level>,
    any: Level,
    implied: Entry,
    names_no_host: bool,
    /// The methods that some route names. All others meet the same routes.
    methods: Vec<Method>,
}

impl Table {
    /// A table of these routes.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let names_no_host = routes.iter().all(|route| route.host.0 == Host::Any);
        let mut table = Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            any: Level::default(),
            implied: Entry::new(Route::implied(), routes.len()),
            names_no_host,
            methods: named(&routes),
        };
        for (place, route) in routes.into_iter().enumerate() {
            let level = match &route.host.0 {
                Host::Exact(name) => table.exact.entry(name.clone()).or_default(),
                Host::Below(name) => table.below.entry(name.clone()).or_default(),
                Host::Any => &mut table.any,
            };
            level.add(Arc::new(Entry::new(route, place)));
        }
        for level in table.exact.values_mut().chain(table.below.values_mut()).chain([&mut table.any]) {
            level.sort();
        }
        table
    }

    /// Whether anything is served under `host` (lower case, no port, no trailing dot; empty for HTTP/1.0 without one).
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.has_implied(host) || !self.any.is_empty()
    }

    /// Whether a visit to any path of `host` could get a session.
    #[must_use]
    pub fn issues(&self, host: &str) -> bool {
        let entries = || self.levels(host).flat_map(|level| level.by_prefix.values().flatten());
        let hides_the_implied = |entry: &Arc<Entry>| entry.path.as_str() == "/**" && entry.methods.is_empty();
        entries().any(|entry| entry.issues()) || (self.has_implied(host) && !entries().any(hides_the_implied))
    }

    /// The route that a request meets. `host` as for [`Self::serves`]; `path` as it was received, without the query.
    ///
    /// `overrides` are the methods that the request asks the site to take instead of its own, as
    /// [`super::override_methods`] finds them. The request is judged under each, and under its own in capitals: the
    /// stricter policy holds, and of equal ones the route of the request's own method.
    ///
    /// # Errors
    ///
    /// When the host is not served, or the path is refused by a rule or because its readings meet different routes.
    pub fn find(&self, host: &str, path: &str, method: &Method, overrides: &[Method]) -> Result<&Matched, Unroutable> {
        let paths = Paths::of(path);
        let capitals = in_capitals(method);
        let mut strictest: Option<&Entry> = None;
        for method in self.told_apart(std::iter::once(method).chain(&capitals).chain(overrides)) {
            let entry = self.judge(host, &paths, method)?;
            if strictest.is_none_or(|found| entry.matched.rules.strictness() > found.matched.rules.strictness()) {
                strictest = Some(entry);
            }
        }
        strictest.map(|entry| &entry.matched).ok_or(Unroutable::UnknownHost)
    }

    /// Those of `methods` that can meet different routes: of all that no route names, the first. A hundred made-up ones
    /// must not have the path judged a hundred times.
    fn told_apart<'m>(&self, methods: impl Iterator<Item = &'m Method>) -> impl Iterator<Item = &'m Method> {
        let mut any_other = false;
        methods.filter(move |method| self.methods.contains(method) || !std::mem::replace(&mut any_other, true))
    }

    /// The route that all readings agree on.
    fn judge(&self, host: &str, paths: &Paths<'_>, method: &Method) -> Result<&Entry, Unroutable> {
        if paths.plain {
            return self.meet(host, paths.received, method).ok_or(Unroutable::UnknownHost);
        }
        if !self.serves(host) {
            return Err(Unroutable::UnknownHost);
        }
        let difference = match self.agree(host, paths.all(EncodedAs::Either)?, method) {
            Ok(agreed) => return agreed.ok_or(Unroutable::UnknownHost),
            Err(difference) => difference,
        };
        // An encoded separator may pass here; whatever else makes the readings differ may not.
        if difference.plain.is_some_and(|entry| entry.encoded_separators == EncodedSeparators::Pass)
            && let Ok(agreed) = self.agree(host, paths.all(EncodedAs::Text)?, method)
        {
            return agreed.ok_or(Unroutable::UnknownHost);
        }
        Err(difference.into())
    }

    fn agree<'r>(
        &self,
        host: &str,
        readings: &'r [String],
        method: &Method,
    ) -> Result<Option<&Entry>, Difference<'_, 'r>> {
        let mut meetings = readings.iter().map(|reading| (reading, self.meet(host, reading, method)));
        let Some((_, plain)) = meetings.next() else { return Ok(None) };
        let same = |other: Option<&Entry>| match (plain, other) {
            (Some(plain), Some(other)) => plain.does_the_same(other),
            (plain, other) => plain.is_none() && other.is_none(),
        };
        match meetings.find(|(_, other)| !same(*other)) {
            Some((reading, other)) => Err(Difference { plain, reading, other }),
            None => Ok(plain),
        }
    }

    /// Every reading of `path` by itself, the one as it was received first, with the routes that cover it: the first of
    /// them is the one that it meets, the others stand behind that. Whether the readings agree is for [`Self::find`].
    ///
    /// # Errors
    ///
    /// When the path is refused whatever routes there are.
    pub fn readings<'t>(&'t self, host: &str, path: &str, method: &Method) -> Result<Vec<Read<'t>>, Rule> {
        let read = |reading: String| {
            let routes = {
                let folded = fold(&reading);
                let covering = self.covering(host, &reading, &folded, method);
                covering.map(|entry| (&entry.host, &entry.matched)).collect()
            };
            Read { reading, routes }
        };
        Ok(readings(path, EncodedAs::Either)?.into_iter().map(read).collect())
    }

    /// The route that one reading meets.
    fn meet(&self, host: &str, reading: &str, method: &Method) -> Option<&Entry> {
        let folded = fold(reading);
        self.covering(host, reading, &folded, method).next()
    }

    /// The routes that cover a reading, in the order in which they are asked.
    fn covering<'t, 'r>(
        &'t self,
        host: &'r str,
        reading: &'r str,
        folded: &'r str,
        method: &'r Method,
    ) -> impl Iterator<Item = &'t Entry> + use<'t, 'r> {
        let named = self.levels(host).flat_map(move |level| level.covering(reading, folded, method));
        named.chain(std::iter::once_with(|| self.has_implied(host).then_some(&self.implied)).flatten())
    }

    /// The levels that are asked for a host, in their order.
    fn levels<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t Level> + use<'t, 'h> {
        self.exact.get(host).into_iter().chain(self.levels_below(host)).chain([&self.any])
    }

    fn levels_below<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t Level> + use<'t, 'h> {
        let dots = host.match_indices('.').filter(|(place, _)| *place > 0 && !self.below.is_empty());
        dots.filter_map(move |(place, _)| self.below.get(&host[place + 1..]))
    }

    fn has_implied(&self, host: &str) -> bool {
        self.names_no_host || self.exact.contains_key(host) || self.levels_below(host).next().is_some()
    }
}

/// The routes of one host pattern, by their literal prefix in lower case, so that ten thousand of them cost no more
/// than ten: a path asks once for each of its own prefixes, the longest first.
#[derive(Clone, Debug, Default)]
struct Level {
    by_prefix: HashMap<Box<str>, Vec<Arc<Entry>>>,
    /// Segments of the longest prefix.
    deepest: usize,
}

impl Level {
    fn add(&mut self, entry: Arc<Entry>) {
        let literals = entry.literal_prefix();
        self.deepest = self.deepest.max(literals.len());
        let text = prefix(literals.iter().map(|literal| &*literal.text));
        let wire = prefix(literals.iter().map(|literal| &*literal.wire));
        if text != wire {
            self.by_prefix.entry(wire).or_default().push(Arc::clone(&entry));
        }
        self.by_prefix.entry(text).or_default().push(entry);
    }

    /// Routes were added in their own order, which a stable sort keeps for those that are equal.
    fn sort(&mut self) {
        for entries in self.by_prefix.values_mut() {
            entries.sort_by_key(|entry| entry.precedence());
        }
    }

    fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }

    fn covering<'t, 'r>(
        &'t self,
        reading: &'r str,
        folded: &'r str,
        method: &'r Method,
    ) -> impl Iterator<Item = &'t Entry> + use<'t, 'r> {
        let end = || folded.match_indices('/').nth(self.deepest).map_or(folded.len(), |(place, _)| place);
        let longest = (!self.is_empty()).then(|| &folded[..end()]);
        let prefixes = std::iter::successors(longest, |prefix| prefix.rfind('/').map(|place| &prefix[..place]));
        let entries = prefixes.flat_map(|prefix| self.by_prefix.get(prefix).map_or(&[][..], Vec::as_slice));
        entries.map(|entry| &**entry).filter(move |entry| entry.covers(reading, method))
    }
}

/// One route, ready to be met.
#[derive(Clone, Debug)]
struct Entry {
    host: HostPattern,
    matched: Matched,
    path: PathPattern,
    methods: Vec<Method>,
    encoded_separators: EncodedSeparators,
    ignore_case: bool,
}

impl Entry {
    fn new(route: Route, place: usize) -> Self {
        let Route { rules, upstream, .. } = route;
        let matched = Matched { pattern: route.path.as_str().into(), place, rules: Arc::new(rules), upstream };
        Self {
            host: route.host,
            matched,
            path: route.path,
            methods: route.methods,
            encoded_separators: route.encoded_separators,
            ignore_case: route.ignore_case,
        }
    }

    fn covers(&self, reading: &str, method: &Method) -> bool {
        covers_method(&self.methods, method) && match_segments(self.path.segments(), reading, self.ignore_case)
    }

    fn issues(&self) -> bool {
        let Rules { policy, on_missing, .. } = &*self.matched.rules;
        *policy == Policy::Issue || (*policy == Policy::Require && *on_missing == OnMissing::Issue)
    }

    /// Whether it makes no difference which of the two is met.
    fn does_the_same(&self, other: &Self) -> bool {
        self.matched.upstream == other.matched.upstream && self.matched.rules == other.matched.rules
    }

    fn literal_prefix(&self) -> Vec<&Literal> {
        let literals = self.path.segments().iter().map_while(|segment| match segment {
            Segment::Literal(literal) => Some(literal),
            Segment::One | Segment::AnyNumber => None,
        });
        literals.collect()
    }

    /// Among routes with the same literal prefix, the lowest is asked first.
    fn precedence(&self) -> impl Ord + use<> {
        let count = |wanted: fn(&Segment) -> bool| self.path.segments().iter().filter(|one| wanted(one)).count();
        (
            Reverse(count(|segment| matches!(segment, Segment::Literal(_)))),
            self.methods.is_empty(),
            count(|segment| matches!(segment, Segment::AnyNumber)),
            Reverse(self.matched.rules.strictness()),
        )
    }
}

impl Route {
    /// What stands behind all routes: the site with sessions, and nobody turned away.
    #[must_use]
    pub fn implied() -> Self {
        Self {
            host: HostPattern::ANY,
            path: PathPattern::everything(),
            methods: Vec::new(),
            rules: Rules::default(),
            upstream: 0,
            encoded_separators: EncodedSeparators::Judge,
            ignore_case: false,
        }
    }
}

/// A path and its readings, made when they are first asked for.
struct Paths<'p> {
    received: &'p str,
    plain: bool,
    either: OnceCell<Result<Vec<String>, Rule>>,
    text: OnceCell<Result<Vec<String>, Rule>>,
}

impl<'p> Paths<'p> {
    fn of(received: &'p str) -> Self {
        Self { received, plain: is_plain(received), either: OnceCell::new(), text: OnceCell::new() }
    }

    fn all(&self, encoded: EncodedAs) -> Result<&[String], Unroutable> {
        let known = match encoded {
            EncodedAs::Either => &self.either,
            EncodedAs::Text => &self.text,
        };
        match known.get_or_init(|| readings(self.received, encoded)) {
            Ok(all) => Ok(all),
            Err(rule) => Err(Unroutable::BadPath { rule: rule.to_string().into() }),
        }
    }
}

/// Two readings of one path that meet different routes.
struct Difference<'t, 'r> {
    plain: Option<&'t Entry>,
    reading: &'r str,
    other: Option<&'t Entry>,
}

impl From<Difference<'_, '_>> for Unroutable {
    fn from(difference: Difference<'_, '_>) -> Self {
        let pattern =
            |entry: Option<&Entry>| entry.map_or_else(|| "no route".into(), |entry| Arc::clone(&entry.matched.pattern));
        // Decoded, it can hold what a terminal or a line of the log must not see.
        let quoted: String = difference.reading.chars().take(QUOTED).flat_map(char::escape_debug).collect();
        let (plain, other) = (pattern(difference.plain), pattern(difference.other));
        Self::BadPath { rule: format!("read as {quoted} it meets {other}, and as received {plain}").into() }
    }
}

/// RFC 9110, section 9.3.2: HEAD is GET without the content.
fn covers_method(methods: &[Method], method: &Method) -> bool {
    methods.is_empty() || methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET))
}

/// Methods are case-sensitive (RFC 9110, section 9.1), but some frameworks turn them into capitals before they look.
fn in_capitals(method: &Method) -> Option<Method> {
    let text = method.as_str();
    let differs = text.bytes().any(|byte| byte.is_ascii_lowercase());
    differs.then(|| Method::from_bytes(text.to_ascii_uppercase().as_bytes()).ok()).flatten()
}

fn prefix<'l>(literals: impl Iterator<Item = &'l str>) -> Box<str> {
    literals.flat_map(|literal| ["/", literal]).collect::<String>().to_ascii_lowercase().into()
}

fn fold(reading: &str) -> Cow<'_, str> {
    if reading.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(reading.to_ascii_lowercase())
    } else {
        Cow::Borrowed(reading)
    }
}

/// Each once, and HEAD with GET, which covers it.
fn named(routes: &[Route]) -> Vec<Method> {
    let mut methods = vec![Method::HEAD];
    for method in routes.iter().flat_map(|route| &route.methods) {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

#[cfg(test)]
mod tests;
