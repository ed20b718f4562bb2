//! The file of a person's Application Default Credentials: `{"type": "authorized_user", …}`, as
//! `gcloud` writes it and Google's libraries read it.

use serde_json::Map;
use serde_json::Value;
use url::Url;

use super::Addresses;
use super::Whose;
use super::json::indented;
use super::post_client;
use crate::host::http::is_confidential;
use crate::oauth::client::Client;
use crate::secret::ClientSecret;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::slot::Damage;

/// What `type` says in such a file.
pub(super) const TYPE: &str = "authorized_user";

/// What a login decides anew; everything else in a file is kept.
const OF_A_LOGIN: [&str; 14] = [
    "account",
    "auth_uri",
    "client_id",
    "client_secret",
    "expiry",
    "quota_project_id",
    "rapt_token",
    "refresh_token",
    "scopes",
    "token",
    "token_uri",
    "trust_boundary",
    "type",
    "universe_domain",
];

/// What such a file says besides its refresh token.
pub(in super::super) struct AuthorizedUser {
    pub(in super::super) client: Client,
    /// What its client asks for at each refresh; none is all that was granted.
    pub(in super::super) scopes: Vec<String>,
    pub(in super::super) quota_project: Option<String>,
    pub(in super::super) account: Option<String>,
    /// Where it was signed in, in files of ours; the libraries ask Google whatever it says.
    pub(in super::super) addresses: Option<Addresses>,
    /// What a person's organisation has asked for beyond the grant (Google's reauthentication).
    pub(in super::super) rapt: Option<RefreshToken>,
}

impl AuthorizedUser {
    /// Reads a file, and of it what counts in one of that kind.
    pub(in super::super) fn parse(bytes: &[u8], whose: Whose) -> Result<Self, Damage> {
        let file = parse(bytes)?;
        let text = |name: &str| {
            let text = file.get(name).and_then(Value::as_str).map(str::to_owned);
            text.filter(|text| !text.is_empty())
        };
        let missing: Vec<_> = ["refresh_token", "client_id", "client_secret"]
            .into_iter()
            .filter(|name| text(name).is_none())
            .map(|name| format!("`{name}`"))
            .collect();
        let (Some(id), Some(secret), []) = (text("client_id"), text("client_secret"), missing.as_slice())
        else {
            let verb = if missing.len() == 1 { "is" } else { "are" };
            return Err(Damage(format!("{} {verb} missing", missing.join(" and "))));
        };
        // What nobody follows need not be an address at all.
        let address = |name: &str| match text(name).filter(|_| whose == Whose::Ours) {
            None => Ok(None),
            Some(text) => match Url::parse(&text).ok().filter(is_confidential) {
                Some(url) => Ok(Some(url)),
                None => Err(Damage(format!("`{name}` is no https address"))),
            },
        };
        let addresses = address("auth_uri")?.zip(address("token_uri")?);
        Ok(Self {
            client: post_client(id, ClientSecret::new(secret)),
            scopes: scopes(file.get("scopes")),
            quota_project: text("quota_project_id"),
            account: text("account"),
            addresses: addresses.map(|(authorization, token)| Addresses { authorization, token }),
            rapt: text("rapt_token").map(RefreshToken::new),
        })
    }
}

/// Returns the scopes of a file, where they are a list or words in a text.
pub(in super::super) fn scopes(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The whole file is one login's.
pub(in super::super) struct AuthorizedUserSlot {
    /// Whose the file is.
    pub(in super::super) whose: Whose,
    /// What a login writes; a refresh changes the refresh token alone.
    pub(in super::super) login: Option<NewLogin>,
}

impl Default for AuthorizedUserSlot {
    fn default() -> Self {
        Self { whose: Whose::Googles, login: None }
    }
}

/// What a login writes besides what was granted.
pub(in super::super) struct NewLogin {
    pub(in super::super) client: Client,
    pub(in super::super) quota_project: QuotaProject,
    /// Where the grant goes, in files of ours; `gcloud` writes neither that nor scopes.
    pub(in super::super) addresses: Option<Addresses>,
}

/// What becomes of the quota project of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QuotaProject {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes.
    Remove,
    /// It becomes this one.
    Set(String),
}

/// In a sign-in that waits, an empty text is what a person wants removed.
impl From<Option<String>> for QuotaProject {
    fn from(text: Option<String>) -> Self {
        match text {
            None => Self::Keep,
            Some(text) if text.is_empty() => Self::Remove,
            Some(text) => Self::Set(text),
        }
    }
}

impl From<QuotaProject> for Option<String> {
    fn from(project: QuotaProject) -> Self {
        match project {
            QuotaProject::Keep => None,
            QuotaProject::Remove => Some(String::new()),
            QuotaProject::Set(text) => Some(text),
        }
    }
}

impl Slot for AuthorizedUserSlot {
    fn name(&self) -> String {
        String::new()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let user = AuthorizedUser::parse(file, self.whose)?;
        let file = parse(file)?;
        let token = file.get("refresh_token").and_then(Value::as_str).unwrap_or_default();
        Ok(Some(Contents {
            grant: Some(Grant::RefreshToken(RefreshToken::new(token))),
            scopes: Some(scopes(file.get("scopes"))).filter(|scopes| !scopes.is_empty()),
            issued_to: Some(issued_to(&user.client, user.addresses.as_ref())),
            ..Contents::default()
        }))
    }

    fn write(&self, old: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let Some(Grant::RefreshToken(token)) = &contents.grant else {
            return Err(Damage("this file keeps refresh tokens alone".into()));
        };
        let mut file = old.map_or_else(|| Ok(Map::new()), parse)?;
        let is_same = file.get("refresh_token").and_then(Value::as_str) == Some(token.expose());
        let Some(login) = &self.login else {
            if let Some(old) = old.filter(|_| is_same) {
                return Ok(old.to_vec());
            }
            file.insert("refresh_token".into(), token.expose().into());
            return indented(&file);
        };
        let secret = login.client.secret().map_or("", ClientSecret::expose);
        let quota_project = match &login.quota_project {
            QuotaProject::Keep => file.get("quota_project_id").cloned(),
            QuotaProject::Remove => None,
            QuotaProject::Set(project) => Some(project.as_str().into()),
        };
        file.retain(|name, _| !OF_A_LOGIN.contains(&name.as_str()));
        let mut set = |name: &str, value: Value| drop(file.insert(name.to_owned(), value));
        set("account", "".into());
        set("client_id", login.client.id.as_str().into());
        set("client_secret", secret.into());
        set("refresh_token", token.expose().into());
        set("type", TYPE.into());
        set("universe_domain", "googleapis.com".into());
        if let Some(project) = quota_project {
            set("quota_project_id", project);
        }
        if let Some(Addresses { authorization, token }) = &login.addresses {
            set("auth_uri", authorization.as_str().into());
            set("token_uri", token.as_str().into());
            set("scopes", contents.scopes.clone().unwrap_or_default().into());
        }
        file.sort_keys();
        indented(&file)
    }

    fn clear(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        Ok(None)
    }
}

/// Names a client, with its secret, and the server that it is of.
pub(in super::super) fn issued_to(client: &Client, addresses: Option<&Addresses>) -> Fingerprint {
    let secret = client.secret().map_or("", ClientSecret::expose);
    let token = addresses.map_or("", |addresses| addresses.token.as_str());
    Fingerprint::of(&format!("{}\n{secret}\n{token}", client.id))
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Damage> {
    let file: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        Damage(format!("it is no JSON object (line {}, column {})", error.line(), error.column()))
    })?;
    match file.get("type").and_then(Value::as_str) {
        Some(TYPE) => Ok(file),
        _ if file.contains_key("installed") || file.contains_key("web") => {
            Err(Damage("it is the file of a client, which signs a person in: `--client-id-file`".into()))
        }
        _ => Err(Damage(format!("its `type` is not `{TYPE}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `gcloud auth application-default login` writes, key by key and byte by byte.
    const GCLOUD: &str = r#"{
  "account": "",
  "client_id": "the-client",
  "client_secret": "the-secret",
  "quota_project_id": "p-1",
  "refresh_token": "1//r",
  "type": "authorized_user",
  "universe_domain": "googleapis.com"
}"#;

    fn signed_in(old: Option<&str>, quota_project: QuotaProject) -> String {
        let client = post_client("the-client", ClientSecret::new("the-secret"));
        let slot = AuthorizedUserSlot {
            login: Some(NewLogin { client, quota_project, addresses: None }),
            ..AuthorizedUserSlot::default()
        };
        let grant = Some(Grant::RefreshToken(RefreshToken::new("1//r")));
        let contents = Contents { grant, scopes: Some(vec!["s".into()]), ..Contents::default() };
        String::from_utf8(slot.write(old.map(str::as_bytes), &contents).unwrap()).unwrap()
    }

    #[test]
    fn a_login_writes_what_gcloud_would() {
        assert_eq!(signed_in(None, QuotaProject::Set("p-1".into())), GCLOUD);
        let without = GCLOUD.replace("  \"quota_project_id\": \"p-1\",\n", "");
        assert_eq!(signed_in(None, QuotaProject::Keep), without);
    }

    #[test]
    fn a_login_keeps_the_quota_project_and_what_it_does_not_know_and_nothing_of_the_former_login() {
        let old = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"old",
            "rapt_token":"old","token":"old","scopes":["old"],"token_uri":"old","quota_project_id":"p-1","note":7}"#;
        let kept = signed_in(Some(old), QuotaProject::Keep);
        assert!(kept.contains("\"quota_project_id\": \"p-1\"") && kept.contains("\"note\": 7"), "{kept}");
        assert!(!kept.contains("old"), "{kept}");
        assert!(!signed_in(Some(old), QuotaProject::Remove).contains("quota_project_id"));
        assert!(signed_in(Some(old), QuotaProject::Set("p-2".into())).contains("\"p-2\""));
    }

    #[test]
    fn a_refresh_changes_the_refresh_token_or_nothing() {
        let slot = AuthorizedUserSlot::default();
        let file = r#"{"type":"authorized_user",  "client_id":"c","client_secret":"s","refresh_token":"r1"}"#;
        let mut contents = slot.read(file.as_bytes()).unwrap().unwrap();
        assert_eq!(slot.write(Some(file.as_bytes()), &contents).unwrap(), file.as_bytes());
        contents.grant = Some(Grant::RefreshToken(RefreshToken::new("r2")));
        let new = slot.write(Some(file.as_bytes()), &contents).unwrap();
        let new: Map<String, Value> = serde_json::from_slice(&new).unwrap();
        assert_eq!(Value::from(new), serde_json::from_str::<Value>(&file.replace("r1", "r2")).unwrap());
    }

    #[test]
    fn what_a_file_lacks_is_named() {
        let fault = |text: &str| AuthorizedUser::parse(text.as_bytes(), Whose::Ours).err().unwrap().0;
        assert_eq!(fault(r#"{"type":"external_account"}"#), "its `type` is not `authorized_user`");
        assert_eq!(
            fault(r#"{"type":"authorized_user","client_id":"c"}"#),
            "`refresh_token` and `client_secret` are missing"
        );
        assert_eq!(
            fault(
                r#"{"type":"authorized_user","client_id":"c","client_secret":"hidden","refresh_token":""}"#
            ),
            "`refresh_token` is missing"
        );
        assert!(!fault("{\"refresh_token\": \"hidden").contains("hidden"));
        // An address counts where it is followed.
        let led = GCLOUD
            .replace("\"universe_domain\"", "\"token_uri\": \"http://idp.test/token\",\"universe_domain\"");
        assert_eq!(fault(&led), "`token_uri` is no https address");
        assert!(AuthorizedUser::parse(led.as_bytes(), Whose::Googles).unwrap().addresses.is_none());
    }
}
