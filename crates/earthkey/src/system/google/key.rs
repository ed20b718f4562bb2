//! The key of a service account, which stays where a person put it.

use serde_json::Map;
use serde_json::Value;
use url::Url;

use super::TOKEN_ENDPOINT;
use super::is_googles;
use super::kind::Kind;
use crate::host::http::is_confidential;
use crate::secret::Fingerprint;
use crate::secret::PrivateKey;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::slot::Damage;
use crate::store::slot::ServiceAccount;

/// What `type` says in such a file.
pub(super) const TYPE: &str = "service_account";

/// A service account's key.
pub(in super::super) struct Key {
    pub(super) account: ServiceAccount,
    pub(super) token_uri: Url,
    pub(in super::super) project: Option<String>,
}

impl Key {
    /// Reads a key file.
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        // serde's own words may quote a value, and with it the key.
        let file: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            Damage(format!("it is no JSON object (line {}, column {})", error.line(), error.column()))
        })?;
        if file.get("type").is_none_or(|kind| kind != TYPE) {
            let other = Kind::of(&file).map(|kind| kind.text().to_owned());
            return Err(Damage(other.unwrap_or_else(|| format!("its `type` is not `{TYPE}`"))));
        }
        let text = |name: &str| match file.get(name).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(Damage(format!("`{name}` is missing"))),
        };
        let optional = |name: &str| file.get(name).and_then(Value::as_str).map(str::to_owned);
        let token_uri = text("token_uri").unwrap_or_else(|_| TOKEN_ENDPOINT.to_owned());
        let token_uri = Url::parse(&token_uri)
            .ok()
            .filter(is_confidential)
            .ok_or_else(|| Damage("`token_uri` is no https address".into()))?;
        Ok(Self {
            account: ServiceAccount {
                email: text("client_email")?,
                // What is signed for another server must be of no use at Google's.
                audience: if is_googles(&token_uri) {
                    TOKEN_ENDPOINT.to_owned()
                } else {
                    token_uri.to_string()
                },
                key_id: optional("private_key_id"),
                key: PrivateKey::new(text("private_key")?),
            },
            token_uri,
            project: optional("project_id"),
        })
    }
}

/// The whole file is one account's, and nobody but its owner writes it.
pub(super) struct KeySlot;

impl Slot for KeySlot {
    fn name(&self) -> String {
        String::new()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let Key { account, token_uri, .. } = Key::parse(file)?;
        Ok(Some(Contents {
            grant: Some(Grant::ServiceAccount(account)),
            issued_to: Some(Fingerprint::of(token_uri.as_str())),
            ..Contents::default()
        }))
    }

    fn write(&self, old: Option<&[u8]>, _: &Contents) -> Result<Vec<u8>, Damage> {
        old.map(<[u8]>::to_vec).ok_or_else(|| Damage("keys are made elsewhere".into()))
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        Ok(Some(file.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"type":"service_account","project_id":"p-1","private_key_id":"k1",
        "private_key":"hidden","client_email":"robot@p-1.test","token_uri":"https://idp.test/token"}"#;

    fn fault(text: &str) -> String {
        Key::parse(text.as_bytes()).err().unwrap().0
    }

    #[test]
    fn a_key_is_read_with_its_own_address() {
        let key = Key::parse(FILE.as_bytes()).unwrap();
        assert_eq!(
            (key.account.email.as_str(), key.account.key_id.as_deref()),
            ("robot@p-1.test", Some("k1"))
        );
        assert_eq!(key.token_uri.as_str(), "https://idp.test/token");
        assert_eq!(key.account.audience, "https://idp.test/token", "it is of no use at Google's");
        let googles = FILE.replace("https://idp.test/token", "https://www.googleapis.com/oauth2/v4/token");
        assert_eq!(Key::parse(googles.as_bytes()).unwrap().account.audience, TOKEN_ENDPOINT);
        assert_eq!(key.project.as_deref(), Some("p-1"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_and_its_key_is_not() {
        for (text, expected) in [
            ("{\"private_key\":\"hidden", "it is no JSON object (line 1, column 22)"),
            ("{}", "its `type` is not `service_account`"),
            (r#"{"installed": {}}"#, "it is the file of a client, which signs a person in"),
            (&FILE.replace("private_key\"", "other\""), "`private_key` is missing"),
            (&FILE.replace("client_email", "other"), "`client_email` is missing"),
            (&FILE.replace("https://idp", "http://idp"), "`token_uri` is no https address"),
        ] {
            assert_eq!(fault(text), expected);
        }
    }

    #[test]
    fn nothing_that_is_done_with_a_key_changes_its_file() {
        let file = FILE.as_bytes();
        let contents = KeySlot.read(file).unwrap().unwrap();
        assert_eq!(KeySlot.write(Some(file), &contents).unwrap(), file);
        assert_eq!(KeySlot.clear(file).unwrap().unwrap(), file);
        assert!(KeySlot.write(None, &contents).is_err());
    }
}
