//! Answers that are for another account than the login is of (REFRESH rule 5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::provider::Answers;
use super::provider::Caller;
use super::provider::sent;
use crate::error::ErrorKind;
use crate::host::http::Response;
use crate::host::scripted::World;
use crate::secret::RefreshToken;
use crate::store::Keep;
use crate::store::keep::Landed;
use crate::store::ledger::Binding;
use crate::store::ledger::Entries;
use crate::store::tests::PATH;
use crate::store::tests::begin;
use crate::store::tests::contents;
use crate::store::tests::file;
use crate::store::tests::token_in;

const ISSUER: &str = "https://bank.test";

/// The body of an answer whose ID token is of `sub`.
fn answer_of(sub: &str, refresh_token: Option<&str>) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let id_token =
        format!("{}.{}.sig", part(json!({"alg": "RS256"})), part(json!({"iss": ISSUER, "sub": sub})));
    let mut body = json!({"access_token": format!("{sub}s"), "expires_in": 60, "id_token": id_token});
    if let Some(token) = refresh_token {
        body["refresh_token"] = token.into();
    }
    body.to_string()
}

/// A world in which ada has signed in with `r0`.
async fn signed_in(answers: impl IntoIterator<Item = String>) -> World {
    let world = Answers::world(answers.into_iter().map(|body| Ok(Response::new(200, body))));
    world.fs.put(PATH, &file("before"));
    sign_in(&world, "r0").await;
    world
}

async fn sign_in(world: &World, token: &str) {
    let caller = Caller::new(world, 90);
    let keep = Keep::open(&caller.host, &caller.home).unwrap().unwrap();
    let binding =
        Binding { subject: Some("ada".into()), subject_issuer: Some(ISSUER.into()), ..Binding::default() };
    keep.put(&contents(token), binding).await.unwrap();
}

fn entries(world: &World) -> Entries {
    let caller = Caller::new(world, 91);
    Keep::open(&caller.host, &caller.home).unwrap().unwrap().ledger().unwrap().entries
}

#[tokio::test]
async fn the_same_account_is_served() {
    let world = signed_in([answer_of("ada", Some("r1"))]).await;
    assert_eq!(Caller::new(&world, 1).token().await.unwrap().token.expose(), "adas");
    assert_eq!(token_in(&world.fs.get(PATH).unwrap()).unwrap(), "r1");
    assert!(!entries(&world).has_answer_apart());
}

#[tokio::test]
async fn another_account_is_neither_served_nor_landed_nor_thrown_away() {
    let world = signed_in([answer_of("bea", Some("beas-r1"))]).await;
    let error = Caller::new(&world, 1).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoginRequired);
    assert_eq!(error.to_string(), "the provider has answered for another account");
    assert_eq!(
        error.causes(),
        [format!("the ID token in it is for `bea` at `{ISSUER}`, and the login is of `ada` at `{ISSUER}`")]
    );
    assert_eq!(error.hints(), ["sign in: `earthkey login test`"]);
    assert_eq!(token_in(&world.fs.get(PATH).unwrap()).unwrap(), "r0");
    assert!(entries(&world).has_answer_apart());
    // What it replaced is spent, and never sent again.
    let error = Caller::new(&world, 2).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoginRequired);
    assert!(error.to_string().ends_with("was replaced by one of another account"), "{error}");
    assert!(Caller::new(&world, 3).forced().await.is_err());
    assert_eq!(sent(&world), ["r0"]);
    // A sign-in ends it.
    sign_in(&world, "anew").await;
    assert!(!entries(&world).has_answer_apart());
}

#[tokio::test]
async fn an_answer_that_replaces_nothing_leaves_the_login_to_be_tried_again() {
    let world = signed_in([answer_of("bea", None), answer_of("ada", None)]).await;
    assert!(Caller::new(&world, 1).token().await.is_err());
    assert!(!entries(&world).is_spent(RefreshToken::new("r0").fingerprint()));
    assert_eq!(Caller::new(&world, 2).token().await.unwrap().token.expose(), "adas");
    assert_eq!(sent(&world), ["r0", "r0"]);
}

#[tokio::test]
async fn whoever_waits_is_told_the_same_and_an_endless_stranger_is_not_asked_at_once_again() {
    let world = signed_in([answer_of("bea", None)]).await;
    let (first, second) = (Caller::new(&world, 1), Caller::new(&world, 2));
    let (first, second) = tokio::join!(first.token(), second.token());
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    assert_eq!((first.kind(), first.to_string()), (second.kind(), second.to_string()));
    assert_eq!(first.causes(), second.causes());
    assert_eq!(sent(&world), ["r0"]);
    let failure = entries(&world).outcome.expect("an outcome");
    assert!(failure.retry_at > failure.at);
}

#[tokio::test]
async fn what_another_program_signs_in_afterwards_is_held_against_nobody() {
    let world = signed_in([answer_of("bea", Some("beas-r1")), answer_of("bea", Some("beas-r3"))]).await;
    assert!(Caller::new(&world, 1).token().await.is_err());
    // The SDK signs bea in, of whom nothing is recorded.
    world.fs.put(PATH, &file("beas-r2"));
    assert_eq!(Caller::new(&world, 2).token().await.unwrap().token.expose(), "beas");
    assert_eq!(token_in(&world.fs.get(PATH).unwrap()).unwrap(), "beas-r3");
    assert!(!entries(&world).has_answer_apart());
}

#[tokio::test]
async fn a_sign_in_as_somebody_else_meanwhile_is_no_stranger() {
    let world = signed_in([]).await;
    let caller = Caller::new(&world, 1);
    let keep = Keep::open(&caller.host, &caller.home).unwrap().unwrap();
    let mut attempt = begin(&keep).await;
    let beas =
        Binding { subject: Some("bea".into()), subject_issuer: Some(ISSUER.into()), ..Binding::default() };
    keep.put(&contents("beas"), beas).await.unwrap();
    attempt.answer(answer_of("ada", Some("adas-r1")).as_bytes()).await.unwrap();
    assert!(matches!(attempt.land().await.unwrap(), Landed::Moved));
    drop(attempt);
    let lease = keep.try_lease().unwrap().unwrap();
    keep.adopt(&lease).await.unwrap().unwrap();
    let entries = entries(&world);
    let bea = entries.identity_of(contents("beas").fingerprint()).expect("what was recorded of her");
    assert_eq!(bea.subject.as_deref(), Some("bea"));
}

#[tokio::test]
async fn an_answer_that_a_crash_left_is_not_landed_for_somebody_else() {
    let world = signed_in([]).await;
    {
        let caller = Caller::new(&world, 1);
        let keep = Keep::open(&caller.host, &caller.home).unwrap().unwrap();
        let mut attempt = begin(&keep).await;
        attempt.answer(answer_of("bea", Some("beas-r1")).as_bytes()).await.unwrap();
    }
    let error = Caller::new(&world, 2).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoginRequired, "{error}");
    assert_eq!(token_in(&world.fs.get(PATH).unwrap()).unwrap(), "r0");
    assert!(entries(&world).has_answer_apart());
    let said = world.person.said();
    assert!(said.iter().any(|said| said.contains("answered for another account")), "{said:?}");
    assert!(!said.iter().any(|said| said.contains("beas-r1")), "{said:?}");
}
