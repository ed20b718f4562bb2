//! Whose login a sign-in to Google may replace, and by what.

use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use serde_json::Value;

use crate::google::ADC;
use crate::google::EARTH_ENGINE;
use crate::google::GEMINI;
use crate::google::download_client;
use crate::google::in_two_steps;
use crate::google::parsed;
use crate::google::sign_in;
use crate::google::sign_in_as;
use crate::machine::Machine;

#[test]
fn a_client_file_may_be_of_another_server() {
    let machine = Machine::new();
    let mut client = machine.control().client_file();
    let at = |path: &str| Value::from(format!("{}{path}", machine.url()));
    client["installed"]["client_id"] = "sandbox-confidential".into();
    client["installed"]["auth_uri"] = at("/oidc/authorize");
    client["installed"]["token_uri"] = at("/oidc/token");
    machine.write("client.json", &client.to_string());
    let path = machine.path("client.json");
    let scopes = ["--scopes", "openid,offline_access"];
    let arguments = [&["gemini", "--client-id-file", path.to_str().unwrap()], &scopes[..]].concat();
    sign_in(&machine, &arguments).succeeds();
    let first = parsed(&machine.read(GEMINI));
    let token = machine.prints(&["token", "gemini"]);
    assert_ne!(machine.prints(&["token", "gemini", "--refresh"]), token);
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1);
    // That server replaces refresh tokens, and everything else stays.
    let mut second = parsed(&machine.read(GEMINI));
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    second["refresh_token"] = first["refresh_token"].clone();
    assert_eq!(second, first);
    assert_eq!(machine.token_requests(Realm::Google, "refresh_token"), 0);
    // Its tokens are none of Google's business.
    for command in ["check", "whoami"] {
        let error = machine.fails(&[command, "gemini"], 6);
        assert!(error.starts_with("error: the token of `gemini` is not Google's"), "{error}");
    }
    assert!(machine.control().requests(None).iter().all(|request| !request.path.contains("googleapis.com")));
    // Neither server's login takes the place of the other's unasked.
    let own = download_client(&machine);
    let error = sign_in(&machine, &["gemini", "--client-id-file", &own]).fails(3);
    let (from, to) = ("http://SANDBOX/oidc/token", "http://SANDBOX/google/oauth2.googleapis.com/token");
    assert!(error.contains(&format!("there come from `{from}`, and this one's from `{to}`\n")), "{error}");
    sign_in(&machine, &["gemini", "--client-id-file", &own, "--force"]).succeeds();
    let error = sign_in(&machine, &arguments).fails(3);
    assert!(error.contains(&format!("there come from `{to}`, and this one's from `{from}`\n")), "{error}");
    // The files of other systems' own clients are for Google alone.
    let error = machine.fails(&[&["login", "google"], &arguments[1..3]].concat(), 6);
    assert!(error.contains("tokens come from"), "{error}");
}

#[test]
fn a_login_that_may_only_read_is_not_widened_unasked() {
    let machine = Machine::new();
    let scope = "https://www.googleapis.com/auth/earthengine.readonly";
    sign_in(&machine, &["earthengine", "--scopes", scope]).succeeds();
    let file = machine.read(EARTH_ENGINE);
    let error = sign_in(&machine, &["earthengine"]).fails(3);
    assert!(
        error.starts_with("error: the login that is there may only read, and this one may write"),
        "{error}"
    );
    assert_eq!(machine.read(EARTH_ENGINE), file);
    // Nor is it where a page is printed now and its address comes later.
    let error = in_two_steps(&machine, &["earthengine"]).fails(3);
    assert!(error.starts_with("error: the login that is there may only read"), "{error}");
    assert_eq!(machine.read(EARTH_ENGINE), file);
    in_two_steps(&machine, &["earthengine", "--scopes", scope]).succeeds();
    let file = machine.read(EARTH_ENGINE);
    sign_in(&machine, &["earthengine", "--flow", "loopback", "--force"]).succeeds();
    assert_ne!(machine.read(EARTH_ENGINE), file);
}

/// What `gcloud`'s file does not keep is remembered of the sign-in.
#[test]
fn everything_that_a_login_would_replace_is_in_one_question() {
    let machine = Machine::new();
    let scopes = "openid,https://www.googleapis.com/auth/devstorage.read_only";
    sign_in(&machine, &["google", "--scopes", scopes]).succeeds();
    let file = machine.read(ADC);
    let error = sign_in_as(&machine, &["google"], &Person::grace()).fails(3);
    let error = error.split(" already; ").map(|part| part.split('`').next().unwrap_or_default());
    assert_eq!(
        error.collect::<Vec<_>>(),
        [
            "error: the login that is there may only read, and this one may write; there is a login of ",
            "this one is of "
        ]
    );
    sign_in(&machine, &["google"]).fails(3);
    assert_eq!(machine.read(ADC), file);
    machine.write(ADC, &file.replace("sandbox-", "1//"));
    let error = sign_in(&machine, &["google"]).fails(3);
    assert!(error.contains("the login that is there is a real one, and this one is a sandbox's"), "{error}");
}

#[test]
fn a_file_of_another_kind_is_not_replaced_unasked() {
    let machine = Machine::new();
    machine.write(ADC, r#"{"type": "external_account"}"#);
    let error = machine.fails(&["login", "google", "--flow", "paste"], 6);
    assert!(error.contains("holds credentials of type `external_account`\n"), "{error}");
    sign_in(&machine, &["google", "--force"]).succeeds();
    assert_eq!(machine.read(&format!("{ADC}.damaged")), r#"{"type": "external_account"}"#);
}
