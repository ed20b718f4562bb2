//! The Python client's `auth-config.json`: which client a person configured for which provider.

use serde_json::Map;
use serde_json::Value;
use url::Url;

use super::super::Context;
use super::directories;
use crate::error::Error;
use crate::error::Result;
use crate::secret::ClientSecret;

/// The file, as it was read.
pub(super) struct AuthConfig(Map<String, Value>);

impl AuthConfig {
    /// Reads the file; an absent one is empty. One that others can read is refused, as the
    /// Python client refuses it.
    pub(super) fn load(cx: &Context<'_>) -> Result<Self> {
        let path = directories::config(cx)?.join("auth-config.json");
        let shown = path.display();
        let bytes = cx
            .read(&path)
            .map_err(|error| Error::store(format!("cannot read `{shown}`")).caused_by(error))?;
        let Some(bytes) = bytes else { return Ok(Self(Map::new())) };
        if let Ok(stat) = cx.host.fs.stat(&path)
            && stat.mode & 0o077 != 0
        {
            return Err(Error::store(format!("`{shown}` can be read by others (mode {:04o})", stat.mode))
                .caused_by("the system's own client refuses such a file, too")
                .hint(format!("chmod 600 {shown}")));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let place = format!("it is no JSON object (line {}, column {})", error.line(), error.column());
            Error::store(format!("`{shown}` is damaged"))
                .caused_by(place)
                .hint(format!("look at the file, or move it away: `mv {shown} {shown}.damaged`"))
        })
    }

    /// Returns the client that is configured for a provider of a back-end. A provider that is
    /// configured without a client stands for the default client.
    pub(super) fn provider(
        &self,
        back_end: &Url,
        id: &str,
    ) -> Option<(Option<String>, Option<ClientSecret>)> {
        let back_ends = self.0.get("backends")?.as_object()?;
        let wanted = back_end.as_str().trim_end_matches('/');
        // The Python client's command line writes what was typed, its library what it connects to.
        let of_back_end = back_ends.iter().find(|(key, _)| {
            let key = key.trim_end_matches('/');
            key == wanted || wanted.strip_prefix("https://") == Some(key)
        });
        let provider = of_back_end?.1.get("oidc")?.get("providers")?.get(id)?;
        let text = |key: &str| provider.get(key).and_then(Value::as_str).map(str::to_owned);
        let client_id = text("client_id");
        let secret = client_id.as_ref().and_then(|_| text("client_secret")).map(ClientSecret::new);
        Some((client_id, secret))
    }
}
