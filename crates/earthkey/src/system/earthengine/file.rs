//! The file of Earth Engine's own client: one JSON object in one line, in which people keep settings
//! of its command line, too.

use serde_json::Map;
use serde_json::Value;

use super::super::google::in_one_line;
use super::super::google::issued_to;
use super::super::google::post_client;
use super::super::google::scopes_of;
use crate::oauth::client::Client;
use crate::secret::ClientSecret;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::slot::Damage;

/// The client's own id and secret, which its source shows to everybody.
pub(super) const CLIENT_ID: &str = "517222506229-vsmmajv00ul0bs7p89v5m89qs8eb9359.apps.googleusercontent.com";
pub(super) const CLIENT_SECRET: &str = "RUP0RZ6e0pPhDzsqIJ7KlNd1";

/// What a login decides anew; everything else in the file is kept.
const OF_A_LOGIN: [&str; 5] = ["refresh_token", "client_id", "client_secret", "scopes", "redirect_uri"];

/// What the file says besides its refresh token.
#[derive(Default)]
pub(super) struct EarthEngineFile {
    pub(super) has_login: bool,
    pub(super) scopes: Vec<String>,
    pub(super) project: Option<String>,
    id: Option<String>,
    secret: Option<String>,
}

impl EarthEngineFile {
    /// Reads the file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let file = parse(bytes)?;
        let text = |name: &str| {
            let text = file.get(name).and_then(Value::as_str).map(str::to_owned);
            text.filter(|text| !text.is_empty())
        };
        let number = || file.get("project").and_then(Value::as_u64).map(|number| number.to_string());
        Ok(Self {
            has_login: text("refresh_token").is_some(),
            scopes: scopes_of(file.get("scopes")),
            // A number crashes the client; it can mean but one thing.
            project: text("project").or_else(number),
            id: text("client_id"),
            secret: text("client_secret"),
        })
    }

    /// Returns the client whose refresh token it is; what the file does not say is the client's own.
    pub(super) fn client(&self) -> Client {
        let id = self.id.as_deref().unwrap_or(CLIENT_ID);
        post_client(id, ClientSecret::new(self.secret.as_deref().unwrap_or(CLIENT_SECRET)))
    }
}

/// The keys of a login among all that the file holds.
#[derive(Default)]
pub(super) struct EarthEngineSlot {
    /// What a login writes; a refresh changes the refresh token alone.
    pub(super) login: Option<NewLogin>,
    /// Whether the file is one of ours, of which no client knows: without a login it is good for nothing
    /// but the next sign-in, and goes when it is to be forgotten.
    pub(super) is_ours: bool,
}

/// What a login writes besides what was granted.
pub(super) struct NewLogin {
    pub(super) client: Client,
    /// The project, if another is to be kept than the one in the file.
    pub(super) project: Option<String>,
}

impl Slot for EarthEngineSlot {
    fn name(&self) -> String {
        String::new()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let client = EarthEngineFile::parse(file)?.client();
        let file = parse(file)?;
        let Some(token) = file.get("refresh_token").and_then(Value::as_str).filter(|token| !token.is_empty())
        else {
            return Ok(None);
        };
        Ok(Some(Contents {
            grant: Some(Grant::RefreshToken(RefreshToken::new(token))),
            scopes: Some(scopes_of(file.get("scopes"))).filter(|scopes| !scopes.is_empty()),
            issued_to: Some(issued_to(&client, None)),
            ..Contents::default()
        }))
    }

    fn write(&self, old: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let Some(Grant::RefreshToken(token)) = &contents.grant else {
            return Err(Damage("this file keeps refresh tokens alone".into()));
        };
        let mut file = old.map_or_else(|| Ok(Map::new()), parse)?;
        let Some(login) = &self.login else {
            let is_same = file.get("refresh_token").and_then(Value::as_str) == Some(token.expose());
            if let Some(old) = old.filter(|_| is_same) {
                return Ok(old.to_vec());
            }
            file.insert("refresh_token".into(), token.expose().into());
            return in_one_line(&file);
        };
        file.retain(|name, _| !OF_A_LOGIN.contains(&name.as_str()));
        // The client takes its own id for granted, as it leaves it out itself.
        if let Some(secret) = login.client.secret()
            && login.client.id != CLIENT_ID
        {
            file.insert("client_id".into(), login.client.id.as_str().into());
            file.insert("client_secret".into(), secret.expose().into());
        }
        file.insert("refresh_token".into(), token.expose().into());
        file.insert("scopes".into(), contents.scopes.clone().unwrap_or_default().into());
        if let Some(project) = &login.project {
            file.insert("project".into(), project.as_str().into());
        }
        in_one_line(&file)
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let mut left = parse(file)?;
        let has_login =
            left.get("refresh_token").and_then(Value::as_str).is_some_and(|token| !token.is_empty());
        if self.is_ours && !has_login {
            return Ok(None);
        }
        left.retain(|name, _| !OF_A_LOGIN.contains(&name.as_str()));
        if left.is_empty() { Ok(None) } else { in_one_line(&left).map(Some) }
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

    fn contents(token: &str) -> Contents {
        Contents {
            grant: Some(Grant::RefreshToken(RefreshToken::new(token))),
            scopes: Some(vec!["a".into(), "b".into()]),
            ..Contents::default()
        }
    }

    fn signed_in(old: Option<&str>, client: Client, project: Option<&str>) -> String {
        let login = NewLogin { client, project: project.map(str::to_owned) };
        let slot = EarthEngineSlot { login: Some(login), is_ours: false };
        String::from_utf8(slot.write(old.map(str::as_bytes), &contents("1//r")).unwrap()).unwrap()
    }

    fn own() -> Client {
        EarthEngineFile::default().client()
    }

    #[test]
    fn a_login_writes_what_the_client_would() {
        assert_eq!(signed_in(None, own(), None), r#"{"refresh_token": "1//r", "scopes": ["a", "b"]}"#);
        let mine = post_client("42-x", ClientSecret::new("s"));
        assert_eq!(
            signed_in(None, mine, Some("p-1")),
            r#"{"client_id": "42-x", "client_secret": "s", "refresh_token": "1//r", "scopes": ["a", "b"], "project": "p-1"}"#
        );
    }

    #[test]
    fn a_login_keeps_project_and_settings_and_nothing_of_the_former_login() {
        let old = r#"{"client_id": "old", "client_secret": "old", "refresh_token": "old", "scopes": ["old"],
            "redirect_uri": "old", "project": "p-1", "url": "https://ee.test", "cloud_api_key": "k"}"#;
        let new = signed_in(Some(old), own(), None);
        assert_eq!(
            new,
            r#"{"project": "p-1", "url": "https://ee.test", "cloud_api_key": "k", "refresh_token": "1//r", "scopes": ["a", "b"]}"#
        );
        assert!(signed_in(Some(old), own(), Some("p-2")).contains(r#""project": "p-2""#));
    }

    #[test]
    fn a_logout_leaves_what_is_not_of_the_login() {
        let slot = EarthEngineSlot::default();
        let file = br#"{"refresh_token": "r", "scopes": [], "project": "p-1", "url": "u"}"#;
        assert_eq!(slot.clear(file).unwrap().unwrap(), br#"{"project": "p-1", "url": "u"}"#);
        assert_eq!(slot.clear(br#"{"refresh_token": "r"}"#).unwrap(), None);
        let rest = br#"{"project": "p-1", "url": "u"}"#;
        assert_eq!(slot.clear(rest).unwrap().unwrap(), rest);
        let ours = EarthEngineSlot { is_ours: true, ..EarthEngineSlot::default() };
        assert_eq!(ours.clear(file).unwrap().unwrap(), rest);
        assert_eq!(ours.clear(rest).unwrap(), None);
    }

    #[test]
    fn a_refresh_changes_the_refresh_token_or_nothing() {
        let slot = EarthEngineSlot::default();
        let file = br#"{"refresh_token":"r1",   "scopes":["s"]}"#;
        let mut contents = slot.read(file).unwrap().unwrap();
        assert_eq!(contents.scopes.as_deref(), Some(&["s".to_owned()][..]));
        assert_eq!(slot.write(Some(file), &contents).unwrap(), file);
        contents.grant = Some(Grant::RefreshToken(RefreshToken::new("r2")));
        assert_eq!(
            slot.write(Some(file), &contents).unwrap(),
            br#"{"refresh_token": "r2", "scopes": ["s"]}"#
        );
        let file = r#"{"refresh_token": "r1", "note": "caf\u00e9"}"#.as_bytes();
        assert_eq!(
            slot.write(Some(file), &contents).unwrap(),
            br#"{"refresh_token": "r2", "note": "caf\u00e9"}"#,
            "what is kept stays as the client wrote it"
        );
    }

    #[test]
    fn what_the_client_would_stumble_over_is_read() {
        let file = |text: &str| EarthEngineFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file(r#"{"client_id": null, "refresh_token": "r"}"#).client().id, CLIENT_ID);
        assert_eq!(file(r#"{"project": 424242}"#).project.as_deref(), Some("424242"));
        assert_eq!(file(r#"{"scopes": "a b"}"#).scopes, ["a", "b"]);
        assert!(!file(r#"{"refresh_token": ""}"#).has_login && !file("{}").has_login);
        let fault = EarthEngineFile::parse(b"{\"refresh_token\": \"hidden").err().unwrap().0;
        assert!(fault.starts_with("it is no JSON object") && !fault.contains("hidden"), "{fault}");
    }
}
