//! The HTTP seam: one method, bounded in size and time.

mod shown;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use url::Url;
use zeroize::Zeroizing;

pub use self::shown::Sent;
use super::BoxFuture;

/// Bytes of an answer's body that are read unless a request says otherwise.
pub const MAX_BODY: usize = 1024 * 1024;

/// Sends requests. Never follows a redirect: a secret must not be carried to another place.
pub trait Http: Send + Sync {
    /// Sends `request` and reads the whole answer.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, SendError>>;

    /// Returns the same network for another thread or process: a connection lives with the runtime that
    /// made it, and is of no use to another.
    fn for_another_runtime(self: Arc<Self>) -> Arc<dyn Http>;
}

/// A request whose secrets do not show in `Debug`.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; checked by [`is_confidential`] before it is sent.
    pub url: Url,
    /// The headers, secret ones marked sensitive.
    pub headers: HeaderMap,
    /// The form fields of a POST, in order.
    pub form: Vec<Field>,
    /// A JSON body, instead of a form.
    pub json: Option<Zeroizing<Vec<u8>>>,
    /// Bytes of the answer's body that are read at most.
    pub max_body: usize,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

/// One field of a form.
#[derive(Clone)]
pub struct Field {
    name: Cow<'static, str>,
    value: Zeroizing<String>,
    secret: bool,
}

impl Request {
    /// Makes a GET that asks for JSON.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Makes a POST that asks for JSON.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    fn new(method: Method, url: Url) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Self {
            method,
            url,
            headers,
            form: Vec::new(),
            json: None,
            max_body: MAX_BODY,
            timeout: Duration::from_secs(20),
        }
    }

    /// Adds a form field that may be logged.
    pub fn field(self, name: &'static str, value: &str) -> Self {
        self.push(Cow::Borrowed(name), value, false)
    }

    /// Adds a form field whose name a server chose.
    pub fn extra_field(self, name: String, value: &str) -> Self {
        self.push(Cow::Owned(name), value, false)
    }

    /// Adds a form field that must not be logged.
    pub fn secret_field(self, name: &'static str, value: &str) -> Self {
        self.push(Cow::Borrowed(name), value, true)
    }

    fn push(mut self, name: Cow<'static, str>, value: &str, secret: bool) -> Self {
        self.form.push(Field { name, value: Zeroizing::new(value.to_owned()), secret });
        self
    }

    /// Sets an `Authorization` header that does not show in logs.
    ///
    /// # Panics
    ///
    /// Never: a value that no header can hold is left out, and the server then says so.
    pub fn authorization(mut self, value: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.headers.insert(header::AUTHORIZATION, value);
        }
        self
    }

    /// Sets a header; `Authorization` does not show in logs.
    ///
    /// # Panics
    ///
    /// Never: a value that no header can hold is left out, and the server then says so.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("authorization") {
            return self.authorization(value);
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the most bytes of the answer's body that are read.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets how long the whole answer may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the body as it goes over the wire.
    pub fn body(&self) -> Zeroizing<Vec<u8>> {
        if let Some(json) = &self.json {
            return json.clone();
        }
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        for field in &self.form {
            body.append_pair(&field.name, &field.value);
        }
        Zeroizing::new(body.finish().into_bytes())
    }

    /// Returns a form field's value; for scripted hosts and tests.
    pub fn form_value(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|field| field.name == name).map(|field| field.value.as_str())
    }
}

impl fmt::Debug for Request {
    /// Shows the method, the address without its query, and the form with secrets as `****`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, Loggable(&self.url))?;
        for field in &self.form {
            let value = if field.secret { "****" } else { field.value.as_str() };
            write!(f, " {}={value}", field.name)?;
        }
        if self.json.is_some() {
            f.write_str(" (json)")?;
        }
        if self.headers.contains_key(header::AUTHORIZATION) {
            f.write_str(" (authorization: ****)")?;
        }
        Ok(())
    }
}

/// Prints a URL without its user, password, query values and fragment.
pub struct Loggable<'a>(pub &'a Url);

impl fmt::Display for Loggable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or(""))?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        for (i, (name, _)) in url.query_pairs().enumerate() {
            write!(f, "{}{name}=…", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// A whole answer.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Zeroizing<Vec<u8>>,
}

impl Response {
    /// Makes an answer; for scripted hosts and tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: HeaderMap::new(), body: Zeroizing::new(body.into()) }
    }

    /// Returns whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns a header's text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl fmt::Debug for Response {
    /// Shows the status and the size, never the body: it may hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// Why there is no answer. What matters to a grant is whether the server may have acted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent: the same request may be sent again without harm.
    #[error("{0}")]
    NotSent(String),
    /// Sent, but the answer did not arrive whole: the server may have acted.
    #[error("{0}")]
    Unknown(String),
    /// The answer is larger than the request's bound. The server has acted.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
}

/// Returns whether `url` may carry secrets: https, or http to an address of this machine.
///
/// Only IP-literal loopback counts (RFC 8252, section 8.3): the name `localhost` can resolve to
/// anything.
pub fn is_confidential(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Returns whether `url`'s host is an IP literal of this machine's loopback.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = Request::post(url("https://user:pass@idp.test/token?code=abc"))
            .field("grant_type", "refresh_token")
            .secret_field("refresh_token", "hidden")
            .authorization("Bearer hidden");
        assert_eq!(
            format!("{request:?}"),
            "POST https://idp.test/token?code=… grant_type=refresh_token refresh_token=**** \
             (authorization: ****)"
        );
    }

    #[test]
    fn only_https_and_literal_loopback_are_confidential() {
        for (text, expected) in [
            ("https://idp.test/", true),
            ("http://127.0.0.1:1/", true),
            ("http://127.8.8.8/", true),
            ("http://[::1]:80/", true),
            ("http://localhost/", false),
            ("http://127.0.0.1.evil.test/", false),
            ("http://idp.test/", false),
            ("file:///etc/passwd", false),
            ("javascript:alert(1)", false),
        ] {
            assert_eq!(is_confidential(&url(text)), expected, "{text}");
        }
    }
}
