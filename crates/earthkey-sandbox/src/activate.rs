//! The page where a person enters the code of a device (RFC 8628 section 3.3).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::authorize::wait_for_person;
use crate::pages::{self, ActivatePage, DonePage};
use crate::params::{Params, is_form};
use crate::provider::Provider;
use crate::secret::{Digest, normalize_user_code};
use crate::session::{Interaction, Session};

/// Shows the page, with the code of `verification_uri_complete` filled in if there is one.
///
/// The code is not taken from the link alone: that a person sees and sends it is what RFC 8628
/// section 5.4 has against remote phishing.
pub(crate) async fn show(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let user_code = normalize_user_code(params.get("user_code").unwrap_or_default());
    let id = Session::open(&provider, &headers);
    pages::with_session(form(&provider, &id, &user_code, false), &provider, &id)
}

/// Takes the code.
pub(crate) async fn submit(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::parse(if is_form(&headers) { &body } else { &[] });
    let Some((id, ())) = Session::checked(&provider, &headers, &params, |_| ()) else {
        return pages::expired(provider.realm);
    };
    let user_code = normalize_user_code(params.get("user_code").unwrap_or_default());
    let device = provider.state().pending_device(&user_code);
    match device {
        Some((device, request)) => {
            wait_for_person(&provider, &id, Interaction::Device { device, user_code, request })
        }
        None => form(&provider, &id, &user_code, true),
    }
}

/// Shows the page at the end.
pub(crate) async fn done(State(provider): State<Arc<Provider>>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let allowed = params.get("outcome") == Some("allowed");
    pages::page(StatusCode::OK, &DonePage { title: provider.realm.title(), allowed }, None)
}

fn form(provider: &Provider, id: &str, user_code: &str, wrong: bool) -> Response {
    let state = provider.state();
    let Some(session) = state.sessions.get(&Digest::of(id)) else {
        return pages::expired(provider.realm);
    };
    let page = ActivatePage {
        title: provider.realm.title(),
        action: provider.endpoints.activate,
        csrf: &session.csrf,
        user_code,
        wrong,
    };
    let status = if wrong { StatusCode::FORBIDDEN } else { StatusCode::OK };
    pages::page(status, &page, None)
}
