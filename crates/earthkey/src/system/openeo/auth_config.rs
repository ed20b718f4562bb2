//! The Python client's `auth-config.json`: which client a person configured for which provider,
//! and passwords of basic authentication.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use url::Url;

use super::super::Context;
use super::directories;
use super::tokens::date;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::error::word;
use crate::secret::ClientSecret;
use crate::secret::Password;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::places::unusable;
use crate::store::slot::Damage;

/// The name of the file in the directory of configuration.
pub(super) const FILE: &str = "auth-config.json";

/// The file, as it was read.
pub(super) struct AuthConfig(Map<String, Value>);

impl AuthConfig {
    /// Reads the file; an absent one is empty. One that others can read is refused, as the
    /// Python client refuses it.
    pub(super) fn load(cx: &Context<'_>) -> Result<Self> {
        let path = directories::config(cx)?.join(FILE);
        let shown = path.display();
        let bytes = cx.read(&path).map_err(|error| unusable("cannot read", &path, error))?;
        let Some(bytes) = bytes else { return Ok(Self(Map::new())) };
        if let Ok(stat) = cx.host.fs.stat(&path)
            && stat.mode & 0o077 != 0
        {
            return Err(Error::store(format!("`{shown}` can be read by others (mode {:04o})", stat.mode))
                .caused_by("the system's own client refuses such a file, too")
                .hint(format!("let nobody else read it: `chmod 600 {}`", word(shown))));
        }
        parse(&bytes).map(Self).map_err(|damage| crate::store::places::damaged(&path, damage))
    }

    /// Returns the client that is configured for a provider of a back-end. A provider that is
    /// configured without a client stands for the default client.
    ///
    /// A client that was configured for another issuer is none for this one: its secret would go
    /// to a place that it is not of.
    pub(super) fn provider(
        &self,
        back_end: &Url,
        id: &str,
        issuer: &str,
    ) -> Option<(Option<String>, Option<ClientSecret>)> {
        let provider = self.back_end(back_end)?.get("oidc")?.get("providers")?.get(id)?;
        let configured_for = provider.get("issuer").and_then(Value::as_str);
        if configured_for.is_some_and(|of| of.trim_end_matches('/') != issuer.trim_end_matches('/')) {
            return None;
        }
        let text = |key: &str| provider.get(key).and_then(Value::as_str).map(str::to_owned);
        let client_id = text("client_id");
        let secret = client_id.as_ref().and_then(|_| text("client_secret")).map(ClientSecret::new);
        Some((client_id, secret))
    }

    /// Returns whether the file holds the grant of a login that is remembered.
    pub(super) fn holds(&self, url: &Url, profile: &Profile) -> bool {
        match profile.flow.as_deref() {
            Some("basic") => self.back_end(url).is_some_and(|entry| entry.get("basic").is_some()),
            Some("client-credentials") => {
                let named = profile.provider.as_ref().zip(profile.issuer.as_ref());
                let configured = named.and_then(|(provider, issuer)| self.provider(url, provider, issuer));
                configured.is_some_and(|(_, secret)| secret.is_some())
            }
            _ => false,
        }
    }

    fn back_end(&self, back_end: &Url) -> Option<&Value> {
        let back_ends = self.0.get("backends")?.as_object()?;
        let wanted = key_of(back_end);
        // The Python client's command line writes what was typed, its library what it connects to.
        let is_wanted = |key: &str| key == wanted || wanted.strip_prefix("https://") == Some(key);
        back_ends.iter().find(|(key, _)| is_wanted(key.trim_end_matches('/'))).map(|(_, entry)| entry)
    }
}

/// Returns a back-end as the Python client's library names it.
pub(super) fn key_of(back_end: &Url) -> String {
    back_end.as_str().trim_end_matches('/').to_owned()
}

/// One entry of one back-end.
pub(super) struct AuthConfigSlot {
    /// The back-end, as [`key_of`] names it.
    pub(super) back_end: String,
    /// Which entry.
    pub(super) entry: Entry,
    /// A grant that is given elsewhere, and not in the file.
    pub(super) own_grant: Option<Grant>,
    /// What is written as the date of a new entry, in Unix seconds.
    pub(super) now: u64,
}

/// An entry of a back-end.
pub(super) enum Entry {
    /// `basic`: user and password.
    Basic,
    /// `oidc.providers.ID`: the client to use, with its secret where it has one.
    Provider {
        /// The back-end's name for the provider.
        id: String,
        /// The client.
        client_id: String,
        /// The issuer.
        issuer: String,
    },
}

impl AuthConfigSlot {
    /// The keys that lead to the entry's parent, and the entry's own.
    fn place(&self) -> (Vec<&str>, &str) {
        match &self.entry {
            Entry::Basic => (vec!["backends", &self.back_end], "basic"),
            Entry::Provider { id, .. } => (vec!["backends", &self.back_end, "oidc", "providers"], id),
        }
    }
}

impl Slot for AuthConfigSlot {
    fn name(&self) -> String {
        let (parents, own) = self.place();
        format!("{}\n{own}", parents.join("\n"))
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let file = Value::Object(parse(file)?);
        let (parents, own) = self.place();
        let parent = parents.iter().try_fold(&file, |value, key| value.get(key));
        let Some(entry) = parent.and_then(|parent| parent.get(own)) else { return Ok(None) };
        if let Some(grant) = &self.own_grant {
            return Ok(Some(Contents { grant: Some(grant.clone()), ..Contents::default() }));
        }
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let grant = match &self.entry {
            Entry::Basic => text("username")
                .zip(text("password"))
                .map(|(username, password)| Grant::Basic { username, password: Password::new(password) }),
            Entry::Provider { client_id, .. } => text("client_secret")
                .filter(|_| text("client_id").as_ref() == Some(client_id))
                .map(|secret| Grant::ClientCredentials(ClientSecret::new(secret))),
        };
        Ok(grant.map(|grant| Contents { grant: Some(grant), ..Contents::default() }))
    }

    fn write(&self, old: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let mut file = Value::Object(old.map_or_else(|| Ok(Map::new()), parse)?);
        let date = date(self.now);
        if file.get("metadata").is_none() {
            file["metadata"] = json!({
                "type": "AuthConfig",
                "created": date,
                "created_by": concat!("earthkey ", env!("CARGO_PKG_VERSION")),
                "version": 1,
            });
            file["general"] = json!({});
        }
        let (parents, own) = self.place();
        let present = parents.iter().try_fold(&file, |value, key| value.get(key));
        let present = present.and_then(|parent| parent.get(own)).and_then(Value::as_object).cloned();
        let present = present.unwrap_or_default();
        let mut entry = present.clone();
        match (&self.entry, &contents.grant) {
            (Entry::Basic, Some(Grant::Basic { username, password })) => {
                entry.insert("username".into(), username.clone().into());
                entry.insert("password".into(), password.expose().into());
            }
            (Entry::Provider { client_id, issuer, .. }, grant) => {
                // The secret of another client is none of this one's.
                if entry.get("client_id").and_then(Value::as_str) != Some(client_id) {
                    entry.remove("client_secret");
                }
                entry.insert("client_id".into(), client_id.clone().into());
                entry.insert("issuer".into(), issuer.clone().into());
                if let Some(Grant::ClientCredentials(secret)) =
                    grant.as_ref().filter(|_| self.own_grant.is_none())
                {
                    entry.insert("client_secret".into(), secret.expose().into());
                }
            }
            (Entry::Basic, _) => return Err(Damage("this entry keeps a password alone".into())),
        }
        let mut place = &mut file;
        for key in parents {
            let object = place.as_object_mut().ok_or_else(|| Damage(format!("`{key}` is in no object")))?;
            place = object.entry(key.to_owned()).or_insert_with(|| json!({}));
        }
        let parent = place.as_object_mut().ok_or_else(|| Damage(format!("`{own}` is in no object")))?;
        if present != entry {
            entry.insert("date".into(), date.into());
            parent.insert(own.to_owned(), Value::Object(entry));
        }
        serde_json::to_vec_pretty(&file).map_err(|error| Damage(error.to_string()))
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let mut file = Value::Object(parse(file)?);
        let (parents, own) = self.place();
        let parent = parents.into_iter().try_fold(&mut file, |value, key| value.get_mut(key));
        if let Some(parent) = parent.and_then(Value::as_object_mut) {
            parent.remove(own);
        }
        serde_json::to_vec_pretty(&file).map(Some).map_err(|error| Damage(error.to_string()))
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

    fn slot(entry: Entry) -> AuthConfigSlot {
        AuthConfigSlot {
            back_end: "https://b.test/openeo".into(),
            entry,
            own_grant: None,
            now: 1_800_000_000,
        }
    }

    fn password(text: &str) -> Contents {
        let grant = Grant::Basic { username: "ada".into(), password: Password::new(text) };
        Contents { grant: Some(grant), ..Contents::default() }
    }

    #[test]
    fn entries_are_written_as_the_python_client_reads_them_and_removed_alone() {
        let file = slot(Entry::Basic).write(None, &password("one")).unwrap();
        let provider = slot(Entry::Provider {
            id: "egi".into(),
            client_id: "me".into(),
            issuer: "https://i.test".into(),
        });
        let file = provider.write(Some(&file), &Contents::default()).unwrap();
        let json: Value = serde_json::from_slice(&file).unwrap();
        let entry = &json["backends"]["https://b.test/openeo"];
        assert_eq!(entry["basic"]["username"], "ada");
        assert_eq!(entry["oidc"]["providers"]["egi"]["client_id"], "me");
        assert_eq!(entry["oidc"]["providers"]["egi"]["date"], "2027-01-15T08:00:00Z");
        assert_eq!(json["metadata"]["type"], "AuthConfig");
        assert_eq!(slot(Entry::Basic).read(&file).unwrap(), Some(password("one")));
        assert_eq!(provider.read(&file).unwrap(), None, "a client without a secret is no grant");

        let left = slot(Entry::Basic).clear(&file).unwrap().unwrap();
        assert_eq!(slot(Entry::Basic).read(&left).unwrap(), None);
        let json: Value = serde_json::from_slice(&left).unwrap();
        assert_eq!(json["backends"]["https://b.test/openeo"]["oidc"]["providers"]["egi"]["client_id"], "me");
    }

    #[test]
    fn what_is_given_elsewhere_is_not_written_down() {
        let given = Grant::ClientCredentials(ClientSecret::new("hidden"));
        let entry =
            Entry::Provider { id: "p".into(), client_id: "me".into(), issuer: "https://i.test".into() };
        let slot = AuthConfigSlot { own_grant: Some(given.clone()), ..slot(entry) };
        let contents = Contents { grant: Some(given), ..Contents::default() };
        let file = slot.write(None, &contents).unwrap();
        assert!(!String::from_utf8_lossy(&file).contains("hidden"));
        assert_eq!(slot.read(&file).unwrap(), Some(contents));
    }

    #[test]
    fn the_same_password_again_changes_nothing() {
        let file = slot(Entry::Basic).write(None, &password("one")).unwrap();
        let later = AuthConfigSlot { now: 1_900_000_000, ..slot(Entry::Basic) };
        assert_eq!(later.write(Some(&file), &password("one")).unwrap(), file);
        assert_ne!(later.write(Some(&file), &password("two")).unwrap(), file);
    }

    #[test]
    fn a_secret_survives_beside_the_same_client_and_goes_to_no_other_issuer() {
        let file = br#"{"backends": {"https://b.test/openeo": {"oidc": {"providers": {"p": {"client_id": "me", "client_secret": "s", "issuer": "https://i.test", "mine": 1}}}}}}"#;
        let entry = |client_id: &str| Entry::Provider {
            id: "p".into(),
            client_id: client_id.into(),
            issuer: "https://i.test".into(),
        };
        let same = slot(entry("me")).write(Some(file), &Contents::default()).unwrap();
        let json: Value = serde_json::from_slice(&same).unwrap();
        let provider = &json["backends"]["https://b.test/openeo"]["oidc"]["providers"]["p"];
        assert_eq!((&provider["client_secret"], &provider["mine"]), (&json!("s"), &json!(1)));
        let other = slot(entry("you")).write(Some(file), &Contents::default()).unwrap();
        assert!(!String::from_utf8(other).unwrap().contains("client_secret"));

        let config = AuthConfig(parse(file).unwrap());
        let url = Url::parse("https://b.test/openeo").unwrap();
        assert!(config.provider(&url, "p", "https://i.test/").is_some());
        assert_eq!(config.provider(&url, "p", "https://elsewhere.test"), None);
    }

    #[test]
    fn a_back_end_is_found_as_either_of_the_clients_writes_it() {
        let file = br#"{"backends": {"b.test": {"oidc": {"providers": {"p": {"client_id": "me", "client_secret": "s"}}}}}}"#;
        let config = AuthConfig(parse(file).unwrap());
        let url = Url::parse("https://b.test/").unwrap();
        assert_eq!(
            config.provider(&url, "p", "https://i.test"),
            Some((Some("me".into()), Some(ClientSecret::new("s"))))
        );
        assert_eq!(config.provider(&url, "q", "https://i.test"), None);
    }
}
