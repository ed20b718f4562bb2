//! Grants that a variable gives: they go before what is kept, and are kept apart from it.

use std::fs;

use earthkey_sandbox::Fault;
use earthkey_sandbox::Realm;

use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::Value;

use crate::machine::Ended;
use crate::machine::Machine;
use crate::machine::token_path;

const TOKENS: &str = ".earthscope/default/tokens.json";

/// Signs somebody in elsewhere, and returns the refresh token, which is in no home of this machine then.
fn bring_along(machine: &Machine, person: &Person) -> String {
    machine.sign_in("earthscope/elsewhere", person).succeeds();
    let file: Value = serde_json::from_str(&machine.read(".earthscope/elsewhere/tokens.json")).unwrap();
    fs::remove_dir_all(machine.path(".earthscope/elsewhere")).unwrap();
    file["refresh_token"].as_str().unwrap().to_owned()
}

fn run_given(machine: &Machine, token: &str, arguments: &[&str]) -> Ended {
    let mut command = machine.command(arguments);
    command.env("ES_OAUTH2__REFRESH_TOKEN", token);
    machine.start(command).end()
}

/// Returns how each token request was answered.
fn answers(machine: &Machine) -> Vec<u16> {
    let requests = machine.control().requests(Some(token_path(Realm::Earthscope)));
    requests.iter().map(|request| request.status.unwrap()).collect()
}

/// Returns the names of the files in which what is given is kept.
fn kept(machine: &Machine) -> Vec<String> {
    let files = fs::read_dir(machine.path(".local/state/earthkey/given")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn a_given_token_that_is_refused_does_not_make_use_of_the_login_beside() {
    let machine = Machine::new();
    machine.sign_in("earthscope", &Person::grace()).succeeds();
    let home = machine.read(TOKENS);
    let given = bring_along(&machine, &Person::ada());
    machine.control().revoke(Realm::Earthscope, Some("sandbox-ada"));
    machine.control().clear_requests();
    let error = run_given(&machine, &given, &["token", "earthscope"]).fails(4);
    let [file] = &kept(&machine)[..] else { panic!("one grant, one file") };
    assert_snapshot!(error.replace(file, "FILE"), @"
    error: the provider does not accept the refresh token any more
    caused by: invalid_grant: Unknown or invalid refresh token.
    credential: `earthscope` from `ES_OAUTH2__REFRESH_TOKEN` and ~/.local/state/earthkey/given/FILE

    hint: it has expired, was revoked or was replaced elsewhere; give another one by `ES_OAUTH2__REFRESH_TOKEN`
    hint: or do without: `unset ES_OAUTH2__REFRESH_TOKEN`
    ");
    // One refusal, which is remembered: whatever had been sent of the home would have been accepted.
    run_given(&machine, &given, &["token", "earthscope"]).fails(4);
    assert_eq!(answers(&machine), [403]);
    assert_eq!(machine.read(TOKENS), home);
    let sound = machine.prints(&["token", "earthscope"]);
    assert!(home.contains(&sound));
    machine.prints(&["token", "earthscope", "--refresh"]);
    assert_eq!(machine.prints(&["whoami", "earthscope"]), "grace@sandbox.test");
}

#[test]
fn where_the_successors_of_a_given_token_are_is_said_once() {
    let machine = Machine::new();
    let given = bring_along(&machine, &Person::ada());
    let said = |arguments: &[&str]| run_given(&machine, &given, arguments).succeeds().stderr;
    let first = said(&["token", "earthscope"]);
    let [file] = &kept(&machine)[..] else { panic!("one grant, one file") };
    assert_snapshot!(first.replace(file, "FILE").trim_end(), @"the grant of `earthscope` is given by a variable or the configuration; what the provider replaces it with is kept in ~/.local/state/earthkey/given/FILE");
    // Without grace, the one that the variable holds is good for one request: the others are its successors.
    for _ in 0..2 {
        assert_eq!(said(&["token", "earthscope", "--refresh"]), "");
    }
    assert_eq!(said(&["token", "earthscope"]), "");
    assert!(!machine.path(".earthscope").join("default").exists());
}

#[test]
fn two_given_tokens_are_kept_apart() {
    let machine = Machine::new();
    let adas = bring_along(&machine, &Person::ada());
    let graces = bring_along(&machine, &Person::grace());
    machine.control().clear_requests();
    // In turn, so that each would find what the other has left.
    for _ in 0..3 {
        for (given, account) in [(&adas, "ada@sandbox.test"), (&graces, "grace@sandbox.test")] {
            run_given(&machine, given, &["token", "earthscope", "--refresh"]).succeeds();
            assert_eq!(
                run_given(&machine, given, &["whoami", "earthscope"]).succeeds().stdout.trim_end(),
                account
            );
        }
    }
    assert_eq!(answers(&machine), [200; 6]);
    assert_eq!(kept(&machine).len(), 2);
}

/// A mistyped address must not take a grant for its own that it has never seen.
#[test]
fn what_is_given_is_of_whoever_accepts_it() {
    let (machine, other) = (Machine::new(), Machine::new());
    let given = bring_along(&machine, &Person::ada());
    let run_at = |domain: &str, arguments: &[&str]| {
        let mut command = machine.command(arguments);
        command.env_remove("EARTHKEY_SANDBOX").env("ES_OAUTH2__DOMAIN", domain);
        command.env("ES_OAUTH2__REFRESH_TOKEN", &given);
        machine.start(command).end()
    };
    let error = run_at("http://127.0.0.1:1", &["token", "earthscope"]).fails(5);
    assert!(error.contains("nothing was sent"), "{error}");
    run_at(machine.url(), &["token", "earthscope"]).succeeds();
    assert_snapshot!(run_at(other.url(), &["token", "earthscope", "--refresh"]).fails(6), @"
    error: the grant of `earthscope` is not sent to `http://127.0.0.1:PORT/oauth/token`
    caused by: it was issued by `http://SANDBOX/`

    hint: look at the variables and the configuration that name this address
    hint: or give a grant of this address, by the variable that gives this one
    ");
    assert_eq!(other.control().requests(None), [], "something went to the other server");
}

/// Whom to ask may have to be asked first, and that fails, too, where the network is away.
#[test]
fn a_token_at_hand_is_served_where_nobody_can_be_asked_for_another() {
    let mut machine = Machine::new();
    for (name, value) in [
        ("OPENEO_AUTH_METHOD", "client_credentials"),
        ("OPENEO_AUTH_CLIENT_ID", "sandbox-openeo-service"),
        ("OPENEO_AUTH_CLIENT_SECRET", "sandbox-secret"),
    ] {
        machine.set(name, value);
    }
    let login = "openeo/cdse".to_owned();
    let token = machine.prints(&["token", &login]);
    for path in ["/openeo/", "/openeo/.well-known/openeo", "/openeo/credentials/oidc"] {
        let away = Fault { status: Some(503), times: Some(100), ..Fault::at(path) };
        machine.control().add_fault(away).unwrap();
    }
    let served = machine.run(&["token", &login, "--min-ttl", "4000"]).succeeds();
    assert_eq!(served.stdout.trim_end(), token);
    let told = "answers with status 503; the token at hand is still valid for";
    assert!(served.stderr.contains(told), "{}", served.stderr);
    machine.fails(&["token", &login, "--refresh"], 5);
}

#[test]
fn what_was_kept_of_a_given_token_ends_with_a_logout() {
    let machine = Machine::new();
    let given = bring_along(&machine, &Person::ada());
    run_given(&machine, &given, &["token", "earthscope", "--refresh"]).succeeds();
    assert_eq!(kept(&machine).len(), 1);
    let error = run_given(&machine, &given, &["logout", "earthscope", "--revoke", "--yes"]).fails(6);
    assert_snapshot!(error, @"
    error: `earthscope` is given by a variable or the configuration, so it cannot be ended here
    caused by: what was kept of it here is gone; what is given is there still

    hint: unset the variable, or remove the line from the configuration
    ");
    assert_eq!(kept(&machine), [""; 0]);
    for file in fs::read_dir(machine.path(".local/state/earthkey/given")).unwrap() {
        let path = file.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("sandbox-"), "{path:?}: {text}");
    }
    // The provider was told, too.
    run_given(&machine, &given, &["token", "earthscope"]).fails(4);
}

#[test]
fn what_is_given_for_another_world_is_told_by_its_variable() {
    let machine = Machine::new();
    assert_snapshot!(run_given(&machine, "of-another-world", &["token", "earthscope"]).fails(6), @"
    error: the grant of `earthscope` is not sent to `http://SANDBOX/oauth/token`
    caused by: it was not issued by a sandbox, and the address is one

    hint: do without the sandbox: `unset EARTHKEY_SANDBOX`
    hint: or do without the grant that `ES_OAUTH2__REFRESH_TOKEN` gives: `unset ES_OAUTH2__REFRESH_TOKEN`
    ");
}
