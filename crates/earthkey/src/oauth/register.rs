//! Dynamic client registration (RFC 7591).

use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::client::Client;
use super::json;
use super::json::Object;
use super::token;
use super::token::TokenError;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::secret::ClientSecret;

/// A native, public client that asks to be registered (RFC 7591, section 2; RFC 8252, section 8.4).
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The name that people are shown.
    pub client_name: &'a str,
    /// Where answers may go.
    pub redirect_uris: &'a [String],
    /// The grant types that the client will use.
    pub grant_types: &'a [&'a str],
    /// The scopes that the client will ask for.
    pub scope: &'a [String],
}

/// Returns the registration request (RFC 7591, section 3.1).
pub fn request(endpoint: &Url, registration: &Registration<'_>) -> Request {
    let uses_code = registration.grant_types.contains(&"authorization_code");
    let mut metadata = json!({
        "client_name": registration.client_name,
        "redirect_uris": registration.redirect_uris,
        "grant_types": registration.grant_types,
        "response_types": if uses_code { &["code"][..] } else { &[] },
        "application_type": "native",
        "token_endpoint_auth_method": "none",
    });
    if !registration.scope.is_empty() {
        metadata["scope"] = registration.scope.join(" ").into();
    }
    let mut request = Request::post(endpoint.clone()).max_body(token::MAX_TOKEN_BODY);
    request.json = Some(Zeroizing::new(metadata.to_string().into_bytes()));
    request
}

/// Reads the answer (RFC 7591, section 3.2).
///
/// A server may register a client with a secret although none was asked for; then it is used, in
/// the way the server registered.
pub fn parse(response: &Response) -> Result<Client, TokenError> {
    if !response.is_success() {
        return Err(token::failure(response));
    }
    let Some(object) = Object::parse(&response.body) else {
        return Err(token::unexpected(response, json::kind(response)));
    };
    read(object).map_err(|what| token::unexpected(response, what))
}

fn read(mut object: Object) -> Result<Client, String> {
    let wrong = |wrong: json::WrongType| wrong.to_string();
    let id = object.string("client_id").map_err(wrong)?.ok_or("`client_id` is missing")?;
    if !token::is_visible(&id) {
        return Err("`client_id` is empty or has characters that none has".to_owned());
    }
    let secret = object
        .string("client_secret")
        .map_err(wrong)?
        .filter(|secret| !secret.is_empty())
        .map(ClientSecret::new);
    let method = object.string("token_endpoint_auth_method").map_err(wrong)?;
    match (method.as_deref(), secret) {
        (Some("none"), _) | (None, None) => Ok(Client::public(id)),
        (None | Some("client_secret_basic" | "client_secret_post"), Some(secret)) => {
            Ok(Client::with_secret(id, secret, method.map(|method| [method]).as_ref().map(|m| &m[..])))
        }
        _ => Err("the client was registered with an authentication method that it cannot use".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::oauth::client::ClientAuthentication;

    fn endpoint() -> Url {
        Url::parse("https://server.example.com/register").unwrap()
    }

    #[test]
    fn asks_for_a_native_public_client() {
        let request = request(
            &endpoint(),
            &Registration {
                client_name: "earthkey",
                redirect_uris: &["http://127.0.0.1/callback".to_owned()],
                grant_types: &["authorization_code", "refresh_token"],
                scope: &["openid".to_owned(), "offline_access".to_owned()],
            },
        );
        let body: Value = serde_json::from_slice(&request.body()).unwrap();
        assert_eq!(
            body,
            json!({
                "client_name": "earthkey",
                "redirect_uris": ["http://127.0.0.1/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "application_type": "native",
                "token_endpoint_auth_method": "none",
                "scope": "openid offline_access",
            })
        );
        assert_eq!(request.max_body, token::MAX_TOKEN_BODY);
    }

    #[test]
    fn a_device_client_has_no_response_type() {
        let registration = Registration {
            client_name: "earthkey",
            redirect_uris: &[],
            grant_types: &["urn:ietf:params:oauth:grant-type:device_code"],
            scope: &[],
        };
        let body: Value = serde_json::from_slice(&request(&endpoint(), &registration).body()).unwrap();
        assert_eq!(body["response_types"], json!([]));
        assert_eq!(body.get("scope"), None);
    }

    #[test]
    fn rfc7591_3_2_1() {
        let response = Response::new(
            201,
            r#"{
                "client_id": "s6BhdRkqt3",
                "client_secret": "cf136dc3c1fc93f31185e5885805d",
                "client_id_issued_at": 2893256800,
                "client_secret_expires_at": 2893276800,
                "redirect_uris": ["https://client.example.org/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "client_name": "My Example Client",
                "token_endpoint_auth_method": "client_secret_basic",
                "example_extension_parameter": "example_value"
            }"#,
        );
        let secret = ClientSecret::new("cf136dc3c1fc93f31185e5885805d");
        assert_eq!(
            parse(&response).unwrap(),
            Client { id: "s6BhdRkqt3".to_owned(), authentication: ClientAuthentication::SecretBasic(secret) }
        );
    }

    #[test]
    fn the_method_is_the_one_registered() {
        let parse = |body: &str| parse(&Response::new(201, body));
        assert_eq!(parse(r#"{"client_id":"c"}"#), Ok(Client::public("c")));
        assert_eq!(
            parse(r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}"#),
            Ok(Client::public("c"))
        );
        let post = r#"{"client_id":"c","client_secret":"s",
                       "token_endpoint_auth_method":"client_secret_post"}"#;
        assert_eq!(
            parse(post).unwrap().authentication,
            ClientAuthentication::SecretPost(ClientSecret::new("s"))
        );
        for body in [
            "{}",
            r#"{"client_id":""}"#,
            r#"{"client_id":"a\nb"}"#,
            r#"{"client_id":1}"#,
            r#"{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}"#,
            r#"{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}"#,
            "<html>",
        ] {
            assert!(matches!(parse(body), Err(TokenError::Unexpected { .. })), "{body}");
        }
    }

    #[test]
    fn rfc7591_3_2_2() {
        let response = Response::new(
            400,
            r#"{"error": "invalid_redirect_uri",
                "error_description": "The redirection URI http://sketchy.example.com is not allowed by this server."}"#,
        );
        let Err(TokenError::Refused(refusal)) = parse(&response) else { panic!("not refused") };
        assert_eq!(refusal.error, "invalid_redirect_uri");
    }
}
