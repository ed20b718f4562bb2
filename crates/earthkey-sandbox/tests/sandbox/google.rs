//! Google's sign-in and its token endpoint.

use earthkey_sandbox::robot::Person;
use earthkey_sandbox::{Change, Expiring, Options, Realm, Rotation, RotationKind};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::google::{
    DESKTOP_CLIENT, DRIVE, EARTH_ENGINE, EARTH_ENGINE_CLIENT, EMAIL, REVOKE, TOKEN, TOKENINFO, bearer,
    refusal,
};
use crate::bench::{Bench, CALLBACK, basic, parameter, string};

fn refused(status: u16, code: &str, description: &str) -> (u16, String, String) {
    (status, code.to_owned(), description.to_owned())
}

fn bad_grant(description: &str) -> (u16, String, String) {
    refused(400, "invalid_grant", description)
}

const ENDED: &str = "Token has been expired or revoked.";

#[tokio::test]
async fn a_code_brings_opaque_tokens() {
    let bench = Bench::new().await;
    let visit = bench.google_visit(&Person::ada(), &[]).await;
    let redirect = visit.last_redirect.unwrap();
    assert_eq!(parameter(&redirect, "state").as_deref(), Some("state-1"));
    assert_eq!(parameter(&redirect, "iss").as_deref(), Some("https://accounts.google.com"));
    assert_eq!(parameter(&redirect, "scope").as_deref(), Some(EARTH_ENGINE));
    let answer = bench.google_redeem(&parameter(&redirect, "code").unwrap(), &[]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    let tokens = answer.value();
    assert!(string(&tokens, "access_token").starts_with("ya29.sandbox-"));
    assert!(string(&tokens, "refresh_token").starts_with("sandbox-"));
    assert_eq!((&tokens["expires_in"], &tokens["scope"]), (&json!(3_599), &json!(EARTH_ENGINE)));
    assert_eq!((&tokens["token_type"], &tokens["id_token"]), (&json!("Bearer"), &Value::Null));
    assert_eq!(tokens["refresh_token_expires_in"], Value::Null);
    let records = bench.control().requests(Some(TOKEN));
    assert_eq!((records[0].realm, records[0].status), (Some(Realm::Google), Some(200)));
    assert_eq!(records[0].client_id.as_deref(), Some(DESKTOP_CLIENT.0));
}

#[tokio::test]
async fn earth_engines_library_sends_no_more_than_it_must() {
    let bench = Bench::new().await;
    // No state, no access_type, and the form of its sources; then the same without PKCE.
    for pkce in [&[][..], &[("code_challenge", ""), ("code_challenge_method", "")]] {
        let mut changes = vec![
            ("client_id", EARTH_ENGINE_CLIENT.0),
            ("redirect_uri", "http://localhost:8085"),
            ("state", ""),
            ("access_type", ""),
        ];
        changes.extend(pkce);
        let code = bench.google_code(&changes).await;
        let (id, secret) = EARTH_ENGINE_CLIENT;
        let mut changes =
            vec![("client_id", id), ("client_secret", secret), ("redirect_uri", "http://localhost:8085")];
        changes.extend(pkce.iter().take(1).map(|_| ("code_verifier", "")));
        let answer = bench.google_redeem(&code, &changes).await;
        assert!(answer.value()["refresh_token"].is_string(), "{}", answer.text);
    }
}

#[tokio::test]
async fn both_authorization_paths_and_http_basic_work() {
    let bench = Bench::new().await;
    let url = bench.google_url(&[]).as_str().replace("/o/oauth2/auth?", "/o/oauth2/v2/auth?");
    let visit = Person::grace().stopping_at_foreign_redirect().visit(&url).await.unwrap();
    let code = parameter(&visit.last_redirect.unwrap(), "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", crate::bench::VERIFIER),
    ];
    let answer = bench.post_as(TOKEN, &basic(DESKTOP_CLIENT.0, DESKTOP_CLIENT.1), &form).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn refresh_tokens_are_not_replaced() {
    let rotation = Rotation::Rotate { grace_seconds: 0 };
    let bench = Bench::with(Options { rotation, ..Options::default() }).await;
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let refresh_token = string(&tokens, "refresh_token");
    for _ in 0..3 {
        let answer = bench.google_refresh(refresh_token, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let value = answer.value();
        assert_eq!((&value["refresh_token"], &value["scope"]), (&Value::Null, &json!(EARTH_ENGINE)));
        assert_ne!(value["access_token"], tokens["access_token"]);
    }
    let change = Change { rotation: Some(RotationKind::Rotate), ..Change::default() };
    bench.control().settings(Realm::Google, &change);
    assert!(bench.google_refresh(refresh_token, &[]).await.value()["refresh_token"].is_string());
    assert_eq!(refusal(&bench.google_refresh(refresh_token, &[]).await), bad_grant(ENDED));
}

#[tokio::test]
async fn a_refresh_may_ask_for_what_was_granted() {
    let bench = Bench::new().await;
    let both = format!("{EARTH_ENGINE} {DRIVE}");
    let tokens = bench.google_login(&both).await;
    let refresh =
        async |scope: &str| bench.google_refresh(string(&tokens, "refresh_token"), &[("scope", scope)]).await;
    assert_eq!(refresh(&both).await.value()["scope"], both);
    assert_eq!(refresh(DRIVE).await.value()["scope"], DRIVE);
    for scope in [format!("{both} {EMAIL}"), format!("{both} nonsense")] {
        assert_eq!(refusal(&refresh(&scope).await), refused(400, "invalid_scope", "Bad Request"));
    }
}

#[tokio::test]
async fn what_a_person_unticks_is_not_granted() {
    let bench = Bench::new().await;
    let request = json!({"realm": "google", "withheld_scopes": [DRIVE]});
    let answer = bench.json(Method::POST, "/_control/settings", &request).await.value();
    assert_eq!(answer["withheld_scopes"], json!([DRIVE]));
    let tokens = bench.google_login(&format!("{EARTH_ENGINE} {DRIVE}")).await;
    assert_eq!(tokens["scope"], EARTH_ENGINE);
    let refresh_token = string(&tokens, "refresh_token");
    let wider = bench.google_refresh(refresh_token, &[("scope", DRIVE)]).await;
    assert_eq!(refusal(&wider), refused(400, "invalid_scope", "Bad Request"));
    assert_eq!(bench.google_refresh(refresh_token, &[]).await.value()["scope"], EARTH_ENGINE);
}

#[tokio::test]
async fn errors_of_codes_have_googles_words() {
    let bench = Bench::new().await;
    let redeem = async |changes: &[(&str, &str)]| {
        let code = bench.google_code(&[]).await;
        refusal(&bench.google_redeem(&code, changes).await)
    };
    let elsewhere = redeem(&[("redirect_uri", "http://127.0.0.1:9/elsewhere")]).await;
    assert_eq!(elsewhere, refused(400, "redirect_uri_mismatch", "Bad Request"));
    assert_eq!(redeem(&[("code_verifier", "")]).await, bad_grant("Missing code verifier."));
    assert_eq!(redeem(&[("code_verifier", CALLBACK)]).await, bad_grant("Invalid code verifier."));
    assert_eq!(redeem(&[("code", "4/unknown")]).await, bad_grant("Bad Request"));
    let unknown = redeem(&[("client_id", "1-nobody.apps.googleusercontent.com")]).await;
    assert_eq!(unknown, refused(401, "invalid_client", "The OAuth client was not found."));
    let wrong = redeem(&[("client_secret", "guess")]).await;
    assert_eq!(wrong, refused(401, "invalid_client", "The provided client secret is invalid."));
    let missing = redeem(&[("client_secret", "")]).await;
    assert_eq!(missing, refused(400, "invalid_request", "client_secret is missing."));
    let missing = redeem(&[("client_id", "")]).await;
    assert_eq!(missing, refused(400, "invalid_request", "Could not determine client ID from request."));

    // A code works once.
    let code = bench.google_code(&[]).await;
    assert_eq!(bench.google_redeem(&code, &[]).await.status, StatusCode::OK);
    assert_eq!(refusal(&bench.google_redeem(&code, &[]).await), bad_grant("Bad Request"));
}

#[tokio::test]
async fn errors_of_refreshes_have_googles_words() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let refresh_token = string(&tokens, "refresh_token");
    assert_eq!(refusal(&bench.google_refresh("1//unknown", &[]).await), bad_grant("Bad Request"));
    let (id, secret) = EARTH_ENGINE_CLIENT;
    let other = bench.google_refresh(refresh_token, &[("client_id", id), ("client_secret", secret)]).await;
    assert_eq!(refusal(&other), refused(401, "unauthorized_client", "Unauthorized"));

    let change = Change { reauthentication: Some(true), ..Change::default() };
    bench.control().settings(Realm::Google, &change);
    let again = bench.google_refresh(refresh_token, &[]).await;
    assert_eq!(refusal(&again), bad_grant("reauth related error (invalid_rapt)"));
    assert_eq!(again.value()["error_subtype"], "invalid_rapt");
    let change = Change { reauthentication: Some(false), ..Change::default() };
    bench.control().settings(Realm::Google, &change);
    assert_eq!(bench.google_refresh(refresh_token, &[]).await.status, StatusCode::OK);

    bench.control().expire(Realm::Google, Expiring::Refresh);
    assert_eq!(refusal(&bench.google_refresh(refresh_token, &[]).await), bad_grant(ENDED));
    let tokens = bench.google_login(EARTH_ENGINE).await;
    // The login whose token expired is still one.
    assert_eq!(bench.control().revoke(Realm::Google, Some("sandbox-ada")), 2);
    let revoked = bench.google_refresh(string(&tokens, "refresh_token"), &[]).await;
    assert_eq!(refusal(&revoked), bad_grant(ENDED));
}

#[tokio::test]
async fn logins_of_clients_in_testing_end() {
    let bench = Bench::new().await;
    let set = async |lifetime: Value| {
        let request = json!({"realm": "google", "grant_lifetime": lifetime});
        bench.json(Method::POST, "/_control/settings", &request).await.value()
    };
    assert_eq!(set(json!(604_800)).await["grant_lifetime"], 604_800);
    let week = bench.google_login(EARTH_ENGINE).await;
    assert_eq!(week["refresh_token_expires_in"], 604_800);
    let refreshed = bench.google_refresh(string(&week, "refresh_token"), &[]).await;
    assert_eq!(
        (refreshed.status, &refreshed.value()["refresh_token_expires_in"]),
        (StatusCode::OK, &Value::Null)
    );
    assert_eq!(set(json!(0)).await["grant_lifetime"], 0);
    let over = bench.google_login(EARTH_ENGINE).await;
    assert_eq!(refusal(&bench.google_refresh(string(&over, "refresh_token"), &[]).await), bad_grant(ENDED));
    // Null takes it back; what is not named stays.
    let request = json!({"realm": "google", "reauthentication": false});
    let kept = bench.json(Method::POST, "/_control/settings", &request).await.value();
    assert_eq!(kept["grant_lifetime"], 0);
    assert_eq!(set(Value::Null).await["grant_lifetime"], Value::Null);
    let endless = bench.google_login(EARTH_ENGINE).await;
    assert_eq!(endless["refresh_token_expires_in"], Value::Null);
    assert_eq!(bench.google_refresh(string(&endless, "refresh_token"), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn revoking_one_token_ends_all_logins_of_account_and_client() {
    let bench = Bench::new().await;
    let first = bench.google_login(EARTH_ENGINE).await;
    let second = bench.google_login(EARTH_ENGINE).await;
    let (id, secret) = EARTH_ENGINE_CLIENT;
    let code = bench.google_code(&[("client_id", id)]).await;
    let own = [("client_id", id), ("client_secret", secret)];
    let other = bench.google_redeem(&code, &own).await.value();
    let visit = bench.google_visit(&Person::grace(), &[]).await;
    let code = parameter(&visit.last_redirect.unwrap(), "code").unwrap();
    let grace = bench.google_redeem(&code, &[]).await.value();

    let answer = bench.post(REVOKE, &[("token", string(&first, "refresh_token"))]).await;
    assert_eq!((answer.status, answer.value()), (StatusCode::OK, json!({})));
    for gone in [&first, &second] {
        let refused = bench.google_refresh(string(gone, "refresh_token"), &[]).await;
        assert_eq!(refusal(&refused), bad_grant(ENDED));
        let access_token = string(gone, "access_token");
        assert_eq!(bench.get(&format!("{TOKENINFO}?access_token={access_token}")).await.status, 400);
    }
    // Another client of the same person, and another person, stay signed in.
    assert_eq!(bench.google_refresh(string(&other, "refresh_token"), &own).await.status, StatusCode::OK);
    assert_eq!(bench.google_refresh(string(&grace, "refresh_token"), &[]).await.status, StatusCode::OK);

    let again = bench.post(REVOKE, &[("token", string(&first, "refresh_token"))]).await;
    assert_eq!(refusal(&again), refused(400, "invalid_token", "Token expired or revoked"));
    // An access token does as well, and so does the query.
    let access_token = string(&grace, "access_token");
    let answer = bench.post(&format!("{REVOKE}?token={access_token}"), &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(refusal(&bench.google_refresh(string(&grace, "refresh_token"), &[]).await), bad_grant(ENDED));
    assert_eq!(bench.post(REVOKE, &[]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn tokeninfo_says_whose_a_token_is() {
    let bench = Bench::new().await;
    let tokens = bench.google_login(&format!("openid email {EARTH_ENGINE}")).await;
    let access_token = string(&tokens, "access_token");
    let info = bench.get(&format!("{TOKENINFO}?access_token={access_token}")).await.value();
    assert_eq!((&info["azp"], &info["aud"]), (&json!(DESKTOP_CLIENT.0), &json!(DESKTOP_CLIENT.0)));
    assert_eq!((&info["sub"], &info["email"]), (&json!("sandbox-ada"), &json!("ada@sandbox.test")));
    assert_eq!((&info["scope"], &info["email_verified"]), (&tokens["scope"], &json!("true")));
    assert_eq!(info["scope"], format!("openid {EMAIL} {EARTH_ENGINE}"));
    let left: u64 = string(&info, "expires_in").parse().unwrap();
    assert!(left > 3_500 && left <= 3_600);
    assert!(string(&info, "exp").parse::<u64>().unwrap() > 1_700_000_000);
    // Without a scope for it there is no address; the form does as well.
    let tokens = bench.google_login(EARTH_ENGINE).await;
    let info = bench.post(TOKENINFO, &[("access_token", string(&tokens, "access_token"))]).await.value();
    assert_eq!((&info["email"], &info["email_verified"]), (&Value::Null, &Value::Null));

    bench.control().expire(Realm::Google, Expiring::Access);
    for token in [access_token, "ya29.nonsense", ""] {
        let answer = bench.get(&format!("{TOKENINFO}?access_token={token}")).await;
        assert_eq!(refusal(&answer), refused(400, "invalid_token", "Invalid Value"));
    }
}

#[tokio::test]
async fn id_tokens_are_googles() {
    let bench = Bench::new().await;
    let url = [("scope", "openid email profile"), ("nonce", "nonce-1")];
    let code = bench.google_code(&url).await;
    let tokens = bench.google_redeem(&code, &[]).await.value();
    let refreshed = bench.google_refresh(string(&tokens, "refresh_token"), &[]).await.value();
    let certs = bench.get("/google/www.googleapis.com/oauth2/v3/certs").await;
    let keys: JwkSet = serde_json::from_str(&certs.text).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[DESKTOP_CLIENT.0]);
    validation.set_issuer(&["https://accounts.google.com"]);
    for (tokens, nonce) in [(&tokens, json!("nonce-1")), (&refreshed, Value::Null)] {
        let token = string(tokens, "id_token");
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
        assert_eq!((&claims["email"], &claims["email_verified"]), (&json!("ada@sandbox.test"), &json!(true)));
        assert_eq!((&claims["sub"], &claims["hd"]), (&json!("sandbox-ada"), &Value::Null));
        assert_eq!((&claims["name"], &claims["nonce"]), (&json!("Ada Lovelace"), &nonce));
    }
    let userinfo = "/google/openidconnect.googleapis.com/v1/userinfo";
    let person = bench.get_as(userinfo, &bearer(&tokens)).await.value();
    assert_eq!((&person["email"], &person["given_name"]), (&json!("ada@sandbox.test"), &json!("Ada")));
    let tokens = bench.google_login(EARTH_ENGINE).await;
    assert_eq!(bench.get_as(userinfo, &bearer(&tokens)).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_clock_can_be_off() {
    let bench = Bench::new().await;
    let day = 24 * 3_600;
    for offset in [day, -day] {
        let request = json!({"realm": "google", "clock_offset": offset});
        let answer = bench.json(Method::POST, "/_control/settings", &request).await.value();
        assert_eq!(answer["clock_offset"], offset);
        let tokens = bench.google_login("openid").await;
        let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(string(&tokens, "id_token")).unwrap();
        let now = i64::try_from(bench.control().requests(None)[0].at / 1_000).unwrap();
        let issued = claims.claims["iat"].as_i64().unwrap();
        assert!((issued - now - offset).abs() < 600, "{issued} {now}");
        let date = bench.get("/google/www.googleapis.com/oauth2/v3/certs").await.header("date").to_owned();
        let date = httpdate::parse_http_date(&date).unwrap();
        let date = date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!((i64::try_from(date).unwrap() - now - offset).abs() < 600, "{date} {now}");
        // Only there, and its access tokens live as long as ever.
        let date = httpdate::parse_http_date(bench.get("/oidc/jwks").await.header("date")).unwrap();
        assert!(
            (i64::try_from(date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap() - now)
                .abs()
                < 600
        );
        let access_token = string(&tokens, "access_token");
        let info = bench.get(&format!("{TOKENINFO}?access_token={access_token}")).await.value();
        let exp: i64 = string(&info, "exp").parse().unwrap();
        assert!((exp - now - offset - 3_600).abs() < 600, "{exp} {now}");
    }
}

#[tokio::test]
async fn requests_that_google_shows_on_a_page_are_not_redirected() {
    let bench = Bench::new().await;
    let cases = [
        (("redirect_uri", "https://example.org/"), "redirect_uri_mismatch"),
        (("redirect_uri", "urn:ietf:wg:oauth:2.0:oob"), "redirect_uri_mismatch"),
        (("client_id", "1-nobody.apps.googleusercontent.com"), "invalid_client"),
        (("scope", "https://www.googleapis.com/auth/nonsense"), "invalid_scope"),
        (("scope", ""), "invalid_request"),
    ];
    for (change, code) in cases {
        let visit = bench.google_visit(&Person::ada(), &[change]).await;
        assert_eq!(visit.status, StatusCode::BAD_REQUEST, "{change:?}");
        assert!(visit.last_redirect.is_none() && visit.text.contains(code), "{}", visit.text);
    }
    let visit = bench.google_visit(&Person::ada().denying(), &[]).await;
    let redirect = visit.last_redirect.unwrap();
    assert_eq!(parameter(&redirect, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&redirect, "code"), None);
}

#[tokio::test]
async fn other_grants_are_not_for_google_and_its_own_not_for_others() {
    let bench = Bench::new().await;
    let (id, secret) = DESKTOP_CLIENT;
    for grant in ["client_credentials", crate::bench::DEVICE_GRANT, "nonsense"] {
        let form = [("grant_type", grant), ("client_id", id), ("client_secret", secret)];
        assert_eq!(bench.post(TOKEN, &form).await.error(), (400, "unsupported_grant_type".to_owned()));
    }
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("client_id", "sandbox-public"),
        ("assertion", "a.b.c"),
    ];
    assert_eq!(bench.post("/oidc/token", &form).await.error(), (400, "unsupported_grant_type".to_owned()));
    let metadata = bench.get("/oidc/.well-known/openid-configuration").await;
    assert!(!metadata.text.contains("jwt-bearer") && !metadata.text.contains("googleapis"));
}

#[tokio::test]
async fn the_client_file_is_handed_out() {
    let bench = Bench::new().await;
    let file = bench.get("/_control/client-file").await.value();
    assert_eq!(file, bench.control().client_file());
    let installed = &file["installed"];
    assert_eq!(
        (&installed["client_id"], &installed["client_secret"]),
        (&json!(DESKTOP_CLIENT.0), &json!(DESKTOP_CLIENT.1))
    );
    assert_eq!(installed["token_uri"], "https://oauth2.googleapis.com/token");
    assert_eq!(installed["project_id"], "sandbox-project");
    let web = bench.get("/_control/client-file?kind=web").await.value();
    assert_eq!((&web["web"], &web["installed"]), (installed, &Value::Null));
    assert_eq!(bench.get("/_control/client-file?kind=x").await.status, StatusCode::BAD_REQUEST);
}
