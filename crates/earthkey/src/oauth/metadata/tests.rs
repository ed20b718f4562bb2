use http::HeaderValue;
use http::header;

use super::*;

const EXAMPLE: &str = r#"{
    "issuer": "https://server.example.com",
    "authorization_endpoint": "https://server.example.com/authorize",
    "token_endpoint": "https://server.example.com/token",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
    "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256"],
    "userinfo_endpoint": "https://server.example.com/userinfo",
    "jwks_uri": "https://server.example.com/jwks.json",
    "registration_endpoint": "https://server.example.com/register",
    "scopes_supported": ["openid", "profile", "email", "address", "phone", "offline_access"],
    "response_types_supported": ["code", "code token"],
    "service_documentation": "http://server.example.com/service_documentation.html",
    "ui_locales_supported": ["en-US", "en-GB", "en-CA", "fr-FR", "fr-CA"]
}"#;

fn parse_exact(asked: &str, body: &str) -> Result<Metadata, MetadataError> {
    parse(asked, IssuerComparison::Exact, &Response::new(200, body))
}

/// Returns the error of metadata that has one member more.
fn error_with(member: &str) -> MetadataError {
    let body = format!(r#"{{"issuer": "https://a.test", {member}}}"#);
    parse_exact("https://a.test", &body).unwrap_err()
}

fn candidates_of(issuer: &str) -> Vec<String> {
    candidates(&Url::parse(issuer).unwrap()).into_iter().map(String::from).collect()
}

#[test]
fn rfc8414_3_2() {
    let metadata = parse_exact("https://server.example.com", EXAMPLE).unwrap();
    assert_eq!(metadata.issuer, "https://server.example.com");
    let text = |url: Option<Url>| url.map(String::from);
    assert_eq!(
        text(metadata.authorization_endpoint).as_deref(),
        Some("https://server.example.com/authorize")
    );
    assert_eq!(text(metadata.token_endpoint).as_deref(), Some("https://server.example.com/token"));
    assert_eq!(text(metadata.jwks_uri).as_deref(), Some("https://server.example.com/jwks.json"));
    assert_eq!(metadata.device_authorization_endpoint, None);
    assert_eq!(metadata.code_challenge_methods_supported, None);
    assert_eq!(metadata.scopes_supported.unwrap().len(), 6);
    assert!(!metadata.authorization_response_iss_parameter_supported);
}

#[test]
fn an_issuer_without_a_path_has_two_places() {
    for issuer in ["https://example.com", "https://example.com/", "https://example.com/?q#f"] {
        assert_eq!(
            candidates_of(issuer),
            [
                "https://example.com/.well-known/openid-configuration",
                "https://example.com/.well-known/oauth-authorization-server",
            ]
        );
    }
}

#[test]
fn rfc8414_3_1_and_5_an_issuer_with_a_path_has_three_places() {
    for issuer in ["https://example.com:8443/issuer1", "https://example.com:8443/issuer1/"] {
        assert_eq!(
            candidates_of(issuer),
            [
                "https://example.com:8443/issuer1/.well-known/openid-configuration",
                "https://example.com:8443/.well-known/oauth-authorization-server/issuer1",
                "https://example.com:8443/.well-known/openid-configuration/issuer1",
            ]
        );
    }
}

#[test]
fn the_issuer_must_be_the_one_asked() {
    let body = r#"{"issuer": "https://a.test/realms/demo"}"#;
    let compare = |asked: &str, comparison| {
        parse(asked, comparison, &Response::new(200, body)).map(|metadata| metadata.issuer)
    };
    let slash = "https://a.test/realms/demo/";
    assert_eq!(
        compare(slash, IssuerComparison::IgnoringTrailingSlash).as_deref(),
        Ok("https://a.test/realms/demo")
    );
    assert!(compare(slash, IssuerComparison::Exact).is_err());
    for asked in ["https://a.test/realms", "https://A.test/realms/demo", "http://a.test/realms/demo"] {
        for comparison in [IssuerComparison::Exact, IssuerComparison::IgnoringTrailingSlash] {
            assert!(matches!(compare(asked, comparison), Err(MetadataError::WrongIssuer { .. })), "{asked}");
        }
    }
}

#[test]
fn a_wrong_issuer_is_told_without_its_control_characters() {
    let error = parse_exact("https://a.test", r#"{"issuer": "https://b.test\u001b[2J"}"#);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the metadata names another issuer: asked `https://a.test`, named `https://b.test [2J`"
    );
}

#[test]
fn no_endpoint_may_be_plain_http() {
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "device_authorization_endpoint",
        "revocation_endpoint",
        "userinfo_endpoint",
        "registration_endpoint",
        "jwks_uri",
    ] {
        for address in ["http://a.test/x", "http://localhost/x", "file:///etc/passwd", "data:,x"] {
            let error = error_with(&format!(r#""{endpoint}": "{address}""#));
            assert_eq!(error, MetadataError::PlainHttp { endpoint }, "{address}");
        }
        let loopback = format!(r#"{{"issuer": "http://127.0.0.1:1", "{endpoint}": "http://127.0.0.1:1/x"}}"#);
        assert!(parse_exact("http://127.0.0.1:1", &loopback).is_ok());
    }
}

#[test]
fn an_endpoint_must_be_a_plain_address() {
    for address in [
        "/token",
        "",
        "https://",
        "https://a.test/token#f",
        "https://accounts.test@evil.test/token",
        "https://:pass@a.test/token",
    ] {
        assert_eq!(
            error_with(&format!(r#""token_endpoint": "{address}""#)),
            MetadataError::BadAddress { endpoint: "token_endpoint" },
            "{address}"
        );
    }
}

#[test]
fn wrong_types_are_errors_and_null_is_absence() {
    for (name, value) in [
        ("token_endpoint", "1"),
        ("token_endpoint", "[]"),
        ("scopes_supported", "\"openid\""),
        ("scopes_supported", "[1]"),
        ("authorization_response_iss_parameter_supported", "\"true\""),
    ] {
        let error = error_with(&format!(r#""{name}": {value}"#));
        assert!(
            matches!(error, MetadataError::WrongType { name: named, .. } if named == name),
            "{name}: {error}"
        );
    }
    let body = r#"{"issuer": "https://a.test", "token_endpoint": null, "scopes_supported": null}"#;
    let metadata = parse_exact("https://a.test", body).unwrap();
    assert_eq!((metadata.token_endpoint, metadata.scopes_supported), (None, None));
    assert_eq!(parse_exact("https://a.test", "{}"), Err(MetadataError::Missing("issuer")));
}

#[test]
fn what_is_not_metadata_is_named() {
    for status in [204, 301, 404, 500] {
        assert_eq!(
            parse("https://a.test", IssuerComparison::Exact, &Response::new(status, EXAMPLE)),
            Err(MetadataError::Status(status))
        );
    }
    let mut page = Response::new(200, "<html>sign in to the network</html>");
    page.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    assert_eq!(
        parse("https://a.test", IssuerComparison::Exact, &page).unwrap_err().to_string(),
        "the metadata should be JSON, but an HTML page came"
    );
    assert_eq!(
        parse_exact("https://a.test", "").unwrap_err(),
        MetadataError::NotJson { found: "an empty body".to_owned() }
    );
}
