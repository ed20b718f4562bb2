//! The authorization endpoint and the code grant.

use earthkey_sandbox::robot::{Browser, Person};
use earthkey_sandbox::{Expiring, Realm};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::bench::{Bench, CALLBACK, VERIFIER, basic, parameter, string};

#[tokio::test]
async fn code_becomes_tokens_that_verify() {
    let bench = Bench::new().await;
    let redirect = bench.redirect(&[]).await;
    assert!(redirect.as_str().starts_with(CALLBACK));
    assert_eq!(parameter(&redirect, "state").as_deref(), Some("state-1"));
    assert_eq!(parameter(&redirect, "iss"), Some(bench.at("/oidc")));

    let answer = bench.redeem(&parameter(&redirect, "code").unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    let tokens = answer.value();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 3_600);
    assert_eq!(tokens["scope"], "openid profile email offline_access");
    assert!(string(&tokens, "refresh_token").starts_with("sandbox-"));

    let id = bench.claims(Realm::Oidc, string(&tokens, "id_token"), "sandbox-public").await;
    assert_eq!(id["sub"], "sandbox-ada");
    assert_eq!(id["nonce"], "nonce-1");
    assert_eq!(id["name"], "Ada Lovelace");
    assert_eq!(id["email"], "ada@sandbox.test");
    let access = string(&tokens, "access_token");
    let claims = bench.claims(Realm::Oidc, access, &bench.at("/api")).await;
    assert_eq!(claims["sub"], "sandbox-ada");
    assert_eq!(claims["client_id"], "sandbox-public");
    assert_eq!(claims["azp"], "sandbox-public");
    assert_eq!(claims["scope"], tokens["scope"]);
    let info = bench.get_as("/oidc/userinfo", &format!("Bearer {access}")).await.value();
    assert_eq!(info["email"], "ada@sandbox.test");
}

#[tokio::test]
async fn tokens_of_one_realm_mean_nothing_to_another() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let authorization = format!("Bearer {}", string(&tokens, "access_token"));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::OK);
    for path in ["/openeo-id/userinfo", "/userinfo", "/beta/user/profile"] {
        let answer = bench.get_as(path, &authorization).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
}

#[tokio::test]
async fn every_step_of_a_code_is_checked() {
    let bench = Bench::new().await;
    let good = [
        ("grant_type", "authorization_code"),
        ("client_id", "sandbox-public"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let cases = [
        ("redirect_uri", "http://127.0.0.1:9/other"),
        ("redirect_uri", ""),
        ("code_verifier", ""),
        ("code_verifier", "another-verifier-that-is-long-enough-to-be-one"),
    ];
    for (name, value) in cases {
        let code = parameter(&bench.redirect(&[]).await, "code").unwrap();
        let mut form: Vec<_> = good.iter().copied().filter(|(own, _)| *own != name).collect();
        form.extend([(name, value), ("code", code.as_str())]);
        let answer = bench.post("/oidc/token", &form).await;
        assert_eq!(answer.error(), (400, "invalid_grant".to_owned()), "{name}={value}");
    }
    assert_eq!(bench.redeem("no-such-code").await.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn codes_belong_to_their_client() {
    let bench = Bench::new().await;
    let code = parameter(&bench.redirect(&[]).await, "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
        ("code", code.as_str()),
    ];
    let other = basic("sandbox-confidential", "sandbox-secret");
    let answer = bench.post_as("/oidc/token", &other, &form).await;
    assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(bench.redeem(&code).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_code_that_comes_twice_takes_its_tokens_along() {
    let bench = Bench::new().await;
    let code = parameter(&bench.redirect(&[]).await, "code").unwrap();
    let tokens = bench.redeem(&code).await.value();
    let authorization = format!("Bearer {}", string(&tokens, "access_token"));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::OK);

    assert_eq!(bench.redeem(&code).await.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::UNAUTHORIZED);
    let refreshed = bench.refresh(string(&tokens, "refresh_token")).await;
    assert_eq!(refreshed.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn codes_expire() {
    let bench = Bench::new().await;
    let code = parameter(&bench.redirect(&[]).await, "code").unwrap();
    bench.control().expire(Realm::Oidc, Expiring::Code);
    assert_eq!(bench.redeem(&code).await.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn confidential_clients_may_do_without_a_challenge_but_then_no_verifier_counts() {
    let bench = Bench::new().await;
    let changes =
        [("client_id", "sandbox-confidential"), ("code_challenge", ""), ("code_challenge_method", "")];
    let secret = basic("sandbox-confidential", "sandbox-secret");
    for (verifier, status) in [("", StatusCode::OK), (VERIFIER, StatusCode::BAD_REQUEST)] {
        let code = parameter(&bench.redirect(&changes).await, "code").unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("redirect_uri", CALLBACK),
            ("code", code.as_str()),
            ("code_verifier", verifier),
        ];
        assert_eq!(bench.post_as("/oidc/token", &secret, &form).await.status, status);
    }
}

#[tokio::test]
async fn what_a_client_got_wrong_is_told_to_the_client() {
    let bench = Bench::new().await;
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "")], "invalid_request"),
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("request", "e30")], "request_not_supported"),
        (&[("request_uri", "https://a.test/")], "request_uri_not_supported"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "sing")], "invalid_request"),
        (&[("prompt", "none")], "login_required"),
        (&[("audience", "a?b")], "invalid_request"),
    ];
    for (changes, error) in cases {
        let redirect = bench.redirect(changes).await;
        assert!(redirect.as_str().starts_with(CALLBACK), "{changes:?}");
        assert_eq!(parameter(&redirect, "error").as_deref(), Some(*error), "{changes:?}");
        assert_eq!(parameter(&redirect, "state").as_deref(), Some("state-1"));
        assert_eq!(parameter(&redirect, "iss"), Some(bench.at("/oidc")));
        assert_eq!(parameter(&redirect, "code"), None);
    }
    let url = format!("{}&scope=twice", bench.authorization_url(&[]));
    let visit = Person::ada().stopping_at_foreign_redirect().visit(&url).await.unwrap();
    let redirect = visit.last_redirect.unwrap();
    assert_eq!(parameter(&redirect, "error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn nothing_is_redirected_before_client_and_way_back_belong_together() {
    let bench = Bench::new().await;
    let cases: &[&[(&str, &str)]] = &[
        &[("client_id", "nobody")],
        &[("client_id", "")],
        &[("redirect_uri", "")],
        &[("redirect_uri", "https://evil.test/")],
        &[("redirect_uri", "http://localhost.evil.test:9/")],
    ];
    for changes in cases {
        let visit = bench.stopping_visit(&Person::ada(), changes).await;
        assert_eq!(visit.status, StatusCode::BAD_REQUEST, "{changes:?}");
        assert!(visit.last_redirect.is_none());
        assert!(visit.text.contains("This sign-in link does not work"));
    }
    for twice in ["client_id=sandbox-public", "redirect_uri=https://evil.test/"] {
        let url = format!("{}&{twice}", bench.authorization_url(&[]));
        let visit = Person::ada().stopping_at_foreign_redirect().visit(&url).await.unwrap();
        assert_eq!((visit.status, visit.last_redirect), (StatusCode::BAD_REQUEST, None), "{twice}");
    }
}

#[tokio::test]
async fn a_denial_is_told_to_the_client() {
    let bench = Bench::new().await;
    let visit = bench.stopping_visit(&Person::ada().denying(), &[]).await;
    let redirect = visit.last_redirect.unwrap();
    assert_eq!(parameter(&redirect, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&redirect, "iss"), Some(bench.at("/oidc")));
}

#[tokio::test]
async fn a_session_allows_prompt_none_for_what_was_allowed() {
    let bench = Bench::new().await;
    let person = Person::ada().stopping_at_foreign_redirect();
    let mut browser = Browser::new().unwrap();
    let first = bench.authorization_url(&[("scope", "openid")]);
    person.visit_with(&mut browser, first.as_str()).await.unwrap();

    let asked = [("openid", None), ("openid email", Some("consent_required"))];
    for (scope, error) in asked {
        let url = bench.authorization_url(&[("scope", scope), ("prompt", "none")]);
        let visit = person.visit_with(&mut browser, url.as_str()).await.unwrap();
        let redirect = visit.last_redirect.unwrap();
        assert_eq!(parameter(&redirect, "error").as_deref(), error);
        assert_eq!(parameter(&redirect, "code").is_some(), error.is_none());
    }
    bench.control().expire(Realm::Oidc, Expiring::Session);
    let url = bench.authorization_url(&[("scope", "openid"), ("prompt", "none")]);
    let redirect = person.visit_with(&mut browser, url.as_str()).await.unwrap().last_redirect.unwrap();
    assert_eq!(parameter(&redirect, "error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn another_account_takes_a_fresh_sign_in() {
    let bench = Bench::new().await;
    let mut browser = Browser::new().unwrap();
    // Somebody who is signed in stays so until the client asks for a sign-in.
    let visits = [
        (Person::ada(), ("prompt", ""), "sandbox-ada"),
        (Person::grace(), ("prompt", ""), "sandbox-ada"),
        (Person::grace(), ("prompt", "login"), "sandbox-grace"),
        (Person::ada(), ("max_age", "1000"), "sandbox-grace"),
        (Person::ada(), ("max_age", "0"), "sandbox-ada"),
    ];
    for (person, change, sub) in visits {
        let url = bench.authorization_url(&[change]);
        let person = person.stopping_at_foreign_redirect();
        let redirect = person.visit_with(&mut browser, url.as_str()).await.unwrap().last_redirect.unwrap();
        let tokens = bench.redeem(&parameter(&redirect, "code").unwrap()).await.value();
        let id = bench.claims(Realm::Oidc, string(&tokens, "id_token"), "sandbox-public").await;
        assert_eq!(id["sub"], sub, "{change:?}");
    }
}

#[tokio::test]
async fn what_one_person_allowed_another_did_not() {
    let bench = Bench::new().await;
    let mut browser = Browser::new().unwrap();
    let visits = [
        (Person::ada(), "login", None),
        (Person::grace().denying(), "login", Some("access_denied")),
        (Person::grace(), "none", Some("consent_required")),
        (Person::ada().denying(), "login", Some("access_denied")),
        (Person::ada(), "none", None),
    ];
    for (person, prompt, error) in visits {
        let url = bench.authorization_url(&[("prompt", prompt)]);
        let person = person.stopping_at_foreign_redirect();
        let redirect = person.visit_with(&mut browser, url.as_str()).await.unwrap().last_redirect.unwrap();
        assert_eq!(parameter(&redirect, "error").as_deref(), error, "{person:?} {prompt}");
    }
}

#[tokio::test]
async fn requests_may_come_as_a_form() {
    let bench = Bench::new().await;
    let url = bench.authorization_url(&[]);
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let form: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = bench.post("/oidc/authorize", &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.header("location").starts_with("/oidc/sign-in?request="));
}

#[tokio::test]
async fn clients_register_themselves() {
    let bench = Bench::new().await;
    let request = json!({
        "client_name": "A <test> client",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
        "id_token_signed_response_alg": "ES256",
        "software_id": "ignored",
    });
    let answer = bench.json(reqwest::Method::POST, "/oidc/register", &request).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let client = answer.value();
    assert_eq!(client["client_secret"], Value::Null);
    let id = string(&client, "client_id");

    let redirect = bench.redirect(&[("client_id", id)]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", id),
        ("redirect_uri", CALLBACK),
        ("code", &parameter(&redirect, "code").unwrap()),
        ("code_verifier", VERIFIER),
    ];
    let tokens = bench.post("/oidc/token", &form).await.value();
    let id_token = string(&tokens, "id_token");
    assert_eq!(jsonwebtoken::decode_header(id_token).unwrap().alg, jsonwebtoken::Algorithm::ES256);
    bench.claims(Realm::Oidc, id_token, id).await;
}

#[tokio::test]
async fn registered_clients_authenticate_as_registered() {
    let bench = Bench::new().await;
    for method in ["client_secret_basic", "client_secret_post"] {
        let request = json!({"grant_types": ["client_credentials"], "token_endpoint_auth_method": method});
        let client = bench.json(reqwest::Method::POST, "/oidc/register", &request).await.value();
        let (id, secret) = (string(&client, "client_id"), string(&client, "client_secret"));
        let grant = ("grant_type", "client_credentials");
        let by_header = bench.post_as("/oidc/token", &basic(id, secret), &[grant]).await;
        let by_body = bench.post("/oidc/token", &[grant, ("client_id", id), ("client_secret", secret)]).await;
        let basic_method = method == "client_secret_basic";
        assert_eq!(by_header.status.is_success(), basic_method, "{method}");
        assert_eq!(by_body.status.is_success(), !basic_method, "{method}");
    }
}

#[tokio::test]
async fn bad_registrations_are_refused() {
    let bench = Bench::new().await;
    let cases = [
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["http://example.org/"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["https://a.test/#x"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": 1}), "invalid_client_metadata"),
        (json!({"grant_types": ["implicit"]}), "invalid_client_metadata"),
        (json!({"grant_types": [], "response_types": ["token"]}), "invalid_client_metadata"),
        (json!({"grant_types": [], "token_endpoint_auth_method": "tls"}), "invalid_client_metadata"),
        (
            json!({"grant_types": ["client_credentials"], "token_endpoint_auth_method": "none"}),
            "invalid_client_metadata",
        ),
        (json!({"grant_types": [], "id_token_signed_response_alg": "none"}), "invalid_client_metadata"),
        (json!([]), "invalid_client_metadata"),
    ];
    for (request, error) in cases {
        let answer = bench.json(reqwest::Method::POST, "/oidc/register", &request).await;
        assert_eq!(answer.error(), (400, error.to_owned()), "{request}");
    }
    let none = json!({"redirect_uris": ["https://a.test/"]});
    let answer = bench.json(reqwest::Method::POST, "/openeo-id/register", &none).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
