//! The numbers as text: OpenMetrics, or the older format that Prometheus began with.
//!
//! The crate writes OpenMetrics. The older format says the same in nearly the same words, so that it is made of the
//! former: there is one list of metrics, and what one format has the other has.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::audit;
use crate::clock::Timestamp;
use crate::genesys::BreakerState;
use crate::outbox;
use crate::refusal::Code;

use super::count::Durations;
use super::process::Process;
use super::tally::MINT_FAILURES;
use super::{House, Metrics};

/// How the numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
    Text,
}

impl Format {
    /// What `Accept` prefers (RFC 9110, section 12.5.1). Whoever names neither gets the one that everybody reads.
    #[must_use]
    pub fn preferred(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let items = accept.split(',').filter_map(|item| {
                let mut parts = item.split(';').map(str::trim);
                parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                Some(weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok()).unwrap_or(0.0))
            });
            items.fold(0.0, f32::max)
        };
        let open_metrics = quality("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= quality("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All numbers of this moment.
pub(super) fn write(metrics: &Metrics, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(metrics.clone())));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all that is written");
    match format {
        Format::OpenMetrics => text,
        Format::Text => older(&text),
    }
}

/// The older format: counters bear their `_total` in `TYPE` and `HELP` too, and nothing says where it ends.
fn older(open_metrics: &str) -> String {
    let lines: Vec<&str> = open_metrics.lines().collect();
    let counters = lines.iter().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    let counters: Vec<&str> = counters.collect();
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in lines.into_iter().filter(|line| *line != "# EOF") {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|start| Some((start, line.strip_prefix(start)?)));
        match described.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(&name) => {
                text.extend([start, name, "_total ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

/// What the crate asks when it writes.
#[derive(Debug)]
struct Snapshot(Metrics);

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.program(&mut page)?;
        self.requests(&mut page)?;
        self.sessions(&mut page)?;
        if let Some(health) = self.0.audit() {
            audit(health, &mut page)?;
        }
        if let Some(health) = self.0.outbox() {
            outbox(health, self.0.now(), &mut page)?;
        }
        if let Some(house) = self.0.house() {
            house.genesys(&mut page)?;
            house.upstreams(&mut page)?;
            house.connections(&mut page)?;
            house.keys(&mut page, self.0.now())?;
        }
        Ok(())
    }
}

impl Snapshot {
    fn program(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("guestpass_build_info", "What is running.", [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)])?;
        page.one("process_start_time_seconds", "When the process started.", seconds(self.0.started()))?;
        let Process { cpu_seconds, resident_bytes, open_fds, max_fds } = Process::read();
        if let Some(cpu) = cpu_seconds {
            page.counter("process_cpu_seconds", "Processor time, of user and system.", [([], cpu)])?;
        }
        for (name, help, number) in [
            ("process_resident_memory_bytes", "Memory that is in use.", resident_bytes),
            ("process_open_fds", "File descriptors that are open.", open_fds),
            ("process_max_fds", "File descriptors that may be.", max_fds),
        ] {
            if let Some(number) = number {
                page.one(name, help, number)?;
            }
        }
        Ok(())
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let routes = self.0.tally().routes();
        page.counter(
            "guestpass_requests",
            "Requests that were answered, by the class of their status.",
            routes.iter().flat_map(|route| {
                let [first, second] = [("route", &*route.name), ("upstream", &*route.upstream)];
                route.classes().map(move |(class, count)| ([first, second, ("class", class)], count))
            }),
        )?;
        page.histogram(
            "guestpass_request_duration_seconds",
            "From a request's head to the last byte of its answer.",
            routes
                .iter()
                .map(|route| ([("route", &*route.name), ("upstream", &*route.upstream)], route.durations.read())),
        )?;
        page.histogram(
            "guestpass_upstream_duration_seconds",
            "From handing a request to its upstream to the head of the answer.",
            routes.iter().skip(1).map(|route| {
                ([("route", &*route.name), ("upstream", &*route.upstream)], route.upstream_durations.read())
            }),
        )?;
        page.counter(
            "guestpass_shadowed",
            "Requests that a route in shadow would have turned away.",
            routes
                .iter()
                .skip(1)
                .map(|route| ([("route", &*route.name), ("upstream", &*route.upstream)], route.shadowed.count())),
        )?;
        let reloads = self.0.tally().reloads().into_iter().map(|(result, n)| ([("result", result)], n));
        page.counter("guestpass_config_reloads", "Times that the configuration was read again.", reloads)?;
        let refusals = self.0.tally().refusals();
        page.counter(
            "guestpass_refusals",
            "Requests that were refused.",
            Code::ALL.into_iter().zip(refusals).map(|(code, n)| ([("code", code.as_str())], n)),
        )
    }

    fn sessions(&self, page: &mut Page<'_>) -> fmt::Result {
        let tally = self.0.tally();
        let readings = tally.readings();
        page.counter(
            "guestpass_cookie_readings",
            "How the session cookies of requests were read, and the key of ours that each named.",
            readings.iter().map(|(reading, key, n)| ([("reading", reading.as_str()), ("key", &**key)], *n)),
        )?;
        let minted = tally.minted().map(|(source, n)| ([("source", source)], n));
        page.counter("guestpass_mints", "Sessions that visits got, ready made or made for them.", minted)?;
        let failures =
            MINT_FAILURES.into_iter().zip(tally.mint_failures()).map(|(reason, n)| ([("reason", reason)], n));
        page.counter("guestpass_mint_failures", "Visits for which no session could be made.", failures)?;
        page.histogram(
            "guestpass_mint_duration_seconds",
            "How long visits waited for a session, in vain or not.",
            [([], tally.mint_waits().read())],
        )?;
        for (name, help, count) in tally.plain() {
            page.counter(name, help, [([], count)])?;
        }
        Ok(())
    }
}

fn audit(health: &audit::Health, page: &mut Page<'_>) -> fmt::Result {
    page.counter(
        "guestpass_audit_lines",
        "Lines of the audit log that were written, but those on itself.",
        [([], health.written())],
    )?;
    page.counter("guestpass_audit_lost", "Lines of it that could not be.", [([], health.lost())])?;
    let failing = u64::from(health.is_failing());
    page.one("guestpass_audit_failing", "Whether the last attempt to write it failed.", failing)
}

fn outbox(health: &outbox::Health, now: Timestamp, page: &mut Page<'_>) -> fmt::Result {
    let age = health.oldest().map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
    page.one("guestpass_outbox_messages", "Events that the KMS has not accepted yet.", health.waiting())?;
    page.one("guestpass_outbox_oldest_age_seconds", "For how long the oldest of them has been waiting.", age)?;
    page.one("guestpass_outbox_dead_letters", "Events that were given up and not dropped.", health.dead())?;
    page.counter(
        "guestpass_outbox_deliveries",
        "Attempts to tell the KMS of an event.",
        [([("result", "accepted")], health.delivered()), ([("result", "failed")], health.failed())],
    )?;
    for (name, help, count) in [
        ("guestpass_outbox_given_up", "Events that became dead letters.", health.given_up()),
        ("guestpass_outbox_dropped", "Dead letters that were lost, since there were too many.", health.dropped()),
        ("guestpass_outbox_unrecorded", "Events that could not be written down.", health.unrecorded()),
    ] {
        page.counter(name, help, [([], count)])?;
    }
    for (name, help, is_so) in [
        ("guestpass_outbox_failing", "Whether the last attempt to deliver failed.", health.is_failing()),
        ("guestpass_outbox_unwritable", "Whether the last attempt to write an event down did.", health.is_unwritable()),
        ("guestpass_outbox_delivering", "Whether it is this process that delivers.", health.is_delivering()),
    ] {
        page.one(name, help, u64::from(is_so))?;
    }
    Ok(())
}

impl House {
    fn genesys(&self, page: &mut Page<'_>) -> fmt::Result {
        let calls = self.genesys.calls();
        page.counter(
            "guestpass_genesys_calls",
            "Calls to Genesys, and what they came to: an HTTP status, or what there was instead.",
            calls.into_iter().map(|(endpoint, status, n)| ([("endpoint", endpoint), ("status", status)], n)),
        )?;
        let ((fetched, failed), (waits, waited)) = (self.genesys.token_fetches(), self.genesys.waits());
        let count = |number: u64| [([], number)];
        page.counter("guestpass_genesys_retries", "Calls that were another try.", count(self.genesys.retries()))?;
        page.counter(
            "guestpass_genesys_token_fetches",
            "Fetches of an OAuth token.",
            [([("result", "fetched")], fetched), ([("result", "failed")], failed)],
        )?;
        page.counter("guestpass_genesys_rate_limit_waits", "Calls that waited for their turn.", count(waits))?;
        page.counter(
            "guestpass_genesys_rate_limit_wait_seconds",
            "How long they waited.",
            [([], waited.as_secs_f64())],
        )?;
        page.counter(
            "guestpass_genesys_rate_limit_refusals",
            "Calls that were not made, since their turn lay too far ahead.",
            count(self.genesys.held_back()),
        )?;
        let open = u64::from(self.genesys.breaker() != BreakerState::Closed);
        page.one("guestpass_genesys_breaker_open", "Whether Genesys is left alone since it keeps failing.", open)?;
        let openings = self.genesys.breaker_openings();
        page.counter("guestpass_genesys_breaker_openings", "Times that this began.", count(openings))?;
        let level = self.stock.level();
        page.one("guestpass_pool_sessions", "Sessions that are ready for the next visits.", level.kept)?;
        page.one("guestpass_pool_sessions_under_way", "Sessions that are being made ahead.", level.under_way)?;
        page.one("guestpass_pool_size", "Sessions that may be made ahead.", level.size)
    }

    fn upstreams(&self, page: &mut Page<'_>) -> fmt::Result {
        let servers = self.servers.snapshot();
        page.gauge(
            "guestpass_upstream_healthy",
            "Whether requests go to a server while there is any that they can go to.",
            servers
                .iter()
                .map(|one| ([("upstream", &*one.upstream), ("server", &*one.server)], u64::from(one.healthy))),
        )?;
        page.gauge(
            "guestpass_upstream_requests",
            "Requests and tunnels under way at a server.",
            servers.iter().map(|one| ([("upstream", &*one.upstream), ("server", &*one.server)], one.connections)),
        )
    }

    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        page.one("guestpass_connections", "Connections that are open, tunnels included.", self.admission.open())?;
        page.counter(
            "guestpass_connections_refused",
            "Connections that were closed at once, by a limit.",
            [([], self.admission.refused())],
        )?;
        let [tls12, tls13, failed] = self.admission.handshakes();
        let made = [tls12, tls13].map(|(version, n)| ([("version", version)], n));
        page.counter("guestpass_tls_handshakes", "TLS handshakes that came to a connection.", made)?;
        page.counter("guestpass_tls_handshake_failures", "TLS handshakes that did not.", [([], failed.1)])?;
        let certificates = self.certificates();
        let places = (0..certificates.len()).map(|place| place.to_string()).collect::<Vec<_>>();
        page.gauge(
            "guestpass_certificate_expiry_timestamp_seconds",
            "When a certificate ceases to be good, by its place in the configuration and its first name.",
            certificates.iter().zip(&places).map(|(facts, place)| {
                let name = facts.names.first().map_or("", String::as_str);
                ([("place", &**place), ("name", name)], seconds(facts.not_after))
            }),
        )
    }

    fn keys(&self, page: &mut Page<'_>, now: Timestamp) -> fmt::Result {
        let facts = self.keys.facts(now);
        let ids: Vec<_> = facts.iter().map(|key| (key.id.to_string(), key)).collect();
        let keys = ids.iter().map(|(id, key)| ([("key", &**id), ("state", key.state)], 1_u64));
        page.gauge("guestpass_key_info", "The keys whose cookies are accepted.", keys)?;
        let created = ids.iter().filter_map(|(id, key)| Some(([("key", &**id)], seconds(key.created?))));
        page.gauge("guestpass_key_created_timestamp_seconds", "When a key was made.", created)?;
        let due = self.keys.rotation_due().map(|due| ([], seconds(due)));
        page.gauge("guestpass_key_rotation_due_timestamp_seconds", "When another key is to sign.", due)
    }
}

fn seconds(moment: Timestamp) -> f64 {
    moment.millis() as f64 / 1e3
}

/// What is written on: a metric at a time, with all of its samples. One without a sample is left out.
struct Page<'a>(DescriptorEncoder<'a>);

type Labels<'l, const N: usize> = [(&'l str, &'l str); N];

impl Page<'_> {
    fn counter<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| match N {
            0 => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
            _ => metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None),
        })
    }

    fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| match N {
            0 => metric.encode_gauge(&value),
            _ => metric.encode_family(&labels)?.encode_gauge(&value),
        })
    }

    fn one(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauge(name, help, [([], value)])
    }

    fn histogram<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, Durations)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        samples.try_for_each(|(labels, durations)| {
            let (sum, count, buckets) = (durations.seconds(), durations.count(), durations.buckets());
            match N {
                0 => metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None),
                _ => metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_answered() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, text/plain", Format::Text),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.8", Format::Text),
            ("Application/OpenMetrics-Text; version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Text),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_older_format_calls_a_counter_by_its_whole_name() {
        let open_metrics =
            "# HELP a Of a.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP ab Of ab.\n# TYPE ab gauge\nab 1\n# EOF\n";
        let text = "# HELP a_total Of a.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP ab Of ab.\n# TYPE ab gauge\nab 1\n";
        assert_eq!(older(open_metrics), text);
    }
}
