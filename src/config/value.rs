//! How a single value is read: its type, its unit, its range. Which key it belongs to is not known here.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::form::Form;
use crate::cookie::SHORTEST_SECRET;
use crate::secret::SecretBytes;

/// Ten years: no wait, age or timeout of this program has a use for more, and sums of two never overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// A value, or why it will not do.
pub(super) type Reading<T> = Result<T, Unfit>;

/// Why a value will not do.
#[derive(Debug)]
pub(super) struct Unfit {
    /// Completes a sentence that begins with the key: `is not a duration`.
    pub(super) what: String,
    /// Stands under the value.
    pub(super) label: String,
    /// What would be right.
    pub(super) help: Option<String>,
    /// The same for an editor. What says nothing of it is text, as most values are.
    pub(super) form: Form,
}

impl Unfit {
    pub(super) fn new(what: impl Into<String>, label: impl Into<String>) -> Self {
        Self { what: what.into(), label: label.into(), help: None, form: Form::Text(None) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// This word would do as well.
    pub(super) fn or_word(mut self, word: &'static str) -> Self {
        self.form = self.form.or_word(word);
        self
    }

    /// The value is of another type; which one is said, the value itself is not.
    pub(super) fn type_of(value: &DeValue<'_>, wanted: &str) -> Self {
        let found = match value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        Self::new(format!("is not {wanted}"), format!("this is {found}"))
    }
}

/// Text that some other rule restricts, of which `pattern` says as much as a regular expression can.
pub(super) fn like<T>(
    pattern: &'static str,
    read: impl Fn(&DeValue<'_>) -> Reading<T>,
) -> impl Fn(&DeValue<'_>) -> Reading<T> {
    move |value| read(value).map_err(|unfit| unfit.form(Form::Text(Some(pattern))))
}

/// Any text but what stands in examples for the reader's own.
pub(super) fn text(value: &DeValue<'_>) -> Reading<String> {
    let text = value.as_str().ok_or_else(|| Unfit::type_of(value, "text").help("put it in quotes"))?;
    if matches!(text, "…" | "...") {
        let label = "this only holds the place of a value";
        return Err(Unfit::new("is still the example's", label).help("write the value that is yours in its place"));
    }
    Ok(text.to_owned())
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Reading<bool> {
    value
        .as_bool()
        .ok_or_else(|| Unfit::type_of(value, "true or false").help("write `true` or `false`, without quotes"))
        .map_err(|unfit| unfit.form(Form::Flag))
}

/// A whole number within `range`.
pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Reading<T>
where
    T: Copy + TryFrom<i64> + TryInto<i64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let help = format!("write a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = value.as_integer() else {
            // TOML has no larger ones.
            let [least, most] = [*range.start(), *range.end()].map(|end| end.try_into().unwrap_or(i64::MAX));
            return Err(Unfit::type_of(value, "a whole number").help(help).form(Form::Number(least, most)));
        };
        let digits = integer.as_str().replace('_', "");
        let number = i64::from_str_radix(&digits, integer.radix()).ok().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Unfit::new("is out of range", "this number").help(help))
    }
}

/// Text that stands for one of a few things.
pub(super) fn one_of<T: Clone>(choices: &[(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Reading<T> {
    move |value| {
        let names = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let help = format!("write one of {names}");
        let Some(text) = value.as_str() else {
            let words = choices.iter().map(|(name, _)| *name).collect();
            return Err(Unfit::type_of(value, "text").help(help).form(Form::Words(words)));
        };
        let choice = choices.iter().find(|(name, _)| *name == text);
        let choice = choice.ok_or_else(|| Unfit::new("is none of its values", "there is no such value").help(help))?;
        Ok(choice.1.clone())
    }
}

/// Text that parses as a `T`, which `what` names: `an address`.
pub(super) fn parsed<T: FromStr>(what: &'static str, help: &'static str) -> impl Fn(&DeValue<'_>) -> Reading<T> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Unfit::type_of(value, what).help(help))?;
        text.parse().map_err(|_| Unfit::new(format!("is not {what}"), format!("expected {what}")).help(help))
    }
}

/// A span of time longer than none.
pub(super) fn duration(value: &DeValue<'_>) -> Reading<Duration> {
    const FORM: &str = "^0*[1-9][0-9]*(ms|s|m|h|d)$";
    let duration = duration_or_zero(value).map_err(|unfit| unfit.form(Form::Text(Some(FORM))))?;
    if duration.is_zero() {
        return Err(Unfit::new("is zero", "expected more than none").help("write at least \"1ms\""));
    }
    Ok(duration)
}

/// A span of time, which may be none.
pub(super) fn duration_or_zero(value: &DeValue<'_>) -> Reading<Duration> {
    const HELP: &str = "write a whole number and its unit: \"250ms\", \"30s\", \"10m\", \"1h\" or \"90d\"";
    const FORM: Form = Form::Text(Some("^[0-9]+(ms|s|m|h|d)$"));
    let text = value.as_str().ok_or_else(|| Unfit::type_of(value, "a duration").help(HELP).form(FORM))?;
    let duration = split_unit(text).and_then(|(number, unit)| {
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return None,
        };
        Some(Duration::from_millis(number.saturating_mul(millis)))
    });
    let duration =
        duration.ok_or_else(|| Unfit::new("is not a duration", "expected a number and its unit").help(HELP))?;
    if duration > LONGEST {
        return Err(Unfit::new("is longer than ten years", "this is too long").help("write at most \"3650d\""));
    }
    Ok(duration)
}

/// A number of bytes within `range`: a whole number, or text with `KiB`, `MiB` or `GiB` behind it.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Reading<u64> {
    move |value| {
        const HELP: &str = "write bytes, or a whole number and its unit: 65536, \"64KiB\", \"10MiB\" or \"1GiB\"";
        let bytes = match value {
            DeValue::String(text) => split_unit(text).and_then(|(number, unit)| {
                let unit = match unit {
                    "" => 1,
                    "KiB" => 1 << 10,
                    "MiB" => 1 << 20,
                    "GiB" => 1 << 30,
                    _ => return None,
                };
                number.checked_mul(unit)
            }),
            DeValue::Integer(_) => Some(number(0..=i64::MAX)(value)?.unsigned_abs()),
            other => {
                let most = i64::try_from(*range.end()).unwrap_or(i64::MAX);
                let bytes = Form::Number(i64::try_from(*range.start()).unwrap_or(most), most);
                let form = Form::Either(vec![bytes, Form::Text(Some("^[0-9]+(KiB|MiB|GiB)?$"))]);
                return Err(Unfit::type_of(other, "a size").help(HELP).form(form));
            }
        };
        let bytes =
            bytes.ok_or_else(|| Unfit::new("is not a size", "expected bytes, or a number and its unit").help(HELP))?;
        if !range.contains(&bytes) {
            let help = format!("write from {} to {} bytes", range.start(), range.end());
            return Err(Unfit::new("is out of range", "this size").help(help));
        }
        Ok(bytes)
    }
}

/// Key material, taken as its UTF-8 bytes.
pub(super) fn secret(value: &DeValue<'_>) -> Reading<SecretBytes> {
    const HELP: &str = "make one with `openssl rand -base64 32`";
    let text = value.as_str().ok_or_else(|| Unfit::type_of(value, "text").help(HELP))?;
    if text.len() < SHORTEST_SECRET {
        let label = format!("expected {SHORTEST_SECRET} bytes or more, this has {}", text.len());
        return Err(Unfit::new("is too short for a secret", label).help(HELP));
    }
    Ok(SecretBytes::new(text.as_bytes().to_vec()))
}

/// Whether what goes to this URL can be read on a network.
pub(super) fn is_in_the_clear(url: &str) -> bool {
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
    host.is_some_and(|host| !matches!(host, "localhost" | "[") && !host.starts_with("127."))
}

/// `250ms` as 250 and `ms`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_value(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in
            [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000), ("90d", 7_776_000_000)]
        {
            assert_eq!(duration(&text_value(text)).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "30", "s", "1.5s", "-1s", "+1s", "1 s", " 1s", "1S", "1w", "99999999999999999999s", "1s1s"] {
            assert!(duration_or_zero(&text_value(text)).is_err(), "{text}");
        }
        assert!(duration_or_zero(&text_value("0s")).is_ok() && duration(&text_value("0s")).is_err());
        assert!(duration(&text_value("3650d")).is_ok() && duration(&text_value("3651d")).is_err());
        assert!(duration(&text_value("18446744073709551615d")).is_err(), "no overflow comes out small");
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let any = size(0..=u64::MAX);
        for (text, bytes) in [("0", 0), ("65536", 65_536), ("64KiB", 65_536), ("10MiB", 10_485_760), ("1GiB", 1 << 30)]
        {
            assert_eq!(any(&text_value(text)).unwrap(), bytes, "{text}");
        }
        for text in ["", "KiB", "1KB", "1 KiB", "1kib", "-1", "1.5MiB", "17179869184GiB", "18446744073709551616"] {
            assert!(any(&text_value(text)).is_err(), "{text}");
        }
        assert!(size(2..=3)(&text_value("1")).is_err() && size(2..=3)(&text_value("3")).is_ok());
    }

    #[test]
    fn numbers_are_read_in_every_form_of_toml() {
        for (text, expected) in
            [("10_000", Some(10_000)), ("0x10", Some(16)), ("+7", Some(7)), ("-1", None), ("65536", None)]
        {
            let value = DeValue::parse(text).unwrap();
            assert_eq!(number(0..=u16::MAX)(value.get_ref()).ok(), expected, "{text}");
        }
        let huge = DeValue::parse("99999999999999999999").unwrap();
        assert!(number(0..=i64::MAX)(huge.get_ref()).is_err());
    }

    #[test]
    fn a_secret_has_32_bytes_and_is_never_quoted_when_it_has_not() {
        assert!(secret(&text_value(&"x".repeat(32))).is_ok());
        let unfit = secret(&text_value("swordfish")).unwrap_err();
        assert!(!format!("{unfit:?}").contains("swordfish"));
    }
}
