//! The authorization endpoint (RFC 6749 section 4.1, RFC 7636, RFC 9207, OpenID Connect Core 3.1.2).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use url::Url;

use crate::client::{Client, GrantType};
use crate::error::OAuthError;
use crate::pages;
use crate::params::{Params, is_form};
use crate::provider::{Provider, Realm};
use crate::scope::Scope;
use crate::secret::Digest;
use crate::session::{Interaction, Session, SignedIn};
use crate::state::{Authorization, unix_time};

/// Answers an authorization request in a query.
pub(crate) async fn by_query(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    authorize(&provider, &headers, &Params::parse(query.unwrap_or_default().as_bytes()))
}

/// Answers an authorization request in a form (OpenID Connect Core section 3.1.2.1).
pub(crate) async fn by_form(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: &[u8] = if is_form(&headers) { &body } else { &[] };
    authorize(&provider, &headers, &Params::parse(form))
}

/// Where the answer to an authorization request goes.
pub(crate) struct ReturnPath<'a> {
    pub(crate) redirect_uri: &'a str,
    pub(crate) state: Option<&'a str>,
}

impl ReturnPath<'_> {
    /// Redirects with a code (RFC 6749 section 4.1.2).
    pub(crate) fn code(&self, provider: &Provider, authorization: Authorization) -> Response {
        let scope = authorization.scope.to_string();
        let code = provider.state().issue_code(authorization, self.redirect_uri);
        if provider.realm == Realm::Google {
            return self.redirect(provider, &[("code", &code), ("scope", &scope)]);
        }
        self.redirect(provider, &[("code", &code)])
    }

    /// Redirects with an error (RFC 6749 section 4.1.2.1).
    pub(crate) fn error(&self, provider: &Provider, error: &OAuthError) -> Response {
        let parameters = [("error", error.code), ("error_description", &error.description)];
        self.redirect(provider, &parameters)
    }

    fn redirect(&self, provider: &Provider, parameters: &[(&str, &str)]) -> Response {
        let Ok(mut url) = Url::parse(self.redirect_uri) else {
            return pages::expired(provider.realm);
        };
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(parameters);
            if let Some(state) = self.state {
                query.append_pair("state", state);
            }
            // RFC 9207 section 2: in errors as well.
            query.append_pair("iss", &provider.issuer());
        }
        pages::see_other(url.as_str())
    }
}

/// What a client may ask of the sign-in (OpenID Connect Core section 3.1.2.1).
#[derive(Default)]
struct Prompt {
    none: bool,
    login: bool,
}

fn authorize(provider: &Provider, headers: &HeaderMap, params: &Params) -> Response {
    // Until client and redirect URI are known to belong together, nothing may be redirected.
    let (client, redirect_uri) = match destination(provider, params) {
        Ok(destination) => destination,
        Err((text, code)) => {
            return pages::error(provider.realm, "This sign-in link does not work", text, Some(code));
        }
    };
    let way_back = ReturnPath { redirect_uri: &redirect_uri, state: params.get("state") };
    let (authorization, prompt) = match request(provider.realm, client, params) {
        Ok(request) => request,
        Err(error) => return way_back.error(provider, &error),
    };
    let session = provider.session_of(headers).unwrap_or_default();
    let who = signed_in(provider, &session).filter(|who| !prompt.login && is_recent(who, params));
    if prompt.none {
        return match who {
            Some(who) => silently(provider, &session, &way_back, authorization, &who),
            None => way_back.error(provider, &OAuthError::new("login_required", "nobody is signed in")),
        };
    }
    let interaction = Interaction::Authorization {
        authorization,
        redirect_uri: redirect_uri.clone(),
        state: params.get("state").map(str::to_owned),
        login_hint: params.get("login_hint").map(|hint| hint.chars().take(100).collect()),
        fresh_sign_in: who.is_none(),
    };
    wait_for_person(provider, &Session::open(provider, headers), interaction)
}

/// Lets a request wait in a session, and sends the person to the next page.
pub(crate) fn wait_for_person(provider: &Provider, id: &str, interaction: Interaction) -> Response {
    let mut state = provider.state();
    let Some(session) = state.sessions.get_mut(&Digest::of(id)) else {
        return pages::expired(provider.realm);
    };
    let next = match session.person_for(&interaction) {
        Some(_) => provider.endpoints.consent,
        None => provider.endpoints.sign_in,
    };
    let name = session.wait(interaction);
    pages::with_session(pages::see_other(&format!("{next}?request={name}")), provider, id)
}

/// Returns the client of a request and the redirect URI it may use, or what is wrong.
fn destination(
    provider: &Provider,
    params: &Params,
) -> Result<(Arc<Client>, String), (&'static str, &'static str)> {
    // Google's pages tell these apart, and it shows a wrong scope on a page as well.
    let google = provider.realm == Realm::Google;
    let code = |googles| if google { googles } else { "invalid_request" };
    if matches!(params.duplicate(), Some("client_id" | "redirect_uri")) {
        return Err(("It names its program or its way back twice.", "invalid_request"));
    }
    let client = params
        .get("client_id")
        .and_then(|id| provider.state().client(id))
        .ok_or(("The program that sent you here is not known.", code("invalid_client")))?;
    let redirect_uri =
        params.get("redirect_uri").filter(|uri| client.redirect_uri(uri).is_some()).ok_or((
            "The address to return to does not belong to the program that sent you here.",
            code("redirect_uri_mismatch"),
        ))?;
    match params.get("scope") {
        None if google => Err(("It asks for no scope.", "invalid_request")),
        Some(scope) if google && Scope::unknown(provider.realm, scope).is_some() => {
            Err(("It asks for a scope that does not exist.", "invalid_scope"))
        }
        _ => Ok((client, redirect_uri.to_owned())),
    }
}

/// Returns what is asked for, the subject being open.
fn request(
    realm: Realm,
    client: Arc<Client>,
    params: &Params,
) -> Result<(Authorization, Prompt), OAuthError> {
    if let Some(name) = params.duplicate() {
        return Err(OAuthError::invalid_request(format!("{} came twice", printable(name))));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(OAuthError::new("unsupported_response_type", "response_type is not code")),
        None => return Err(OAuthError::invalid_request("response_type is missing")),
    }
    if !client.may(GrantType::AuthorizationCode) {
        return Err(OAuthError::unauthorized_client());
    }
    if params.get("request").is_some() {
        return Err(OAuthError::new("request_not_supported", "request objects are not supported"));
    }
    if params.get("request_uri").is_some() {
        return Err(OAuthError::new("request_uri_not_supported", "request_uri is not supported"));
    }
    if params.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(OAuthError::invalid_request("response_mode is not query"));
    }
    let code_challenge = code_challenge(params)?;
    if code_challenge.is_none() && client.is_public() {
        return Err(OAuthError::invalid_request("code_challenge is missing"));
    }
    let prompt = prompt(params)?;
    let authorization = Authorization {
        client,
        sub: String::new(),
        scope: Scope::parse(realm, params.get("scope").unwrap_or_default()),
        audience: audience(params)?,
        code_challenge,
        nonce: params.get("nonce").map(str::to_owned),
        auth_time: 0,
    };
    Ok((authorization, prompt))
}

/// Returns the code challenge of a request (RFC 7636 section 4.3); S256 is the only method.
pub(crate) fn code_challenge(params: &Params) -> Result<Option<String>, OAuthError> {
    let Some(challenge) = params.get("code_challenge") else {
        return match params.get("code_challenge_method") {
            Some(_) => Err(OAuthError::invalid_request("code_challenge is missing")),
            None => Ok(None),
        };
    };
    if params.get("code_challenge_method") != Some("S256") {
        return Err(OAuthError::invalid_request("code_challenge_method is not S256"));
    }
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(base64url) {
        return Err(OAuthError::invalid_request("code_challenge is not an S256 challenge"));
    }
    Ok(Some(challenge.to_owned()))
}

/// Returns the audience of a request, as Auth0 and RFC 8693 call it.
///
/// It goes into the access token; what would not survive the decoders out there is refused (see
/// [`Account`](crate::account::Account)).
pub(crate) fn audience(params: &Params) -> Result<Option<String>, OAuthError> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?>~\"\\".contains(&byte);
    match params.get("audience") {
        Some(audience) if audience.len() <= 200 && audience.bytes().all(plain) => {
            Ok(Some(audience.to_owned()))
        }
        Some(_) => Err(OAuthError::invalid_request("the audience is not a plain URI")),
        None => Ok(None),
    }
}

fn prompt(params: &Params) -> Result<Prompt, OAuthError> {
    let mut prompt = Prompt::default();
    let values: Vec<_> = params.get("prompt").unwrap_or_default().split_whitespace().collect();
    for value in &values {
        match *value {
            "none" if values.len() > 1 => {
                return Err(OAuthError::invalid_request("prompt=none goes with no other prompt"));
            }
            "none" => prompt.none = true,
            "login" | "select_account" => prompt.login = true,
            // There is always a page of consent.
            "consent" => {}
            _ => return Err(OAuthError::invalid_request("unknown prompt")),
        }
    }
    Ok(prompt)
}

/// Answers `prompt=none` for somebody who is signed in.
fn silently(
    provider: &Provider,
    id: &str,
    way_back: &ReturnPath<'_>,
    authorization: Authorization,
    who: &SignedIn,
) -> Response {
    let authorization = Authorization { sub: who.sub.to_owned(), auth_time: who.auth_time, ..authorization };
    let known = provider
        .state()
        .sessions
        .get(&Digest::of(id))
        .is_some_and(|session| session.remembers(&authorization));
    if known {
        way_back.code(provider, authorization)
    } else {
        way_back.error(provider, &OAuthError::new("consent_required", "this was never allowed"))
    }
}

fn signed_in(provider: &Provider, id: &str) -> Option<SignedIn> {
    provider.state().sessions.get(&Digest::of(id)).and_then(|session| session.signed_in.clone())
}

fn is_recent(who: &SignedIn, params: &Params) -> bool {
    let max_age = params.get("max_age").and_then(|value| value.parse::<u64>().ok());
    max_age.is_none_or(|max_age| unix_time().saturating_sub(who.auth_time) < max_age)
}

/// Returns text from a request cut to what an `error_description` may hold (RFC 6749 section 5.2).
fn printable(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(40).collect()
}
