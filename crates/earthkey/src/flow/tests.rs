use url::Url;

use super::*;
use crate::error::ErrorKind;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::secret::AuthorizationCode;
use crate::secret::CodeVerifier;

/// Returns a plan for a provider at `https://idp.test` that promises nothing it need not.
pub(super) fn plan() -> Plan {
    let url = |path: &str| Some(Url::parse("https://idp.test").unwrap().join(path).unwrap());
    Plan {
        login: "oidc/work".parse().unwrap(),
        again: "earthkey login oidc/work --audience a".to_owned(),
        metadata: Metadata {
            is_known_by_origin: false,
            issuer: "https://idp.test".into(),
            authorization_endpoint: url("/authorize"),
            token_endpoint: url("/token"),
            device_authorization_endpoint: url("/device"),
            revocation_endpoint: None,
            userinfo_endpoint: None,
            registration_endpoint: None,
            jwks_uri: url("/keys"),
            scopes_supported: None,
            grant_types_supported: None,
            token_endpoint_auth_methods_supported: None,
            code_challenge_methods_supported: None,
            authorization_response_iss_parameter_supported: false,
        },
        client: Client::public("the-client"),
        scopes: vec!["openid".into(), "offline_access".into()],
        audience: None,
        parameters: Vec::new(),
        redirect: Redirect::NATIVE,
        device_pkce: false,
        checks_id_token: true,
        opens_browser: true,
        timeout: Duration::from_secs(600),
    }
}

/// Returns everything that a person sees of an error.
pub(super) fn shown(error: &Error) -> String {
    format!("{error}\n{:?}\n{}\n{error:?}", error.causes(), error.hints().join("\n"))
}

#[test]
fn flows_are_read_as_they_are_written() {
    for text in ["loopback", "loopback:8085", "paste", "device", "client-credentials", "refresh", "basic"] {
        assert_eq!(text.parse::<Flow>().unwrap().to_string(), text);
    }
    for text in ["", "Loopback", "loopback:", "loopback:65536", "loopback:-1", "paste:1", "oob", "a\x1b[2J"] {
        let error = text.parse::<Flow>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{text:?}");
        assert!(!error.to_string().contains('\x1b'));
    }
}

#[test]
fn an_endpoint_that_is_missing_is_a_matter_of_configuration() {
    let error = plan().endpoint(None, "device authorization endpoint").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), "`https://idp.test` has no device authorization endpoint");
    assert_eq!(error.hints(), ["try another flow: `--flow loopback`, `--flow paste`, `--flow device`"]);
    // What the provider does not have is not offered.
    let mut of_google = plan();
    of_google.metadata.device_authorization_endpoint = None;
    let error = of_google.endpoint(None, "token endpoint").unwrap_err();
    assert_eq!(error.hints(), ["try another flow: `--flow loopback`, `--flow paste`"]);
}

#[test]
fn every_refusal_says_what_to_type_next() {
    for (code, message, hint) in [
        ("access_denied", "the sign-in was denied", "`earthkey login oidc/work --audience a`"),
        (
            "expired_token",
            "the code expired before it was entered",
            "`earthkey login oidc/work --audience a`",
        ),
        ("invalid_scope", "the provider does not grant the scopes", "--scopes"),
        ("invalid_client", "the provider does not accept the client", "--client-id"),
        ("unauthorized_client", "the provider does not accept the client", "--client-id"),
        ("invalid_grant", "the provider refused", "`earthkey login oidc/work --audience a`"),
    ] {
        let refusal =
            Refusal { status: 400, error: code.into(), description: Some("said so".into()), date: None };
        let error = refused(&plan(), &refusal);
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.causes(), [format!("{code}: said so")]);
        assert!(error.hints().iter().any(|line| line.contains(hint)), "{code}: {:?}", error.hints());
    }
}

/// Redeems a code at a provider that answers so.
async fn redeem_at(answer: Result<Response, SendError>) -> Result<TokenResponse> {
    let world = World::new(move |_| answer.clone());
    let plan = plan();
    let endpoint = plan.metadata.token_endpoint.clone().unwrap();
    let (code, verifier) = (AuthorizationCode::new("the-code"), CodeVerifier::new("the-verifier"));
    let request =
        token::code_request(&plan.client, &endpoint, &code, "http://127.0.0.1:1/callback", &verifier);
    let outcome = redeem(&world.host(1), &plan, request).await;
    // Whether it was used or not, a code is never sent twice (RFC 6749, section 4.1.2).
    assert_eq!(world.http.requests().len(), 1);
    outcome
}

#[tokio::test]
async fn a_code_that_brings_no_tokens_is_an_error_that_does_not_repeat_it() {
    let hidden = r#"{"access_token": 7, "refresh_token": "the-refresh-token"}"#;
    for (answer, kind) in [
        (Err(SendError::NotSent("connection refused".into())), ErrorKind::Network),
        (Err(SendError::Unknown("no whole answer in time".into())), ErrorKind::Network),
        (Err(SendError::TooLarge { limit: 1 }), ErrorKind::Network),
        (Ok(Response::new(200, hidden)), ErrorKind::Network),
        (Ok(Response::new(200, "<html>the-code</html>")), ErrorKind::Network),
        (Ok(Response::new(302, "")), ErrorKind::Network),
        (Ok(Response::new(503, "")), ErrorKind::Network),
        (Ok(Response::new(400, r#"{"error": "invalid_grant"}"#)), ErrorKind::Refused),
    ] {
        let error = redeem_at(answer).await.unwrap_err();
        let shown = shown(&error);
        assert_eq!(error.kind(), kind, "{shown}");
        assert!(!error.hints().is_empty(), "{shown}");
        for secret in ["the-code", "the-verifier", "the-refresh-token"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_client_asks_with_its_own_credentials_for_its_audience() {
    let world = World::new(|request| {
        assert_eq!(request.form_value("grant_type"), Some("client_credentials"));
        assert_eq!(request.form_value("audience"), Some("https://api.test"));
        Ok(Response::new(200, r#"{"access_token": "at", "token_type": "Bearer"}"#))
    });
    let plan = Plan { audience: Some("https://api.test".into()), ..plan() };
    let response = client_credentials::run(&world.host(1), &plan).await.unwrap();
    assert_eq!(response.access_token.expose(), "at");
}
