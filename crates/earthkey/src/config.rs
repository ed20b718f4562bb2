//! What is remembered of logins: `config.toml`, which holds no secret.
//!
//! Values come in layers: flag, variable, file, preset. A [`Setting`] knows which one it is
//! from, so that messages can say so.

use std::fmt;
use std::io;
use std::path::PathBuf;

use toml_edit::DocumentMut;
use toml_edit::Item;
use toml_edit::Table;
use toml_edit::value;

use crate::error::Error;
use crate::error::Result;
use crate::error::word;
use crate::host::Host;
use crate::host::env::display;
use crate::host::fs::unusable;
use crate::login::Login;
use crate::login::System;

/// Bytes of `config.toml` that are read at most.
const MAX_CONFIG: u64 = 1024 * 1024;

/// A value and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a value is from; a later layer yields to an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An option of this command.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// A key of a file.
    File(String),
    /// Built in.
    Preset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "`{flag}`"),
            Self::Variable(name) => write!(f, "`{name}`"),
            Self::File(place) => write!(f, "{place}"),
            Self::Preset => f.write_str("the preset"),
        }
    }
}

/// What is remembered of one login. Every field is one key of its table in `config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The address: an issuer, an openEO back-end, an EarthScope domain.
    pub url: Option<String>,
    /// The client's id.
    pub client_id: Option<String>,
    /// The openEO back-end's name for the OpenID provider.
    pub provider: Option<String>,
    /// The issuer that the back-end named for that provider.
    pub issuer: Option<String>,
    /// The flow of the last login.
    pub flow: Option<String>,
    /// The file of a service account's key, which stays where it is.
    pub key: Option<String>,
    /// The project that requests with that key are counted for.
    pub project: Option<String>,
}

impl Profile {
    const KEYS: [&'static str; 7] = ["url", "client_id", "provider", "issuer", "flow", "key", "project"];

    fn fields(&self) -> [&Option<String>; 7] {
        [&self.url, &self.client_id, &self.provider, &self.issuer, &self.flow, &self.key, &self.project]
    }
}

/// The file `config.toml`, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Config {
    path: PathBuf,
    /// What the file held when it was read: what an answer depends on.
    bytes: Option<Vec<u8>>,
    shown: String,
    document: DocumentMut,
    /// The table of logins: what a sandbox plays is remembered apart from what it stands for.
    table: &'static str,
}

impl Config {
    /// Reads `config.toml`; an absent file is an empty one.
    pub fn load(host: &Host) -> Result<Self> {
        let path = host.env.config_directory()?.join("config.toml");
        let (shown, whole) = (display(&path, &host.env), path.display());
        let bytes = match host.fs.read(&path, MAX_CONFIG) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable("cannot read", &path, error)),
        };
        let text = String::from_utf8(bytes.clone().unwrap_or_default()).map_err(|_| {
            Error::configuration(format!("`{shown}` is not text")).hint(format!(
                "look at it, or move it away: `mv {} {}`",
                word(&whole),
                word(format_args!("{whole}.damaged"))
            ))
        })?;
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            Error::configuration(format!("`{shown}` is not valid TOML"))
                .caused_by(error.to_string().trim_end())
                .hint(format!("mend the line that is named above in `{shown}`"))
        })?;
        let table = if host.env.text("EARTHKEY_SANDBOX").is_some() { "sandbox" } else { "login" };
        Ok(Self { path, bytes, shown, document, table })
    }

    /// Returns the file's path.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Returns the file's bytes as they were read, `None` where there is no file.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Returns where a key of a login stands, for messages.
    pub fn origin(&self, login: &Login, key: &str) -> Origin {
        Origin::File(format!("`login.\"{login}\".{key}` in {}", self.shown))
    }

    /// Returns the login that is meant where none is named.
    pub fn default_login(&self) -> Result<Option<Login>> {
        let Some(text) = self.document.get("default").and_then(Item::as_str) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: Error| {
            Error::configuration(format!("`default` in {} names no login", self.shown)).caused_by(error)
        })
    }

    /// Returns what is remembered of a login.
    pub fn profile(&self, login: &Login) -> Profile {
        let table = self.document.get(self.table).and_then(|logins| logins.get(login.to_string()));
        let text =
            |key: &str| table.and_then(|table| table.get(key)).and_then(Item::as_str).map(str::to_owned);
        let [url, client_id, provider, issuer, flow, key, project] = Profile::KEYS.map(text);
        Profile { url, client_id, provider, issuer, flow, key, project }
    }

    /// Returns the logins of a system that something is remembered of.
    pub fn logins(&self, system: System) -> Vec<Login> {
        let Some(table) = self.document.get(self.table).and_then(Item::as_table_like) else {
            return Vec::new();
        };
        let logins = table.iter().filter_map(|(name, _)| name.parse::<Login>().ok());
        logins.filter(|login| login.system == system).collect()
    }

    /// Remembers a login, keeping everything else of the file, comments included.
    pub fn remember(host: &Host, login: &Login, profile: &Profile) -> Result<()> {
        Self::change(host, |document, table| {
            let logins = document.entry(table).or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            let Some(logins) = logins.as_table_like_mut() else { return };
            let table = logins.entry(&login.to_string()).or_insert_with(|| Item::Table(Table::new()));
            let Some(table) = table.as_table_like_mut() else { return };
            for (key, field) in Profile::KEYS.into_iter().zip(profile.fields()) {
                match field {
                    Some(text) => {
                        table.insert(key, value(text.as_str()));
                    }
                    None => {
                        table.remove(key);
                    }
                }
            }
        })
    }

    /// Forgets a login, keeping everything else of the file.
    pub fn forget(host: &Host, login: &Login) -> Result<()> {
        Self::change(host, |document, table| {
            let logins = document.get_mut(table).and_then(Item::as_table_like_mut);
            let Some(logins) = logins else { return };
            let name = login.to_string();
            let Some(table) = logins.get_mut(&name).and_then(Item::as_table_like_mut) else { return };
            for key in Profile::KEYS {
                table.remove(key);
            }
            if table.is_empty() {
                logins.remove(&name);
            }
        })
    }

    fn change(host: &Host, change: impl FnOnce(&mut DocumentMut, &str)) -> Result<()> {
        let directory = host.env.config_directory()?;
        let file = directory.join("config.toml");
        let failed = |error: io::Error| unusable("cannot write", &file, error);
        host.fs.create_directory(&directory).map_err(failed)?;
        // Two logins at once must not lose each other's lines.
        let lock = host.fs.open(&directory.join(".config.toml.lock"), true).map_err(failed)?;
        let mut tries = 0;
        while !lock.try_lock().map_err(failed)? {
            tries += 1;
            if tries > 1000 {
                return Err(failed(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another program keeps it locked",
                )));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut config = Self::load(host)?;
        let before = config.document.to_string();
        change(&mut config.document, config.table);
        let after = config.document.to_string();
        if after == before {
            return Ok(());
        }
        let temporary = directory.join(format!(".config.toml.{}", host.random.token()));
        host.fs
            .create_new(&temporary, after.as_bytes())
            .and_then(|()| host.fs.open(&temporary, false)?.sync())
            .and_then(|()| host.fs.rename(&temporary, &config.path))
            .and_then(|()| host.fs.sync_directory(&directory))
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::http::SendError;
    use crate::host::scripted::World;

    #[test]
    fn a_login_is_remembered_beside_what_a_person_wrote() {
        let world = World::new(|_| Err(SendError::NotSent("offline".into())));
        let host = world.host(1);
        let path = "/home/ada/.config/earthkey/config.toml";
        world.fs.put(path, b"# mine\ndefault = \"oidc/work\"\n\n[login.\"oidc/work\"]\nurl = \"https://a.test\" # the old one\nextra = 1\n");
        let login: Login = "oidc/work".parse().unwrap();
        let profile = Profile {
            url: Some("https://b.test".into()),
            client_id: Some("me".into()),
            ..Profile::default()
        };
        Config::remember(&host, &login, &profile).unwrap();
        let config = Config::load(&host).unwrap();
        assert_eq!(config.profile(&login), profile);
        assert_eq!(config.default_login().unwrap(), Some(login.clone()));
        assert_eq!(config.logins(System::Oidc), [login]);
        let text = String::from_utf8(world.fs.get(path).unwrap()).unwrap();
        assert!(text.starts_with("# mine\n") && text.contains("extra = 1"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_toml_is_named_with_its_line() {
        let world = World::new(|_| Err(SendError::NotSent("offline".into())));
        world.fs.put("/home/ada/.config/earthkey/config.toml", b"default = oidc\n");
        let error = Config::load(&world.host(1)).unwrap_err();
        assert_eq!(error.to_string(), "`~/.config/earthkey/config.toml` is not valid TOML");
        assert!(error.causes()[0].contains("line 1"), "{:?}", error.causes());
    }
}
