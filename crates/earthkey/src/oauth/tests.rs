//! Whatever a server sends, parsers answer with a value or an error that is fit to print.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Map;
use serde_json::Value;
use url::Url;

use super::authorize;
use super::authorize::ExpectedRedirect;
use super::device;
use super::device::Poll;
use super::id_token;
use super::id_token::Expected;
use super::jose;
use super::jose::Jwks;
use super::metadata;
use super::metadata::IssuerComparison;
use super::register;
use super::revoke;
use super::token;
use crate::host::http::Response;
use crate::secret::IdToken;
use crate::secret::State;

/// Members that some parser looks at.
const NAMES: [&str; 24] = [
    "access_token",
    "alg",
    "client_id",
    "client_secret",
    "crv",
    "device_code",
    "error",
    "error_description",
    "expires_in",
    "id_token",
    "interval",
    "issuer",
    "keys",
    "kid",
    "kty",
    "n",
    "refresh_token",
    "scope",
    "scopes_supported",
    "token_endpoint",
    "token_type",
    "user_code",
    "verification_uri",
    "x",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["https://a.test", "Bearer", "RSA", "EC", "P-256", "slow_down"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), object(inner)]
    })
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    vec((prop::sample::select(NAMES.as_slice()), value), 0..8).prop_map(|members| {
        let members: Map<_, _> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Value::from(members)
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..200), object(value()).prop_map(|object| object.to_string().into_bytes()),]
}

/// Fails if an error would move the cursor or flood the terminal.
fn printed<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.chars().count() < 700, "{text}");
    }
}

fn expected() -> Expected<'static> {
    Expected { issuer: "https://a.test", client_id: "c", nonce: None, access_token: None, now: 0, leeway: 0 }
}

proptest! {
    #[test]
    fn any_answer_is_a_value_or_a_printable_error(status in 100_u16..600, body in body()) {
        let response = Response::new(status, body.clone());
        printed(metadata::parse("https://a.test", IssuerComparison::Exact, &response));
        printed(token::parse(&response));
        printed(token::parse_body(&body));
        token::refresh_token_in(&body);
        printed(device::parse_authorization(&response));
        if let Poll::Failed(error) = device::parse_poll(&response) {
            printed::<(), _>(Err(error));
        }
        printed(revoke::parse(&response));
        printed(register::parse(&response));
        printed(Jwks::parse(&body));
    }

    #[test]
    fn any_token_is_a_value_or_a_printable_error(text in any::<String>(), parts in vec(body(), 3)) {
        use base64::Engine;
        let encoded: Vec<_> = parts
            .iter()
            .map(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part))
            .collect();
        let keys = Jwks::parse(&parts[0])
            .or_else(|_| Jwks::parse(br#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#))
            .unwrap();
        for token in [text, encoded.join(".")] {
            jose::peek(&token);
            let verified = id_token::verify(&IdToken::new(token), &keys, &expected());
            prop_assert!(verified.is_err());
            printed(verified);
        }
    }

    #[test]
    fn no_redirect_is_believed_without_its_state(query in any::<String>(), value in "[^&]{0,20}") {
        let state = State::new("a-state-that-chance-does-not-make");
        let expected =
            ExpectedRedirect { state: &state, issuer: "https://a.test", by_origin: false, iss_required: false };
        prop_assert_eq!(
            authorize::parse_redirect(&query, &expected),
            Err(authorize::RedirectError::WrongState)
        );
        let with_state = format!("state={}&error={value}&{query}", state.expose());
        printed(authorize::parse_redirect(&with_state, &expected));
    }

    #[test]
    fn places_of_metadata_stay_on_the_issuers_origin(path in "[ -~]{0,40}") {
        if let Ok(issuer) = Url::parse(&format!("https://a.test/{path}")) {
            for candidate in metadata::candidates(&issuer) {
                prop_assert_eq!(candidate.origin(), issuer.origin());
            }
        }
    }
}
