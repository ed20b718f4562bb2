//! Metadata of the issuers.

use reqwest::StatusCode;

use crate::bench::{Bench, string};

#[tokio::test]
async fn every_issuer_has_its_metadata_in_both_places() {
    let bench = Bench::new().await;
    for issuer in ["/oidc", "/openeo-id", "/"] {
        let folder = issuer.trim_end_matches('/');
        let openid = bench.get(&format!("{folder}/.well-known/openid-configuration")).await.value();
        let oauth = bench.get(&format!("/.well-known/oauth-authorization-server{folder}")).await.value();
        assert_eq!(openid, oauth);
        assert_eq!(openid["issuer"], bench.at(issuer));
        assert_eq!(openid["authorization_response_iss_parameter_supported"], true);
        assert_eq!(openid["code_challenge_methods_supported"], serde_json::json!(["S256"]));
        assert_eq!(openid["registration_endpoint"].is_string(), issuer == "/oidc");
    }
}

#[tokio::test]
async fn every_endpoint_named_is_there() {
    let bench = Bench::new().await;
    for folder in ["/oidc", "/openeo-id", ""] {
        let metadata = bench.get(&format!("{folder}/.well-known/openid-configuration")).await.value();
        for (name, value) in metadata.as_object().unwrap() {
            let named = name.ends_with("_endpoint") || name == "jwks_uri";
            let Some(url) = value.as_str().filter(|_| named) else { continue };
            let path = url.strip_prefix(bench.sandbox.url()).unwrap();
            assert_ne!(bench.get(path).await.status, StatusCode::NOT_FOUND, "{name}");
        }
    }
}

#[tokio::test]
async fn earthscope_has_the_paths_of_its_tenant() {
    let bench = Bench::new().await;
    let metadata = bench.get("/.well-known/openid-configuration").await.value();
    assert_eq!(metadata["token_endpoint"], bench.at("/oauth/token"));
    assert_eq!(metadata["device_authorization_endpoint"], bench.at("/oauth/device/code"));
    assert_eq!(metadata["revocation_endpoint"], bench.at("/oauth/revoke"));
    assert_eq!(metadata["authorization_endpoint"], bench.at("/authorize"));
}

#[tokio::test]
async fn keys_are_published_per_issuer() {
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    for path in ["/oidc/jwks", "/openeo-id/jwks", "/.well-known/jwks.json"] {
        let keys = bench.get(path).await.value();
        let keys = keys["keys"].as_array().unwrap().clone();
        let algorithms: Vec<_> = keys.iter().map(|key| string(key, "alg")).collect();
        assert_eq!(algorithms, ["RS256", "ES256"]);
        assert!(keys.iter().all(|key| key["use"] == "sig" && key["d"].is_null() && key["p"].is_null()));
        ids.extend(keys.iter().map(|key| string(key, "kid").to_owned()));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}
