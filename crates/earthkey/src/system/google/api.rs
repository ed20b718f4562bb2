//! Calls of Google's APIs, and what their errors mean.

use serde_json::Map;
use serde_json::Value;

use super::super::Context;
use super::super::NamedBy;
use super::super::Source;
use super::super::provider::redacted;
use super::super::provider::send;
use crate::error::Error;
use crate::error::Result;
use crate::host::http::Loggable;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::refresh::Access;
use crate::secret::AccessToken;

/// Calls an endpoint with a token and reads the JSON object that it answers with.
pub(in super::super) async fn ask(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    request: Request,
) -> Result<Map<String, Value>> {
    let shown = Loggable(&request.url).to_string();
    let response = send(cx, source, access, request).await?;
    if !response.is_success() {
        return Err(error(source, &shown, &response, &access.token));
    }
    super::super::provider::object(&shown, &response)
}

/// What an error of Google's says (google.rpc.Status with ErrorInfo).
struct Status {
    message: String,
    reason: String,
    /// Whether OAuth's own error code says that it is about the token (RFC 6750, section 3.1).
    is_of_the_token: bool,
}

impl Status {
    fn read(response: &Response, token: &AccessToken) -> Self {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let details = body["error"]["details"].as_array();
        let reason = details.into_iter().flatten().find_map(|detail| text(&detail["reason"]));
        // Google's older endpoints answer as OAuth has it.
        let message = text(&body["error"]["message"]).or_else(|| text(&body["error_description"]));
        let message = message.unwrap_or_else(|| match &body {
            Value::Null => String::from_utf8_lossy(&response.body).into_owned(),
            _ => "no reason is given".to_owned(),
        });
        let is_of_the_token = body["error"] == "invalid_token";
        Self { is_of_the_token, message: redacted(&message, token, 400), reason: reason.unwrap_or_default() }
    }

    fn says(&self, words: &str) -> bool {
        self.message.contains(words)
    }
}

/// Makes an error answer one that says what to do about its kind.
fn error(source: &Source, shown: &str, response: &Response, token: &AccessToken) -> Error {
    let login = &source.login;
    let status = Status::read(response, token);
    let project = source.quota_project.as_deref();
    let named =
        project.map_or_else(|| "the project".to_owned(), |project| format!("the project `{project}`"));
    let another = format!("name another project: `earthkey check {login} --project P`");
    let error = match response.status {
        _ if status.says("requires a quota project") => {
            let error =
                Error::configuration(format!("{login} needs a project that its requests are counted for"));
            match source.named_by {
                // No sign-in would be heard.
                Some(NamedBy::Variable(_)) => error,
                Some(NamedBy::Other(lender)) => {
                    error.hint(format!("name one: `earthkey login {lender} --quota-project P`"))
                }
                _ => error.hint(format!("name one: `earthkey login {login} --quota-project P`")),
            }
            .hint("or for one shell: `export GOOGLE_CLOUD_QUOTA_PROJECT=P`")
        }
        _ if status.reason == "SERVICE_DISABLED" || status.says("has not been used in project") => {
            let api = api_of(shown);
            Error::configuration(format!("the API is not enabled in {named}"))
                .hint(format!(
                    "enable it: https://console.cloud.google.com/apis/library/{api}{}",
                    project.map(|project| format!("?project={project}")).unwrap_or_default()
                ))
                .hint(another)
        }
        _ if status.reason == "USER_PROJECT_DENIED"
            || status.says("Caller does not have required permission") =>
        {
            Error::configuration(format!("this account may not use {named}"))
                .hint("ask for the role `roles/serviceusage.serviceUsageConsumer` in it")
                .hint(another)
        }
        _ if status.says("Not signed up for Earth Engine") || status.says("is not registered") => {
            Error::configuration(format!("{named} is not registered for Earth Engine"))
                .hint("register it: https://code.earthengine.google.com/register")
                .hint(another)
        }
        _ if status.reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
            || status.says("insufficient authentication scopes") =>
        {
            Error::refused(format!("`{login}` was not granted the scopes that this takes"))
                .hint(format!("sign in for all of them: `earthkey login {login}`"))
        }
        // Google's older endpoints say 400 of a token, too.
        400 if !status.is_of_the_token => Error::refused(format!("`{shown}` refuses the request"))
            .hint("what it says stands above; signing in again does not change it"),
        400 | 401 => Error::refused(format!("`{shown}` does not accept the token"))
            .hint(format!("get a new one: `earthkey token {login} --refresh`"))
            .hint(format!("if that does not help, sign in: `earthkey login {login}`")),
        403 => Error::refused(format!("`{shown}` refuses this account"))
            .hint("look at the account's rights in the project"),
        404 => Error::configuration(format!("`{shown}` does not exist")).hint("look at the project's id"),
        _ => Error::network(format!("`{shown}` gives no usable answer")).hint("try again later"),
    };
    match status.message.as_str() {
        "" => error.caused_by(format!("status {}", response.status)),
        message => error.caused_by(format!("status {}: {message}", response.status)),
    }
}

/// Returns the service that an address is of, also where the sandbox plays it.
fn api_of(shown: &str) -> &str {
    let mut parts = shown.split('/').filter(|part| part.ends_with(".googleapis.com"));
    parts.next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_named_by_its_address() {
        assert_eq!(
            api_of("https://earthengine.googleapis.com/v1/projects/p/algorithms"),
            "earthengine.googleapis.com"
        );
        assert_eq!(
            api_of("http://127.0.0.1:8989/google/generativelanguage.googleapis.com/v1/models"),
            "generativelanguage.googleapis.com"
        );
    }
}
