//! The SDK's `tokens.json`: up to three strings, two spaces, no newline at the end.

use serde_json::Map;
use serde_json::Value;

use crate::secret::AccessToken;
use crate::secret::IdToken;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::slot::Damage;

/// The whole file is one login's.
pub(super) struct TokensSlot {
    /// The client's own credentials, which are given and not in the file.
    pub(super) own_grant: Option<Grant>,
}

const KEYS: [&str; 3] = ["access_token", "id_token", "refresh_token"];

impl Slot for TokensSlot {
    fn name(&self) -> String {
        String::new()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let object = parse(file)?;
        let [access, id, refresh] = KEYS.map(|key| match object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(Damage(format!("`{key}` is no text"))),
        });
        let (access, id, refresh) = (access?, id?, refresh?);
        if access.is_none() && refresh.is_none() && self.own_grant.is_none() {
            return Ok(None);
        }
        let grant = match &self.own_grant {
            Some(grant) => Some(grant.clone()),
            None => refresh.map(|token| Grant::RefreshToken(RefreshToken::new(token))),
        };
        Ok(Some(Contents {
            grant,
            access_token: access.map(AccessToken::new),
            id_token: id.map(IdToken::new),
            ..Contents::default()
        }))
    }

    fn write(&self, old: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let old = old.map_or_else(|| Ok(Map::new()), parse)?;
        let refresh = match &contents.grant {
            Some(Grant::RefreshToken(token)) => Some(token.expose()),
            _ => None,
        };
        let values = [
            contents.access_token.as_ref().map(AccessToken::expose),
            contents.id_token.as_ref().map(IdToken::expose),
            refresh,
        ];
        let mut new = Map::new();
        for (key, value) in KEYS.into_iter().zip(values) {
            if let Some(value) = value {
                new.insert(key.to_owned(), Value::String(value.to_owned()));
            }
        }
        new.extend(old.into_iter().filter(|(key, _)| !KEYS.contains(&key.as_str())));
        serde_json::to_vec_pretty(&new).map_err(|error| Damage(error.to_string()))
    }

    fn clear(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        Ok(None)
    }
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Damage> {
    serde_json::from_slice(bytes).map_err(|error| {
        Damage(format!("it is no JSON object (line {}, column {})", error.line(), error.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: TokensSlot = TokensSlot { own_grant: None };

    #[test]
    fn the_file_is_written_as_the_sdk_writes_it_and_other_keys_are_kept() {
        let old = br#"{"refresh_token": "r1", "note": 1, "access_token": "a1"}"#;
        let mut contents = SLOT.read(old).unwrap().unwrap();
        contents.access_token = Some(AccessToken::new("a2"));
        let new = SLOT.write(Some(old), &contents).unwrap();
        assert_eq!(
            String::from_utf8(new).unwrap(),
            "{\n  \"access_token\": \"a2\",\n  \"refresh_token\": \"r1\",\n  \"note\": 1\n}"
        );
    }

    #[test]
    fn what_the_sdk_would_pass_over_in_silence_is_named() {
        assert_eq!(SLOT.read(b"{}").unwrap(), None);
        assert_eq!(SLOT.read(br#"{"id_token": "i"}"#).unwrap(), None);
        assert_eq!(
            SLOT.read(br#"{"refresh_token": 1}"#).unwrap_err(),
            Damage("`refresh_token` is no text".into())
        );
        let torn = SLOT.read(b"{\"access_token\": \"secret").unwrap_err().to_string();
        assert!(torn.starts_with("it is no JSON object") && !torn.contains("secret"), "{torn}");
    }
}
