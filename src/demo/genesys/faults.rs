//! How the simulator misbehaves: settings that a test, a flag or a call can make.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::demo::genesys::Endpoint;
use crate::demo::genesys::wire::{FaultsForm, RetryAfter};
use crate::random::Random;

/// What is wrong with the simulator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Whom it hits.
    pub on: Target,
    /// Every answer takes this much longer.
    pub latency: Duration,
    /// This share of the calls, 0 to 1, is answered with 503.
    pub error_rate: f64,
    /// What happens to a call.
    pub trouble: Option<Trouble>,
    /// To how many calls it happens; to all of them when missing.
    pub times: Option<u32>,
}

/// The endpoints that faults hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The sessions' endpoint.
    #[default]
    Sessions,
    /// The token endpoint.
    Token,
    /// Both.
    Both,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is answered with a status, and nothing is made.
    Status {
        /// The status.
        status: StatusCode,
        /// `Retry-After`, as it is to be sent.
        retry_after: Option<String>,
    },
    /// It is never answered, and nothing is made.
    Hang,
    /// What was asked for is made, and the connection breaks in the middle of the answer.
    Cut,
    /// What was asked for is made, and the answer is wrong.
    Malformed(Malformation),
}

/// In which way an answer is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformation {
    /// It is no JSON.
    NotJson,
    /// The token is missing.
    MissingToken,
    /// The token has not the form of one.
    BadToken,
    /// It expired long ago.
    Past,
    /// It expires later than any session may.
    TooFar,
    /// It is a megabyte long.
    Huge,
}

/// Why faults make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultsError {
    /// No word for an endpoint.
    #[error("`on` is sessions, token or both, not {0:?}")]
    Target(String),
    /// No duration.
    #[error("a latency is a number and ms or s, such as 250ms, not {0:?}")]
    Latency(String),
    /// No share.
    #[error("`error_rate` lies between 0 and 1")]
    ErrorRate,
    /// No status of an answer.
    #[error("`status` lies between 200 and 599, not {0}")]
    Status(u16),
    /// No value of a header.
    #[error("`retry_after` cannot stand in a header")]
    RetryAfter,
    /// A time to come again without a status that tells of it.
    #[error("`retry_after` needs a `status`")]
    RetryAfterAlone,
    /// No word for a malformation.
    #[error("`malformed` is not_json, missing_token, bad_token, past, too_far or huge, not {0:?}")]
    Malformation(String),
    /// Two things cannot happen to one call.
    #[error("only one of `status`, `hang`, `cut` and `malformed` can happen to a call")]
    SeveralTroubles,
    /// Nothing that could happen so many times.
    #[error("`times` needs one of `status`, `hang`, `cut` and `malformed`")]
    TimesAlone,
}

/// What happens to one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Struck {
    pub(super) latency: Duration,
    pub(super) trouble: Option<Trouble>,
}

impl Faults {
    /// One thing that happens to every session call from now on.
    #[must_use]
    pub fn always(trouble: Trouble) -> Self {
        Self { trouble: Some(trouble), ..Self::default() }
    }

    /// One thing that happens to the next `times` session calls.
    #[must_use]
    pub fn next(times: u32, trouble: Trouble) -> Self {
        Self { times: Some(times), ..Self::always(trouble) }
    }

    /// The same, on other endpoints.
    #[must_use]
    pub fn on(mut self, target: Target) -> Self {
        self.on = target;
        self
    }

    /// Whether each field makes sense, and all of them together.
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn check(&self) -> Result<(), FaultsError> {
        if !(0.0..=1.0).contains(&self.error_rate) {
            return Err(FaultsError::ErrorRate);
        }
        if self.times.is_some() && self.trouble.is_none() {
            return Err(FaultsError::TimesAlone);
        }
        if let Some(Trouble::Status { status, retry_after }) = &self.trouble {
            if !(200..=599).contains(&status.as_u16()) {
                return Err(FaultsError::Status(status.as_u16()));
            }
            if retry_after.as_deref().is_some_and(|value| HeaderValue::from_str(value).is_err()) {
                return Err(FaultsError::RetryAfter);
            }
        }
        Ok(())
    }

    /// Decides what happens to a call, and counts it.
    pub(super) fn strike(&mut self, endpoint: Endpoint, random: &dyn Random) -> Struck {
        if !self.on.hits(endpoint) {
            return Struck { latency: Duration::ZERO, trouble: None };
        }
        let trouble = match &mut self.times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                self.trouble.clone()
            }
            None => self.trouble.clone(),
        };
        let trouble = trouble.or_else(|| {
            let failing = Trouble::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None };
            (random.unit() < self.error_rate).then_some(failing)
        });
        Struck { latency: self.latency, trouble }
    }
}

impl Target {
    /// The word for it in a flag and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Token => "token",
            Self::Both => "both",
        }
    }

    /// Reads that word.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub fn parse(word: &str) -> Result<Self, FaultsError> {
        let known = [Self::Sessions, Self::Token, Self::Both];
        known.into_iter().find(|one| one.as_str() == word).ok_or_else(|| FaultsError::Target(word.to_owned()))
    }

    const fn hits(self, endpoint: Endpoint) -> bool {
        matches!(
            (self, endpoint),
            (Self::Sessions | Self::Both, Endpoint::Session) | (Self::Token | Self::Both, Endpoint::Token)
        )
    }
}

impl Trouble {
    /// A status, without `Retry-After`.
    #[must_use]
    pub const fn status(status: StatusCode) -> Self {
        Self::Status { status, retry_after: None }
    }

    /// A word for it in a log.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Hang => "hang",
            Self::Cut => "cut",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl Malformation {
    /// The word for it in a flag and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::MissingToken => "missing_token",
            Self::BadToken => "bad_token",
            Self::Past => "past",
            Self::TooFar => "too_far",
            Self::Huge => "huge",
        }
    }

    /// Reads that word.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub fn parse(word: &str) -> Result<Self, FaultsError> {
        [Self::NotJson, Self::MissingToken, Self::BadToken, Self::Past, Self::TooFar, Self::Huge]
            .into_iter()
            .find(|one| one.as_str() == word)
            .ok_or_else(|| FaultsError::Malformation(word.to_owned()))
    }
}

/// Reads a share: 0 is none, 1 is all.
///
/// # Errors
///
/// It is none.
pub fn parse_share(text: &str) -> Result<f64, FaultsError> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or(FaultsError::ErrorRate)
}

/// Reads a latency: `250ms`, `2s`.
///
/// # Errors
///
/// It is none.
pub fn parse_latency(text: &str) -> Result<Duration, FaultsError> {
    let wrong = || FaultsError::Latency(text.to_owned());
    let (number, unit): (&str, fn(u32) -> Duration) = if let Some(number) = text.strip_suffix("ms") {
        (number, |millis| Duration::from_millis(millis.into()))
    } else {
        (text.strip_suffix('s').ok_or_else(wrong)?, |seconds| Duration::from_secs(seconds.into()))
    };
    number.parse().map(unit).map_err(|_| wrong())
}

impl TryFrom<FaultsForm> for Faults {
    type Error = FaultsError;

    fn try_from(form: FaultsForm) -> Result<Self, FaultsError> {
        let retry_after = form.retry_after.map(|value| match value {
            RetryAfter::Seconds(seconds) => seconds.to_string(),
            RetryAfter::Value(value) => value,
        });
        if retry_after.is_some() && form.status.is_none() {
            return Err(FaultsError::RetryAfterAlone);
        }
        let status = form.status.map(|code| StatusCode::from_u16(code).map_err(|_| FaultsError::Status(code)));
        let malformation = form.malformed.as_deref().map(Malformation::parse).transpose()?;
        let mut troubles = [
            status.transpose()?.map(|status| Trouble::Status { status, retry_after }),
            form.hang.then_some(Trouble::Hang),
            form.cut.then_some(Trouble::Cut),
            malformation.map(Trouble::Malformed),
        ]
        .into_iter()
        .flatten();
        let trouble = troubles.next();
        if troubles.next().is_some() {
            return Err(FaultsError::SeveralTroubles);
        }
        let faults = Self {
            on: form.on.as_deref().map(Target::parse).transpose()?.unwrap_or_default(),
            latency: form.latency.as_deref().map(parse_latency).transpose()?.unwrap_or_default(),
            error_rate: form.error_rate.unwrap_or_default(),
            trouble,
            times: form.times,
        };
        faults.check().map(|()| faults)
    }
}

impl From<&Faults> for FaultsForm {
    fn from(faults: &Faults) -> Self {
        let mut form = Self {
            on: Some(faults.on.as_str().to_owned()),
            latency: Some(format!("{}ms", faults.latency.as_millis())),
            error_rate: Some(faults.error_rate),
            times: faults.times,
            ..Self::default()
        };
        match &faults.trouble {
            Some(Trouble::Status { status, retry_after }) => {
                form.status = Some(status.as_u16());
                form.retry_after = retry_after.clone().map(RetryAfter::Value);
            }
            Some(Trouble::Hang) => form.hang = true,
            Some(Trouble::Cut) => form.cut = true,
            Some(Trouble::Malformed(malformation)) => form.malformed = Some(malformation.as_str().to_owned()),
            None => {}
        }
        form
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn read(json: &str) -> Result<Faults, FaultsError> {
        Faults::try_from(serde_json::from_str::<FaultsForm>(json).unwrap())
    }

    #[test]
    fn faults_are_read_and_written_back() {
        let json = r#"{"on":"both","latency":"250ms","error_rate":0.5,"status":429,"retry_after":2,"times":3}"#;
        let faults = read(json).unwrap();
        assert_eq!((faults.on, faults.latency, faults.times), (Target::Both, Duration::from_millis(250), Some(3)));
        let trouble = Trouble::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some("2".to_owned()) };
        assert_eq!(faults.trouble, Some(trouble));
        assert_eq!(Faults::try_from(FaultsForm::from(&faults)), Ok(faults));
        assert_eq!(read("{}"), Ok(Faults::default()));
        for word in ["not_json", "missing_token", "bad_token", "past", "too_far", "huge"] {
            let faults = read(&format!(r#"{{"malformed":"{word}"}}"#)).unwrap();
            assert_eq!(Faults::try_from(FaultsForm::from(&faults)), Ok(faults));
        }
    }

    #[test]
    fn faults_that_make_no_sense_are_refused() {
        for (json, error) in [
            (r#"{"on":"all"}"#, FaultsError::Target("all".to_owned())),
            (r#"{"latency":"fast"}"#, FaultsError::Latency("fast".to_owned())),
            (r#"{"latency":"ms"}"#, FaultsError::Latency("ms".to_owned())),
            (r#"{"error_rate":1.5}"#, FaultsError::ErrorRate),
            (r#"{"status":1000}"#, FaultsError::Status(1000)),
            (r#"{"status":101}"#, FaultsError::Status(101)),
            (r#"{"status":429,"retry_after":"a\nb"}"#, FaultsError::RetryAfter),
            (r#"{"retry_after":1}"#, FaultsError::RetryAfterAlone),
            (r#"{"malformed":"odd"}"#, FaultsError::Malformation("odd".to_owned())),
            (r#"{"hang":true,"cut":true}"#, FaultsError::SeveralTroubles),
            (r#"{"times":3}"#, FaultsError::TimesAlone),
        ] {
            assert_eq!(read(json), Err(error), "{json}");
        }
        assert!(serde_json::from_str::<FaultsForm>(r#"{"latncy":"1s"}"#).is_err());
    }

    #[test]
    fn trouble_hits_its_endpoint_as_often_as_said() {
        let mut faults = Faults::next(2, Trouble::Hang).on(Target::Token);
        let mut hit = |endpoint| faults.strike(endpoint, &SystemRandom).trouble.is_some();
        assert!(!hit(Endpoint::Session) && !hit(Endpoint::Other));
        assert!(hit(Endpoint::Token) && hit(Endpoint::Token) && !hit(Endpoint::Token));
    }

    #[test]
    fn the_error_rate_is_a_share() {
        let mut faults = Faults { error_rate: 0.3, ..Faults::default() };
        let failed = (0..2_000).filter(|_| faults.strike(Endpoint::Session, &SystemRandom).trouble.is_some()).count();
        assert!((400..800).contains(&failed), "{failed}");
    }
}
