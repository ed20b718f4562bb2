//! Revoking a grant may end more than one login; whoever does it knows that before.

use earthkey_sandbox::Fault;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::json;

use crate::google;
use crate::machine::Machine;
use crate::terminal::AtTerminal;

/// What else ends with a grant of Google's, and with another.
const OF_GOOGLE: &str = "revoking ends every login of this account that was made with the same client, on \
                         all machines";
const OF_ANOTHER: &str = "revoking ends this login wherever it was copied to; some providers end every \
                          login of the same account and client with it";

/// Returns a machine with a login at Google and one elsewhere.
fn signed_in() -> Machine {
    let machine = Machine::new();
    google::sign_in(&machine, &["google"]).succeeds();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    machine
}

fn revocations(machine: &Machine) -> usize {
    let requests = machine.control().requests(None);
    requests.iter().filter(|request| request.path.ends_with("/revoke")).count()
}

#[test]
fn at_a_terminal_it_is_asked_whether_all_that_may_end() {
    let machine = signed_in();
    for (login, text) in [("google", OF_GOOGLE), ("oidc", OF_ANOTHER)] {
        let answered = |answer: &str| {
            let mut at = AtTerminal::start(&machine, &["logout", login, "--revoke"]);
            at.wait_for("Revoke it? [y/N] ");
            at.keyboard.types(answer);
            at.running.end()
        };
        machine.control().clear_requests();
        for answer in ["n\r", "\r", "yes please\r", "\u{4}"] {
            let ended = answered(answer);
            assert_eq!(ended.code(), 3, "{ended:#?}");
            assert!(ended.stderr.starts_with(&format!("{text}\nRevoke it? [y/N] ")), "{ended:#?}");
            assert!(ended.stderr.contains("error: nobody agreed to the revocation\n"), "{ended:#?}");
        }
        assert_eq!(revocations(&machine), 0);
        machine.prints(&["token", login, "--refresh"]);
        let ended = answered("y\r");
        assert_eq!(ended.code(), 0, "{ended:#?}");
        assert_eq!(ended.stderr.matches(text).count(), 1, "{ended:#?}");
        assert_eq!(revocations(&machine), 1);
        machine.fails(&["token", login], 3);
    }
}

#[test]
fn where_nobody_can_be_asked_the_error_says_what_would_end() {
    let machine = signed_in();
    machine.control().clear_requests();
    assert_snapshot!(machine.fails(&["logout", "google", "--revoke"], 3), @"
    error: nobody agreed to the revocation
    caused by: revoking ends every login of this account that was made with the same client, on all machines

    hint: agree beforehand: `earthkey logout google --revoke --yes`
    ");
    assert_snapshot!(machine.fails(&["logout", "oidc", "--revoke"], 3), @"
    error: nobody agreed to the revocation
    caused by: revoking ends this login wherever it was copied to; some providers end every login of the same account and client with it

    hint: agree beforehand: `earthkey logout oidc --revoke --yes`
    ");
    // Somebody is there, and is not to be asked.
    let unasked = AtTerminal::start(&machine, &["logout", "oidc", "--revoke", "--no-input"]).running.end();
    assert_eq!(unasked.code(), 3, "{unasked:#?}");
    assert!(unasked.stderr.contains(&format!("caused by: {OF_ANOTHER}\n")), "{unasked:#?}");
    assert_eq!(revocations(&machine), 0);
    for login in ["google", "oidc"] {
        machine.prints(&["token", login, "--refresh"]);
    }
}

#[test]
fn what_was_agreed_to_beforehand_is_told_before_it_is_done() {
    let machine = signed_in();
    let busy = Fault { status: Some(503), body: Some("later".into()), ..Fault::at("/oidc/revoke") };
    machine.control().add_fault(busy).unwrap();
    let revoke = |login: &str| machine.run(&["logout", login, "--revoke", "--yes", "--json"]);
    let failed = revoke("oidc");
    assert_eq!(failed.code(), 5, "{failed:#?}");
    assert!(failed.stderr.starts_with(&format!("{OF_ANOTHER}\nerror: ")), "{failed:#?}");
    for (login, text) in [("google", OF_GOOGLE), ("oidc", OF_ANOTHER)] {
        let ended = revoke(login).succeeds();
        assert_eq!(ended.stderr, format!("{text}\n"));
        let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(document["revoked"], json!(true));
    }
    // A logout alone ends nothing elsewhere, and has nothing to tell.
    machine.sign_in("oidc", &Person::ada()).succeeds();
    assert_eq!(machine.run(&["logout", "oidc", "--yes"]).succeeds().stderr, "Signed out of oidc\n");
}
