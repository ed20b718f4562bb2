//! What a provider has refused is not asked for again, until something is put right.

use std::fs;

use earthkey_sandbox::Fault;
use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::Value;
use serde_json::json;

use crate::machine::Machine;
use crate::machine::token_path;
use crate::machine::visit;

const OIDC: &str = ".local/state/earthkey/oidc/default.json";

/// Forgets the tokens that are at hand, so that the next one has to be asked for.
fn forget_tokens(machine: &Machine) {
    fs::remove_dir_all(machine.path(".cache/earthkey")).unwrap();
    machine.control().clear_requests();
}

/// Writes another secret of the client into the file of the login.
fn set_secret(machine: &Machine, secret: &str) {
    let mut file: Value = serde_json::from_str(&machine.read(OIDC)).unwrap();
    file["client_secret"] = json!(secret);
    machine.write(OIDC, &file.to_string());
}

fn token_requests(machine: &Machine) -> usize {
    machine.control().requests(Some(token_path(Realm::Oidc))).len()
}

/// Makes an error the same whenever it is told: a second or two of the minute may have passed.
fn without_seconds(error: &str) -> String {
    let (before, rest) = error.split_once("again for ").unwrap();
    let (_, after) = rest.split_once(' ').unwrap();
    format!("{before}again for N {after}")
}

/// The refresh token is the same throughout: it is the client that is refused.
#[test]
fn a_clients_secret_that_is_put_right_is_tried_at_once() {
    let machine = Machine::new();
    let mut command = machine.command(&[
        "login",
        "oidc",
        "--flow",
        "device",
        "--client-id",
        "sandbox-confidential",
        "--client-secret-stdin",
    ]);
    machine.write("secret.txt", "sandbox-secret\n");
    command.stdin(fs::File::open(machine.path("secret.txt")).unwrap());
    let running = machine.start(command);
    visit(&Person::ada(), &running.page());
    running.end().succeeds();

    set_secret(&machine, "sandbox-secret-of-last-year");
    forget_tokens(&machine);
    assert_snapshot!(machine.fails(&["token", "oidc"], 4), @"
    error: the provider does not accept the client
    caused by: invalid_client: the client secret is missing or wrong
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the client's id and secret, then sign in: `earthkey login oidc`
    ");
    assert_eq!(token_requests(&machine), 1);
    // Nothing was put right: nobody is asked again.
    assert_snapshot!(without_seconds(&machine.fails(&["token", "oidc"], 4)), @"
    error: the provider does not accept the client
    caused by: invalid_client: the client secret is missing or wrong
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the client's id and secret, then sign in: `earthkey login oidc`
    hint: the provider is not asked again for N seconds, unless with `--refresh`
    ");
    assert_eq!(token_requests(&machine), 1);
    set_secret(&machine, "sandbox-secret");
    machine.prints(&["token", "oidc"]);
    assert_eq!(token_requests(&machine), 2);
}

#[test]
fn a_given_secret_that_is_put_right_is_tried_at_once() {
    let mut machine = Machine::new();
    machine.set("ES_OAUTH2__CLIENT_ID", "sandbox-m2m");
    machine.set("ES_OAUTH2__CLIENT_SECRET", "sandbox-secret-of-last-year");
    let requests = |machine: &Machine| machine.token_requests(Realm::Earthscope, "client_credentials");
    for _ in 0..2 {
        let error = machine.fails(&["token", "earthscope"], 4);
        assert!(error.starts_with("error: the provider does not accept the client\n"), "{error}");
        assert!(error.contains("`ES_OAUTH2__CLIENT_SECRET`"), "{error}");
        assert_eq!(requests(&machine), 1);
    }
    machine.set("ES_OAUTH2__CLIENT_SECRET", "sandbox-secret");
    machine.prints(&["token", "earthscope"]);
    assert_eq!(requests(&machine), 2);
}

/// The provider may have been put right, and the secret be the same as before.
#[test]
fn a_new_sign_in_leaves_no_refusal_of_before() {
    let machine = Machine::new();
    machine.sign_in_service("oidc").succeeds();
    let refusal = Fault {
        status: Some(401),
        body: Some(json!({"error": "invalid_client"}).to_string()),
        ..Fault::at(token_path(Realm::Oidc))
    };
    machine.control().add_fault(refusal).unwrap();
    forget_tokens(&machine);
    for _ in 0..2 {
        machine.fails(&["token", "oidc"], 4);
        assert_eq!(token_requests(&machine), 1, "a refusal is remembered");
    }
    machine.sign_in_service("oidc").succeeds();
    forget_tokens(&machine);
    machine.prints(&["token", "oidc"]);
    assert_eq!(token_requests(&machine), 1);
}
