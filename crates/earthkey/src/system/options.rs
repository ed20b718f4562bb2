//! What a person may ask for.

use std::path::PathBuf;
use std::time::Duration;

use super::QuotaProject;
use crate::error::word;
use crate::flow::Flow;
use crate::login::Login;
use crate::secret::ClientSecret;
use crate::secret::Password;
use crate::secret::RefreshToken;

/// What a person asked for when signing in.
#[derive(Clone, Default)]
pub struct LoginOptions {
    /// The address: an issuer, an openEO back-end, an EarthScope domain.
    pub url: Option<String>,
    /// The flow.
    pub flow: Option<Flow>,
    /// The openEO back-end's name for the OpenID provider.
    pub provider: Option<String>,
    /// The client's id.
    pub client_id: Option<String>,
    /// The client's secret.
    pub client_secret: Option<ClientSecret>,
    /// The file of a client of Google's making.
    pub client_id_file: Option<PathBuf>,
    /// The file of a service account's key.
    pub key: Option<PathBuf>,
    /// The project that an Earth Engine login keeps.
    pub project: Option<String>,
    /// The project that requests are counted for.
    pub quota_project: QuotaProject,
    /// The person's name, for `Flow::Basic`.
    pub username: Option<String>,
    /// The person's password, for `Flow::Basic`.
    pub password: Option<Password>,
    /// The refresh token that `Flow::Refresh` proves.
    pub refresh_token: Option<RefreshToken>,
    /// The scopes.
    pub scopes: Option<Vec<String>>,
    /// The audience.
    pub audience: Option<String>,
    /// Whether no browser is to be opened.
    pub no_browser: bool,
    /// Whether another account's login may be replaced.
    pub force: bool,
    /// How long a person is waited for.
    pub timeout: Option<Duration>,
    /// Whether nobody is there: a flow that needs a person is an error at once.
    pub unattended: bool,
}

impl LoginOptions {
    /// Returns the command that asks for the same, without its flow and without secrets, which come
    /// on standard input.
    pub(crate) fn command(&self, login: &Login) -> String {
        let scopes = self.scopes.as_ref().map(|scopes| scopes.join(","));
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let quota_project = match &self.quota_project {
            QuotaProject::Set(project) => Some(project.clone()),
            QuotaProject::Keep | QuotaProject::Remove => None,
        };
        let values = [
            ("--provider", self.provider.clone()),
            ("--client-id", self.client_id.clone().filter(|_| self.client_id_file.is_none())),
            ("--client-id-file", file(&self.client_id_file)),
            ("--key", file(&self.key)),
            ("--project", self.project.clone()),
            ("--quota-project", quota_project),
            ("--scopes", scopes),
            ("--audience", self.audience.clone()),
        ];
        let flags = [
            ("--client-secret-stdin", self.client_secret.is_some()),
            ("--no-quota-project", self.quota_project == QuotaProject::Remove),
            ("--force", self.force),
            ("--no-browser", self.no_browser),
        ];
        let mut words = vec!["earthkey login".to_owned(), login.to_string()];
        words.extend(self.url.as_ref().map(word));
        for (option, value) in values {
            words.extend(value.map(|value| format!("{option} {}", word(value))));
        }
        words.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(option, _)| (*option).to_owned()));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_asked_for_once_more() {
        let login: Login = "earthengine/trip".parse().unwrap();
        assert_eq!(LoginOptions::default().command(&login), "earthkey login earthengine/trip");
        let options = LoginOptions {
            url: Some("https://idp.test/realms/a?b".into()),
            client_id_file: Some("/tmp/my client.json".into()),
            // The file says it.
            client_id: Some("of-the-file".into()),
            project: Some("it's".into()),
            quota_project: QuotaProject::Set("p-1".into()),
            scopes: Some(vec!["openid".into(), "https://idp.test/read".into()]),
            audience: Some(String::new()),
            client_secret: Some(ClientSecret::new("not-shown")),
            password: Some(Password::new("not-shown")),
            refresh_token: Some(RefreshToken::new("not-shown")),
            no_browser: true,
            force: true,
            ..LoginOptions::default()
        };
        assert_eq!(
            options.command(&login),
            "earthkey login earthengine/trip 'https://idp.test/realms/a?b' \
             --client-id-file '/tmp/my client.json' --project 'it'\\''s' --quota-project p-1 \
             --scopes openid,https://idp.test/read --audience '' --client-secret-stdin --force --no-browser"
        );
    }
}
