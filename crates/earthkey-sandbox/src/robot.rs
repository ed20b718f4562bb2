//! A person without a browser, who signs in through the pages of a sandbox over HTTP.
//!
//! ```no_run
//! # async fn example(authorization_url: &str) -> Result<(), earthkey_sandbox::robot::RobotError> {
//! use earthkey_sandbox::robot::Person;
//!
//! let visit = Person::ada().visit(authorization_url).await?;
//! assert!(visit.status.is_success());
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SERVER, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use url::{Url, form_urlencoded};

use self::cookies::Cookies;
use self::form::Form;
use crate::client::is_loopback;
use crate::server;

mod cookies;
mod form;

/// How many redirects in a row are followed.
const MAX_REDIRECTS: usize = 10;

/// How many forms are sent before something must be wrong.
const MAX_FORMS: usize = 8;

/// How large a page may be.
const MAX_PAGE: usize = 1024 * 1024;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who signs in.
#[derive(Clone)]
pub struct Person {
    /// The name at the sign-in page.
    pub username: String,
    /// The password at the sign-in page.
    pub password: String,
    /// What is clicked on the consent page.
    pub decision: Decision,
    /// The code to enter at the device page, if the link has none.
    pub user_code: Option<String>,
    /// Whether to stop where the sandbox sends the browser elsewhere, as somebody does who copies
    /// the address out of a browser on another machine.
    pub stop_at_foreign_redirect: bool,
}

/// What a person clicks on the consent page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// The client may.
    #[default]
    Allow,
    /// The client may not.
    Deny,
}

/// Where a visit ended.
///
/// The URLs may hold an authorization code, so that `Debug` shows them without their query.
#[derive(Clone)]
pub struct Visit {
    /// The URL of the last page.
    pub url: Url,
    /// The status of the last page.
    pub status: StatusCode,
    /// The source of the last page.
    pub text: String,
    /// The first redirect that led away from the sandbox.
    pub last_redirect: Option<Url>,
}

/// Why a visit came to no end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RobotError {
    /// No URL, or not one of plain HTTP on loopback, where sandboxes and native clients are.
    #[error("cannot visit a URL that is not http on loopback")]
    BadUrl,
    /// The server did not answer.
    #[error("cannot reach the page: {0}")]
    Network(#[source] reqwest::Error),
    /// The page is too large.
    #[error("the page is larger than a page of a sandbox")]
    TooLarge,
    /// Redirects in a circle.
    #[error("more than {MAX_REDIRECTS} redirects in a row")]
    TooManyRedirects,
    /// Forms in a circle.
    #[error("more than {MAX_FORMS} forms in a row")]
    TooManyForms,
    /// A form that a person would not know how to fill in.
    #[error("do not know what to enter for `{0}`")]
    UnknownField(String),
}

impl Person {
    /// Returns somebody who allows what they are asked.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
            decision: Decision::Allow,
            user_code: None,
            stop_at_foreign_redirect: false,
        }
    }

    /// Returns Ada, who has an account and allows what she is asked.
    pub fn ada() -> Self {
        Self::new("ada", "sandbox")
    }

    /// Returns Grace, who has an account and allows what she is asked.
    pub fn grace() -> Self {
        Self::new("grace", "sandbox")
    }

    /// Returns the same person, who denies what they are asked.
    pub fn denying(self) -> Self {
        Self { decision: Decision::Deny, ..self }
    }

    /// Returns the same person, who stops where the sandbox sends the browser elsewhere.
    pub fn stopping_at_foreign_redirect(self) -> Self {
        Self { stop_at_foreign_redirect: true, ..self }
    }

    /// Visits a page with a fresh browser, fills in whatever form a sandbox shows, and returns the
    /// page at the end: one without a form, or with one that came back refused.
    pub async fn visit(&self, url: &str) -> Result<Visit, RobotError> {
        self.visit_with(&mut Browser::new()?, url).await
    }

    /// Visits a page with a browser that may have been somewhere before.
    pub async fn visit_with(&self, browser: &mut Browser, url: &str) -> Result<Visit, RobotError> {
        let mut page = browser
            .open(Url::parse(url).map_err(|_| RobotError::BadUrl)?, self.stop_at_foreign_redirect)
            .await?;
        let mut sent: Vec<Vec<String>> = Vec::new();
        while page.of_sandbox && sent.len() < MAX_FORMS {
            let Some(form) = Form::find(&page.visit.text) else {
                return Ok(page.visit);
            };
            let names: Vec<_> = form.fields.iter().map(|field| field.name.clone()).collect();
            // The same form again: what was entered is wrong, and would be again.
            if sent.contains(&names) {
                return Ok(page.visit);
            }
            let body = self.fill_in(&form)?;
            let action = page.visit.url.join(&form.action).map_err(|_| RobotError::BadUrl)?;
            let away = page.visit.last_redirect.take();
            page = browser.submit(action, body, self.stop_at_foreign_redirect).await?;
            page.visit.last_redirect = away.or(page.visit.last_redirect);
            sent.push(names);
        }
        if page.of_sandbox { Err(RobotError::TooManyForms) } else { Ok(page.visit) }
    }

    fn fill_in(&self, form: &Form) -> Result<String, RobotError> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        for field in &form.fields {
            let value = match field.name.as_str() {
                _ if field.hidden => &field.value,
                "username" => &self.username,
                "password" => &self.password,
                "user_code" => self.user_code.as_ref().unwrap_or(&field.value),
                other => return Err(RobotError::UnknownField(other.to_owned())),
            };
            body.append_pair(&field.name, value);
        }
        let wanted = match self.decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        if let Some(button) = form.buttons.iter().find(|button| button.value == wanted) {
            body.append_pair(&button.name, &button.value);
        }
        Ok(body.finish())
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Person")
            .field("username", &self.username)
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |url: &Url| format!("{}{}", url.origin().ascii_serialization(), url.path());
        formatter
            .debug_struct("Visit")
            .field("url", &bare(&self.url))
            .field("status", &self.status)
            .field("last_redirect", &self.last_redirect.as_ref().map(bare))
            .finish_non_exhaustive()
    }
}

/// What a person browses with: it keeps cookies, and runs no script.
pub struct Browser {
    client: Client,
    cookies: Cookies,
}

impl Browser {
    /// Returns a browser that was never used.
    pub fn new() -> Result<Self, RobotError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .map_err(RobotError::Network)?;
        Ok(Self { client, cookies: Cookies::default() })
    }

    async fn open(&mut self, url: Url, stop: bool) -> Result<Page, RobotError> {
        self.load(Method::GET, url, None, stop).await
    }

    async fn submit(&mut self, url: Url, body: String, stop: bool) -> Result<Page, RobotError> {
        self.load(Method::POST, url, Some(body), stop).await
    }

    /// Loads a page, following redirects by GET as browsers do after a form.
    async fn load(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut body: Option<String>,
        stop: bool,
    ) -> Result<Page, RobotError> {
        let mut away = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.fetch(method, &url, body.take()).await?;
            let of_sandbox = response.headers().get(SERVER).is_some_and(|name| name == server::NAME);
            let target = redirect_target(&response, &url)?;
            if of_sandbox && away.is_none() {
                away = target.clone().filter(|target| target.origin() != url.origin());
            }
            match target {
                Some(target) if !(stop && away.is_some()) => {
                    url = target;
                    method = Method::GET;
                }
                _ => {
                    let status = response.status();
                    let text = read(response).await?;
                    let visit = Visit { url, status, text, last_redirect: away };
                    return Ok(Page { visit, of_sandbox });
                }
            }
        }
        Err(RobotError::TooManyRedirects)
    }

    async fn fetch(
        &mut self,
        method: Method,
        url: &Url,
        body: Option<String>,
    ) -> Result<Response, RobotError> {
        if !is_loopback(url) {
            return Err(RobotError::BadUrl);
        }
        let mut request = self.client.request(method, url.clone());
        if let Some(cookies) = self.cookies.header(url) {
            request = request.header(COOKIE, cookies);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        }
        // What reqwest says of a request names its URL, which may hold a code.
        let response = request.send().await.map_err(|error| RobotError::Network(error.without_url()))?;
        for value in response.headers().get_all(SET_COOKIE) {
            self.cookies.set(url, value.to_str().unwrap_or_default());
        }
        Ok(response)
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Browser").finish_non_exhaustive()
    }
}

struct Page {
    visit: Visit,
    /// Whether a sandbox sent it; nothing else gets a password.
    of_sandbox: bool,
}

fn redirect_target(response: &Response, url: &Url) -> Result<Option<Url>, RobotError> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| url.join(location).ok());
    target.map(Some).ok_or(RobotError::BadUrl)
}

async fn read(mut response: Response) -> Result<String, RobotError> {
    let mut page = Vec::new();
    let network = |error: reqwest::Error| RobotError::Network(error.without_url());
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if page.len() + chunk.len() > MAX_PAGE {
            return Err(RobotError::TooLarge);
        }
        page.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}
