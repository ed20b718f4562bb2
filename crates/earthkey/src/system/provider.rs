//! Questions to providers and to the systems behind them.

use url::Url;

use super::Context;
use super::Source;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::Host;
use crate::host::http::Loggable;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::http::is_confidential;
use crate::oauth::metadata;
use crate::oauth::metadata::IssuerComparison;
use crate::oauth::metadata::Metadata;
use crate::oauth::metadata::MetadataError;
use crate::refresh::Access;
use crate::secret::AccessToken;

/// Fetches a JSON document that no secret is needed for.
pub(crate) async fn fetch(host: &Host, url: Url, what: &str) -> Result<Response> {
    if !is_confidential(&url) {
        return Err(plain_http(&url));
    }
    let shown = Loggable(&url).to_string();
    let sent = host.http.send(Request::get(url)).await;
    sent.map_err(|error| {
        Error::network(format!("{what} cannot be fetched from `{shown}`"))
            .caused_by(error)
            .hint("look at the address and at the network")
    })
}

/// Fetches a provider's metadata.
pub(crate) async fn discover(host: &Host, issuer: &str, comparison: IssuerComparison) -> Result<Metadata> {
    let url = address(issuer, "issuer")?;
    if !is_confidential(&url) {
        return Err(plain_http(&url));
    }
    let mut first = None;
    for candidate in metadata::candidates(&url) {
        let response = host.http.send(Request::get(candidate)).await.map_err(|error| {
            let what = match error {
                SendError::NotSent(_) => "cannot be reached",
                _ => "gives no usable answer",
            };
            Error::network(format!("`{issuer}` {what}"))
                .caused_by(error)
                .hint("look at the address and at the network")
        })?;
        match metadata::parse(issuer, comparison, &response) {
            Ok(metadata) => return Ok(metadata),
            Err(MetadataError::Status(status @ (429 | 500..))) => {
                return Err(Error::network(format!("`{issuer}` answers with status {status}"))
                    .hint("the provider has trouble; try again later"));
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    let error = Error::configuration(format!("`{issuer}` is no OpenID provider that can be used"))
        .hint("look at the address: it is the `issuer` in the provider's `.well-known/openid-configuration`");
    Err(match first {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// Reads an address that a person or a file gave; https where it has no scheme.
pub(crate) fn address(text: &str, what: &str) -> Result<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&with_scheme).ok().filter(|url| url.has_host() && url.username().is_empty());
    url.ok_or_else(|| {
        Error::configuration(format!("`{}` is no address of an {what}", printable(text, 200)))
            .hint("give it like `https://HOST/PATH`")
    })
}

pub(crate) fn plain_http(url: &Url) -> Error {
    Error::configuration(format!("`{url}` is not https")).hint(
        "use https; plain http is for `127.0.0.1` and `[::1]` alone, since anybody on the way can read it",
    )
}

/// Sends a request with a token.
pub(super) async fn send(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    mut request: Request,
) -> Result<Response> {
    let shown = Loggable(&request.url).to_string();
    for (name, value) in source.header(&access.token)? {
        request = request.header(name, &value);
    }
    cx.host.http.send(request).await.map_err(|error| {
        Error::network(format!("`{shown}` gives no answer"))
            .caused_by(error)
            .hint("look at the network, and try again")
    })
}

/// Reads the JSON object of a successful answer.
pub(super) fn object(shown: &str, response: &Response) -> Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(&response.body).map_err(|error| {
        // The error's own text quotes what it found, which may be the token.
        Error::network(format!("`{shown}` answers with no JSON object"))
            .caused_by(format!("line {}, column {}", error.line(), error.column()))
            .hint("look at the address; a proxy or a portal may stand between")
    })
}

/// Calls a GET endpoint with a token and reads the JSON object that it answers with.
pub(crate) async fn call(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    url: Url,
) -> Result<serde_json::Map<String, serde_json::Value>> {
    let shown = Loggable(&url).to_string();
    let response = send(cx, source, access, Request::get(url)).await?;
    let said = String::from_utf8_lossy(&response.body);
    match response.status {
        200..300 => object(&shown, &response),
        401 | 403 => Err(Error::refused(format!("`{shown}` does not accept the token"))
            .caused_by(format!("status {}: {}", response.status, redacted(&said, &access.token, 200)))
            .hint(format!("get a new one: `earthkey token {} --refresh`", source.login))
            .hint(format!("if that does not help, sign in: `earthkey login {}`", source.login))),
        status => Err(Error::network(format!("`{shown}` answers with status {status}"))
            .caused_by(redacted(&said, &access.token, 200))
            .hint("try again later")),
    }
}

/// A server may echo what it was sent.
pub(super) fn redacted(text: &str, token: &AccessToken, limit: usize) -> String {
    printable(&text.replace(token.expose(), "****"), limit)
}
