//! The network of this machine, by `reqwest`.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use http::Method;
use http::header;
use zeroize::Zeroizing;

use crate::host::BoxFuture;
use crate::host::Interaction;
use crate::host::Notice;
use crate::host::http::Http;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::http::Sent;
use crate::host::http::is_confidential;
use crate::host::http::is_loopback;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The network of this machine: TLS with the platform's roots, proxies as the environment says,
/// loopback never through a proxy, no redirects.
pub struct RealHttp {
    // Made on first use: reading the platform's roots takes milliseconds that a cached answer
    // must not pay.
    proxied: OnceLock<reqwest::Client>,
    direct: OnceLock<reqwest::Client>,
    plain: OnceLock<reqwest::Client>,
    interaction: Arc<dyn Interaction>,
}

impl RealHttp {
    /// Makes the seam; `interaction` is told of every request without its secrets.
    pub fn new(interaction: Arc<dyn Interaction>) -> Self {
        let [proxied, direct, plain] = [const { OnceLock::new() }; 3];
        Self { proxied, direct, plain, interaction }
    }

    fn client(&self, request: &Request) -> Result<&reqwest::Client, SendError> {
        let is_plain = request.url.scheme() == "http";
        let cell = match is_loopback(&request.url) {
            true if is_plain => &self.plain,
            true => &self.direct,
            false => &self.proxied,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("earthkey/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&request.url) {
            builder = builder.no_proxy();
        }
        if is_plain {
            // Reading the platform's roots takes longer than a whole request that needs none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| SendError::NotSent(chain(&error)))?;
        Ok(cell.get_or_init(|| client))
    }

    async fn exchange(&self, request: Request) -> Result<Response, SendError> {
        let mut builder = self
            .client(&request)?
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .timeout(request.timeout);
        if request.method == Method::POST {
            let kind =
                if request.json.is_some() { "application/json" } else { "application/x-www-form-urlencoded" };
            builder = builder.header(header::CONTENT_TYPE, kind).body(request.body().to_vec());
        }
        let mut answer = builder.send().await.map_err(|error| classify(&error))?;
        let status = answer.status().as_u16();
        let headers = std::mem::take(answer.headers_mut());
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(|error| SendError::Unknown(chain(&error)))? {
            if body.len() + chunk.len() > request.max_body {
                return Err(SendError::TooLarge { limit: request.max_body });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }
}

impl Http for RealHttp {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, SendError>> {
        Box::pin(async move {
            if !is_confidential(&request.url) {
                return Err(SendError::NotSent(format!(
                    "{} is not https",
                    crate::host::http::Loggable(&request.url)
                )));
            }
            self.interaction.tell(&Notice::Wire(format_args!("> {request:?}")));
            let sent = Sent::of(&request);
            let outcome = self.exchange(request).await;
            match &outcome {
                Ok(response) => {
                    self.interaction.tell(&Notice::Wire(format_args!("< {}", sent.shown(response))));
                }
                Err(error) => self.interaction.tell(&Notice::Wire(format_args!("< no answer: {error}"))),
            }
            outcome
        })
    }

    fn for_another_runtime(self: Arc<Self>) -> Arc<dyn Http> {
        Arc::new(Self::new(self.interaction.clone()))
    }
}

/// Tells apart what was never sent from what the server may have acted upon.
fn classify(error: &reqwest::Error) -> SendError {
    if error.is_connect() || error.is_builder() {
        SendError::NotSent(chain(error))
    } else if error.is_timeout() {
        SendError::Unknown("no whole answer in time".into())
    } else {
        SendError::Unknown(chain(error))
    }
}

/// Joins an error and its causes, without the URL: it may hold a query.
fn chain(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = cause.source();
    }
    if texts.is_empty() { "the request failed".into() } else { texts.join(": ") }
}
