//! The Python client's `refresh-tokens.json`: `{issuer: {client_id: {date, refresh_token}}}`.

use serde_json::Map;
use serde_json::Value;

use super::super::Context;
use super::directories;
use crate::error::Result;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::places::unusable;
use crate::store::slot::Damage;

/// The entry of one client of one issuer.
pub(super) struct TokenSlot {
    /// The issuer as the file names it.
    pub(super) issuer: String,
    /// The client.
    pub(super) client_id: String,
    /// What is written as the date of a new entry, in Unix seconds.
    pub(super) now: u64,
}

/// Returns an issuer as the file names it: without slashes at its end, and nothing else changed.
pub(super) fn issuer_key(issuer: &str) -> String {
    match issuer.trim_end_matches('/') {
        "" => "/".to_owned(),
        key => key.to_owned(),
    }
}

/// Returns the issuer and client of every token that is stored.
pub(super) fn stored(cx: &Context<'_>) -> Result<Vec<(String, String)>> {
    let path = directories::data(cx)?.join("refresh-tokens.json");
    let bytes = cx.read(&path).map_err(|error| unusable("cannot read", &path, error))?;
    let Some(bytes) = bytes else { return Ok(Vec::new()) };
    let file = parse(&bytes).map_err(|damage| crate::store::places::damaged(&path, damage))?;
    let of_issuer = |(issuer, clients): (&String, &Value)| {
        let clients = clients.as_object().into_iter().flatten();
        clients
            .filter(|(_, entry)| entry.get("refresh_token").is_some_and(Value::is_string))
            .map(|(client, _)| (issuer.clone(), client.clone()))
            .collect::<Vec<_>>()
    };
    Ok(file.iter().flat_map(of_issuer).collect())
}

impl Slot for TokenSlot {
    fn name(&self) -> String {
        format!("{}\n{}", self.issuer, self.client_id)
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let file = parse(file)?;
        let Some(entry) = file.get(&self.issuer).and_then(|clients| clients.get(&self.client_id)) else {
            return Ok(None);
        };
        match entry.get("refresh_token") {
            Some(Value::String(token)) if !token.is_empty() => Ok(Some(Contents {
                grant: Some(Grant::RefreshToken(RefreshToken::new(token.clone()))),
                ..Contents::default()
            })),
            _ => Err(Damage(format!("the entry of `{}` holds no refresh token", self.issuer))),
        }
    }

    fn write(&self, old: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let mut file = old.map_or_else(|| Ok(Map::new()), parse)?;
        let Some(Grant::RefreshToken(token)) = &contents.grant else {
            return Err(Damage("this file keeps refresh tokens alone".into()));
        };
        let clients = file.entry(self.issuer.clone()).or_insert_with(|| Value::Object(Map::new()));
        let clients = clients
            .as_object_mut()
            .ok_or_else(|| Damage(format!("the entry of `{}` is no object", self.issuer)))?;
        let entry = clients.entry(self.client_id.clone()).or_insert_with(|| Value::Object(Map::new()));
        let entry = entry
            .as_object_mut()
            .ok_or_else(|| Damage(format!("the entry of `{}` is no object", self.issuer)))?;
        if entry.get("refresh_token").and_then(Value::as_str) != Some(token.expose()) {
            entry.insert("date".into(), Value::String(date(self.now)));
            entry.insert("refresh_token".into(), Value::String(token.expose().to_owned()));
        }
        serialize(&file)
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let mut file = parse(file)?;
        if let Some(clients) = file.get_mut(&self.issuer).and_then(Value::as_object_mut) {
            clients.remove(&self.client_id);
            if clients.is_empty() {
                file.remove(&self.issuer);
            }
        }
        if file.is_empty() { Ok(None) } else { serialize(&file).map(Some) }
    }
}

fn serialize(file: &Map<String, Value>) -> Result<Vec<u8>, Damage> {
    serde_json::to_vec_pretty(file).map_err(|error| Damage(error.to_string()))
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Damage> {
    serde_json::from_slice(bytes).map_err(|error| {
        Damage(format!("it is no JSON object (line {}, column {})", error.line(), error.column()))
    })
}

/// Returns a moment as the Python client writes it.
pub(super) fn date(now: u64) -> String {
    let timestamp = i64::try_from(now).ok().and_then(|now| jiff::Timestamp::from_second(now).ok());
    timestamp.unwrap_or_default().to_string()
}
