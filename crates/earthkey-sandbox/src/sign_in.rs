//! The sign-in page.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::account::Account;
use crate::pages::{self, SignInPage};
use crate::params::{Params, is_form};
use crate::provider::Provider;
use crate::secret::Digest;
use crate::session::{Interaction, Session};

/// Shows the page for a request that waits.
pub(crate) async fn show(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let id = Session::cookie(&headers, &provider.cookie).unwrap_or_default();
    let request = params.get("request").unwrap_or_default();
    form(&provider, &id, request, None)
}

/// Takes name and password.
pub(crate) async fn submit(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::parse(if is_form(&headers) { &body } else { &[] });
    let request = params.get("request").unwrap_or_default();
    let waiting =
        Session::checked(&provider, &headers, &params, |session| session.waiting(request).is_some());
    let Some((id, true)) = waiting else {
        return pages::expired(provider.realm);
    };
    let username = params.get("username").unwrap_or_default();
    let account = Account::sign_in(username, params.get("password").unwrap_or_default());
    let Some(account) = account else {
        return form(&provider, &id, request, Some(username));
    };
    match Session::sign_in(&provider, &id, account.sub) {
        Some(id) => {
            let next = format!("{}?request={request}", provider.endpoints.consent);
            pages::with_session(pages::see_other(&next), &provider, &id)
        }
        None => pages::expired(provider.realm),
    }
}

/// Returns the page, `refused` being the name that did not work.
fn form(provider: &Provider, id: &str, request: &str, refused: Option<&str>) -> Response {
    let state = provider.state();
    let session = state.sessions.get(&Digest::of(id));
    let Some((session, interaction)) = session.and_then(|own| Some((own, own.waiting(request)?))) else {
        return pages::expired(provider.realm);
    };
    let hint = match interaction {
        Interaction::Authorization { login_hint, .. } => login_hint.as_deref(),
        Interaction::Device { .. } => None,
    };
    let page = SignInPage {
        title: provider.realm.title(),
        action: provider.endpoints.sign_in,
        csrf: &session.csrf,
        request,
        client: interaction.client_name(),
        username: refused.or(hint).unwrap_or_default(),
        wrong: refused.is_some(),
    };
    let status = if refused.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    pages::page(status, &page, None)
}
