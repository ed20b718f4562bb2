//! A sandbox with a client beside it.

pub(crate) mod google;

use earthkey_sandbox::robot::{Browser, Person, Visit};
use earthkey_sandbox::{Control, Options, Realm, Sandbox};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::{Url, form_urlencoded};

/// The verifier and the challenge of RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A redirect URI at which nobody listens: these tests read redirects and do not follow them.
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9/callback";

pub(crate) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(crate) const EARTHSCOPE_CLIENT: &str = "b9DtAFBd6QvMg761vI3YhYquNZbJX5G0";

pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Options { device_interval: 0, ..Options::default() }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let policy = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(policy).build().unwrap();
        Self { sandbox: Sandbox::start(options).await.unwrap(), http }
    }

    pub(crate) fn control(&self) -> Control {
        self.sandbox.control()
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.url())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.http.get(self.at(path)).send().await.unwrap()).await
    }

    pub(crate) async fn get_as(&self, path: &str, authorization: &str) -> Answer {
        let request = self.http.get(self.at(path)).header(AUTHORIZATION, authorization);
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        Answer::of(self.post_request(path, form).send().await.unwrap()).await
    }

    pub(crate) async fn post_as(&self, path: &str, authorization: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.post_request(path, form).header(AUTHORIZATION, authorization);
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.http.request(method, self.at(path)).header(CONTENT_TYPE, "application/json");
        Answer::of(request.body(body.to_string()).send().await.unwrap()).await
    }

    pub(crate) fn post_request(&self, path: &str, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(self.at(path));
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    }

    /// Returns an authorization URL of realm oidc, `changes` replacing or adding parameters and an
    /// empty value removing one.
    pub(crate) fn authorization_url(&self, changes: &[(&str, &str)]) -> Url {
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", "sandbox-public"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid profile email offline_access"),
            ("state", "state-1"),
            ("nonce", "nonce-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        Url::parse_with_params(&self.at("/oidc/authorize"), parameters).unwrap()
    }

    /// Lets Ada allow an authorization request, and returns the redirect to the client.
    pub(crate) async fn redirect(&self, changes: &[(&str, &str)]) -> Url {
        let visit = self.stopping_visit(&Person::ada(), changes).await;
        visit.last_redirect.expect("a redirect to the client")
    }

    pub(crate) async fn stopping_visit(&self, person: &Person, changes: &[(&str, &str)]) -> Visit {
        let person = person.clone().stopping_at_foreign_redirect();
        let url = self.authorization_url(changes);
        person.visit_with(&mut Browser::new().unwrap(), url.as_str()).await.unwrap()
    }

    /// Signs Ada in with an authorization code, and returns the token response.
    pub(crate) async fn login(&self) -> Value {
        let redirect = self.redirect(&[]).await;
        let answer = self.redeem(&parameter(&redirect, "code").unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.value()
    }

    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "sandbox-public"),
            ("redirect_uri", CALLBACK),
            ("code", code),
            ("code_verifier", VERIFIER),
        ];
        self.post("/oidc/token", &form).await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "sandbox-public"),
            ("refresh_token", refresh_token),
        ];
        self.post("/oidc/token", &form).await
    }

    /// Signs Ada in to EarthScope with the device flow, and returns the token response.
    pub(crate) async fn earthscope_login(&self) -> Value {
        let form = [
            ("client_id", EARTHSCOPE_CLIENT),
            ("scope", "offline_access"),
            ("audience", "https://api.earthscope.org"),
        ];
        let device = self.post("/oauth/device/code", &form).await.value();
        Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("client_id", EARTHSCOPE_CLIENT),
            ("device_code", string(&device, "device_code")),
        ];
        let answer = self.post("/oauth/token", &form).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.value()
    }

    /// Returns the claims of a token after checking it against the published keys of a realm.
    pub(crate) async fn claims(&self, realm: Realm, token: &str, audience: &str) -> Value {
        let (keys, issuer) = match realm {
            Realm::Oidc => ("/oidc/jwks", "/oidc"),
            Realm::Openeo => ("/openeo-id/jwks", "/openeo-id"),
            Realm::Earthscope => ("/.well-known/jwks.json", "/"),
            Realm::Google => panic!("its issuer is no address of the sandbox"),
        };
        let keys: JwkSet = serde_json::from_str(&self.get(keys).await.text).unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        let id = header.kid.unwrap();
        assert!(id.starts_with("sandbox-"));
        let key = DecodingKey::from_jwk(keys.find(&id).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms = vec![header.alg];
        validation.set_audience(&[audience]);
        validation.set_issuer(&[self.at(issuer)]);
        jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims
    }
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Returns status and error code of an OAuth error, which must come with a description.
    pub(crate) fn error(&self) -> (u16, String) {
        let value = self.value();
        assert!(!string(&value, "error_description").is_empty());
        assert_eq!(self.header("cache-control"), "no-store");
        (self.status.as_u16(), string(&value, "error").to_owned())
    }
}

/// Returns a member that must be a string.
pub(crate) fn string<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}"))
}

/// Returns a parameter of a URL's query.
pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}

/// Returns the header for HTTP Basic.
pub(crate) fn basic(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    format!("Basic {pair}")
}
