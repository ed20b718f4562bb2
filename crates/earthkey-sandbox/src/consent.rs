//! The consent page: what a client asks for, and a person's answer.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use url::Url;

use crate::account::Account;
use crate::authorize::ReturnPath;
use crate::error::OAuthError;
use crate::pages::{self, ConsentPage};
use crate::params::{Params, is_form};
use crate::provider::Provider;
use crate::secret::Digest;
use crate::session::{Interaction, Session};
use crate::state::Authorization;

/// Shows the page for a request that waits.
pub(crate) async fn show(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let request = params.get("request").unwrap_or_default();
    let id = Session::cookie(&headers, &provider.cookie).unwrap_or_default();
    let state = provider.state();
    let session = state.sessions.get(&Digest::of(&id));
    let Some((session, interaction)) = session.and_then(|own| Some((own, own.waiting(request)?))) else {
        return pages::expired(provider.realm);
    };
    let person = session.person_for(interaction).and_then(|who| Account::find(who.sub));
    let Some(account) = person else {
        return pages::see_other(&format!("{}?request={request}", provider.endpoints.sign_in));
    };
    let (scope, user_code, destination) = match interaction {
        Interaction::Authorization { authorization, redirect_uri, .. } => {
            (&authorization.scope, None, Url::parse(redirect_uri).ok())
        }
        Interaction::Device { request, user_code, .. } => (&request.scope, Some(user_code.as_str()), None),
    };
    let origin = destination.as_ref().map(|url| url.origin().ascii_serialization());
    let page = ConsentPage {
        title: provider.realm.title(),
        action: provider.endpoints.consent,
        csrf: &session.csrf,
        request,
        client: interaction.client_name(),
        person: account.name,
        email: account.email,
        scopes: scope.descriptions(),
        user_code,
        destination: origin.as_deref(),
    };
    pages::page(StatusCode::OK, &page, destination.as_ref())
}

/// Takes the decision.
pub(crate) async fn submit(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::parse(if is_form(&headers) { &body } else { &[] });
    let request = params.get("request").unwrap_or_default();
    let allowed = match params.get("decision") {
        Some("allow") => true,
        Some("deny") => false,
        _ => return pages::expired(provider.realm),
    };
    let withheld = provider.state().settings.withheld_scopes.clone();
    let taken = Session::checked(&provider, &headers, &params, |session| {
        let who = session.person_for(session.waiting(request)?)?;
        let mut interaction = session.take(request)?;
        if let Interaction::Authorization { authorization, .. } = &mut interaction {
            who.sub.clone_into(&mut authorization.sub);
            for name in &withheld {
                authorization.scope = std::mem::take(&mut authorization.scope).without(name);
            }
            authorization.auth_time = who.auth_time;
            if allowed {
                session.remember(authorization);
            }
        }
        Some((interaction, who))
    });
    let Some((_, Some((interaction, who)))) = taken else {
        return pages::expired(provider.realm);
    };
    match interaction {
        Interaction::Authorization { authorization, redirect_uri, state, .. } => {
            let way_back = ReturnPath { redirect_uri: &redirect_uri, state: state.as_deref() };
            answer(&provider, &way_back, authorization, allowed)
        }
        Interaction::Device { device, .. } => {
            let decision = allowed.then_some((who.sub, who.auth_time));
            if !provider.state().decide_device(&device, decision) {
                return pages::expired(provider.realm);
            }
            let outcome = if allowed { "allowed" } else { "denied" };
            pages::see_other(&format!("{}?outcome={outcome}", provider.endpoints.done))
        }
    }
}

fn answer(
    provider: &Provider,
    way_back: &ReturnPath<'_>,
    authorization: Authorization,
    allowed: bool,
) -> Response {
    if allowed {
        way_back.code(provider, authorization)
    } else {
        way_back.error(provider, &OAuthError::new("access_denied", "the request was denied"))
    }
}
