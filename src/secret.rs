//! Values that must not be seen: never printed, compared in constant time, wiped when dropped.
//!
//! What is secret here: the key ring's material, the OAuth client secret and access token, the session token.
//! Deriving keys and signing is the business of [`crate::cookie`].

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes, as in the key ring.
///
/// ```
/// use guestpass::secret::SecretBytes;
///
/// let secret = SecretBytes::new(b"swordfish".to_vec());
/// assert_eq!(format!("{secret:?}"), "SecretBytes(…)");
/// assert_eq!(secret.expose(), b"swordfish");
/// ```
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over; the caller keeps no copy.
    ///
    /// ```
    /// use guestpass::secret::SecretBytes;
    ///
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # let path = file.path();
    /// let secret = SecretBytes::new(std::fs::read(path)?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Each call of this is a place to look at when asking where a secret goes.
    ///
    /// ```
    /// use guestpass::secret::SecretBytes;
    ///
    /// let secret = SecretBytes::new(b"swordfish".to_vec());
    /// assert_eq!(secret.expose().len(), 9);
    /// ```
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// Secret text, such as a token that travels in a header or in JSON.
///
/// ```
/// use guestpass::secret::SecretText;
///
/// let token = SecretText::new("swordfish".to_owned());
/// assert_eq!(format!("{token:?}"), "SecretText(…)");
/// assert_eq!(token.expose(), "swordfish");
/// ```
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over; the caller keeps no copy.
    ///
    /// ```
    /// use guestpass::secret::SecretText;
    ///
    /// let client_secret = SecretText::new(std::env::var("GENESYS_CLIENT_SECRET").unwrap_or_default());
    /// ```
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Each call of this is a place to look at when asking where a secret goes.
    ///
    /// ```
    /// use guestpass::secret::SecretText;
    /// use http::HeaderValue;
    ///
    /// fn bearer(token: &SecretText) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    ///     let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
    ///     value.set_sensitive(true);
    ///     Ok(value)
    /// }
    /// # assert_eq!(bearer(&SecretText::new("a".to_owned())).unwrap(), "Bearer a");
    /// ```
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_shows_the_secret() {
        let bytes = SecretBytes::new(b"swordfish".to_vec());
        let text = SecretText::new("swordfish".to_owned());
        assert!(!format!("{bytes:?} {text:?}").contains("swordfish"));
        assert!(!format!("{bytes:?}").contains("115"), "nor as numbers");
    }

    #[test]
    fn secrets_are_equal_by_content() {
        assert_eq!(SecretText::new("a".to_owned()), SecretText::new("a".to_owned()));
        assert_ne!(SecretBytes::new(vec![1]), SecretBytes::new(vec![1, 2]));
    }
}
