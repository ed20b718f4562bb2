//! Google's clients, as far as tests play them.

use earthkey_sandbox::robot::{Browser, Person, Visit};
use reqwest::StatusCode;
use serde_json::Value;
use url::Url;

use super::{Answer, Bench, CALLBACK, CHALLENGE, VERIFIER, parameter, string};

pub(crate) const TOKEN: &str = "/google/oauth2.googleapis.com/token";
pub(crate) const REVOKE: &str = "/google/oauth2.googleapis.com/revoke";
pub(crate) const TOKENINFO: &str = "/google/oauth2.googleapis.com/tokeninfo";
pub(crate) const ALGORITHMS: &str = "/google/earthengine.googleapis.com/v1/projects/my-project/algorithms";
pub(crate) const MODELS: &str = "/google/generativelanguage.googleapis.com/v1beta/models";

pub(crate) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
pub(crate) const DRIVE: &str = "https://www.googleapis.com/auth/drive";
pub(crate) const EARTH_ENGINE: &str = "https://www.googleapis.com/auth/earthengine";
pub(crate) const EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";

/// The client of Earth Engine's library.
pub(crate) const EARTH_ENGINE_CLIENT: (&str, &str) =
    ("517222506229-vsmmajv00ul0bs7p89v5m89qs8eb9359.apps.googleusercontent.com", "RUP0RZ6e0pPhDzsqIJ7KlNd1");

/// The client of a person.
pub(crate) const DESKTOP_CLIENT: (&str, &str) =
    ("424242424242-sandbox.apps.googleusercontent.com", "sandbox-secret");

impl Bench {
    /// Returns an authorization URL at Google, `changes` replacing or adding parameters and an empty
    /// value removing one.
    pub(crate) fn google_url(&self, changes: &[(&str, &str)]) -> Url {
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", DESKTOP_CLIENT.0),
            ("redirect_uri", CALLBACK),
            ("scope", EARTH_ENGINE),
            ("state", "state-1"),
            ("access_type", "offline"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        Url::parse_with_params(&self.at("/google/accounts.google.com/o/oauth2/auth"), parameters).unwrap()
    }

    pub(crate) async fn google_visit(&self, person: &Person, changes: &[(&str, &str)]) -> Visit {
        let person = person.clone().stopping_at_foreign_redirect();
        let url = self.google_url(changes);
        person.visit_with(&mut Browser::new().unwrap(), url.as_str()).await.unwrap()
    }

    /// Lets Ada allow what a request asks for, and returns the code.
    pub(crate) async fn google_code(&self, changes: &[(&str, &str)]) -> String {
        let visit = self.google_visit(&Person::ada(), changes).await;
        let redirect = visit.last_redirect.expect("a redirect to the client");
        parameter(&redirect, "code").unwrap()
    }

    pub(crate) async fn google_redeem(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", DESKTOP_CLIENT.0),
            ("client_secret", DESKTOP_CLIENT.1),
            ("redirect_uri", CALLBACK),
            ("code", code),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        form.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        self.post(TOKEN, &form).await
    }

    /// Signs Ada in at Google for a scope, and returns the token response.
    pub(crate) async fn google_login(&self, scope: &str) -> Value {
        let code = self.google_code(&[("scope", scope)]).await;
        let answer = self.google_redeem(&code, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.value()
    }

    pub(crate) async fn google_refresh(&self, refresh_token: &str, changes: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", DESKTOP_CLIENT.0),
            ("client_secret", DESKTOP_CLIENT.1),
            ("refresh_token", refresh_token),
        ];
        form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        form.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        self.post(TOKEN, &form).await
    }
}

/// Returns the header for the access token of a token response.
pub(crate) fn bearer(tokens: &Value) -> String {
    format!("Bearer {}", string(tokens, "access_token"))
}

/// Returns status, code and description of an error at the token endpoint.
pub(crate) fn refusal(answer: &Answer) -> (u16, String, String) {
    let value = answer.value();
    let text = |name| string(&value, name).to_owned();
    (answer.status.as_u16(), text("error"), text("error_description"))
}

/// Returns status, reason and message of an error of a service.
pub(crate) fn api_refusal(answer: &Answer) -> (u16, String, String) {
    let error = &answer.value()["error"];
    assert_eq!(error["code"], answer.status.as_u16());
    let expected = if answer.status == 401 { "UNAUTHENTICATED" } else { "PERMISSION_DENIED" };
    assert_eq!(error["status"], expected);
    let reason = error["details"][0]["reason"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), reason, string(error, "message").to_owned())
}
