//! The environment over the file: which settings have a variable, and what stands in it.
//!
//! Only what an orchestrator hands to a process has one, and every one of them may also come as `NAME_FILE`, the path
//! of a file with the value, which is how Docker and Kubernetes hand over secrets.

use std::path::PathBuf;

/// Which variable goes over which key.
const VARIABLES: [(&str, &str); 10] = [
    ("admin.token", "GUESTPASS_ADMIN_TOKEN"),
    ("genesys.base_url", "GENESYS_BASE_URL"),
    ("genesys.client_id", "GENESYS_CLIENT_ID"),
    ("genesys.client_secret", "GENESYS_CLIENT_SECRET"),
    ("genesys.organization_id", "GENESYS_ORGANIZATION_ID"),
    ("genesys.region", "GENESYS_REGION"),
    ("genesys.scopes", "GENESYS_SCOPES"),
    ("keys.secret", "HMAC_SECRET"),
    ("kms.webhook_secret", "KMS_WEBHOOK_SECRET"),
    ("kms.webhook_url", "KMS_WEBHOOK_URL"),
];

/// A variable that has no key, since a key that was replaced should not linger in a file.
pub(super) const PREVIOUS_SECRET: &str = "HMAC_SECRET_PREVIOUS";

/// What a variable says.
#[derive(Debug)]
pub(super) struct Variable {
    /// Its name, with `_FILE` when the value came from a file.
    pub(super) name: String,
    pub(super) text: String,
}

/// Why a variable says nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{name} and {name}_FILE are both set")]
    Both { name: String },
    #[error("the file {} of {variable} cannot be read", path.display())]
    Unreadable { variable: String, path: PathBuf, source: std::io::Error },
    #[error("the file {} of {variable} is not UTF-8", path.display())]
    NotText { variable: String, path: PathBuf },
}

impl Error {
    /// The variable to look at.
    pub(super) fn variable(&self) -> &str {
        match self {
            Self::Both { name } => name,
            Self::Unreadable { variable, .. } | Self::NotText { variable, .. } => variable,
        }
    }

    /// What would be right.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Both { name } => format!("unset {name} or {name}_FILE: nobody can tell which of them is meant"),
            Self::Unreadable { source, .. } => format!("the system says: {source}"),
            Self::NotText { .. } => "write the value as text, such as the base64 of random bytes".to_owned(),
        }
    }
}

/// The variable that goes over the key at `path`.
pub(super) fn name_of(path: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(key, _)| *key == path).map(|(_, name)| *name)
}

/// What the environment says of the key at `path`.
pub(super) fn of(path: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Variable>, Error> {
    name_of(path).map_or(Ok(None), |name| read(name, env))
}

/// What `name` or `name_FILE` says. An empty one says nothing: that is how a compose file hands on what is not set.
/// The path of a file starts at the working directory, as with every other program that takes one from there.
pub(super) fn read(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Variable>, Error> {
    let said = |name: &str| env(name).filter(|text| !text.is_empty());
    let file_variable = format!("{name}_FILE");
    let path = match (said(name), said(&file_variable)) {
        (Some(_), Some(_)) => return Err(Error::Both { name: name.to_owned() }),
        (Some(text), None) => return Ok(Some(Variable { name: name.to_owned(), text })),
        (None, None) => return Ok(None),
        (None, Some(path)) => PathBuf::from(path),
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(Error::Unreadable { variable: file_variable, path, source }),
    };
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(Error::NotText { variable: file_variable, path });
    };
    // Editors and `echo` end a file with a newline that nobody means; a second one is meant.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok((!text.is_empty()).then_some(Variable { name: file_variable, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Result<Option<(String, String)>, Error> {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        Ok(of("keys.secret", &env)?.map(|variable| (variable.name, variable.text)))
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        assert_eq!(said(&[]).unwrap(), None);
        assert_eq!(said(&[("HMAC_SECRET", ""), ("HMAC_SECRET_FILE", "")]).unwrap(), None);
        let one = said(&[("HMAC_SECRET", "x"), ("HMAC_SECRET_FILE", "")]).unwrap();
        assert_eq!(one, Some(("HMAC_SECRET".to_owned(), "x".to_owned())));
    }

    #[test]
    fn of_a_file_one_newline_at_the_end_is_cut() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (content, text) in
            [("x", "x"), ("x\n", "x"), ("x\r\n", "x"), ("x\n\n", "x\n"), (" x ", " x "), ("x\r", "x\r")]
        {
            std::fs::write(path, content).unwrap();
            let found = said(&[("HMAC_SECRET_FILE", path)]).unwrap();
            assert_eq!(found, Some(("HMAC_SECRET_FILE".to_owned(), text.to_owned())), "{content:?}");
        }
        std::fs::write(path, "\n").unwrap();
        assert_eq!(said(&[("HMAC_SECRET_FILE", path)]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_used_names_its_variable() {
        let both = said(&[("HMAC_SECRET", "x"), ("HMAC_SECRET_FILE", "y")]).unwrap_err();
        assert_eq!(both.variable(), "HMAC_SECRET");
        let missing = said(&[("HMAC_SECRET_FILE", "/does/not/exist")]).unwrap_err();
        assert_eq!(missing.variable(), "HMAC_SECRET_FILE");
    }
}
