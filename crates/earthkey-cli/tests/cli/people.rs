//! People who say no, or nothing, or are not there.

use std::collections::BTreeMap;
use std::net::TcpListener;

use earthkey_sandbox::Expiring;
use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use rustix::process::Signal;

use crate::machine::Machine;
use crate::machine::visit;
use crate::terminal::AtTerminal;

#[test]
fn a_code_that_expires_ends_a_sign_in() {
    let machine = Machine::new();
    for (login, realm) in
        [("earthscope", Realm::Earthscope), ("openeo", Realm::Openeo), ("oidc", Realm::Oidc)]
    {
        let running = machine.start(machine.command(&["login", login, "--flow", "device"]));
        running.page();
        machine.control().expire(realm, Expiring::Device);
        let error = running.end().fails(4);
        assert!(error.starts_with("error: the code expired before it was entered\n"), "{error}");
        assert!(error.ends_with(&format!("hint: ask for a new one: `earthkey login {login}`")), "{error}");
    }
    assert_eq!(machine.contents(), BTreeMap::new());
}

#[test]
fn consent_that_is_denied_ends_a_sign_in() {
    let machine = Machine::new();
    let denying = Person::ada().denying();
    assert_snapshot!(machine.sign_in("earthscope", &denying).fails(4), @"
    error: the sign-in was denied
    caused by: access_denied: the request was denied

    hint: if that was a mistake, sign in again: `earthkey login earthscope`
    ");
    assert_snapshot!(machine.sign_in("openeo", &denying).fails(4), @"
    error: the sign-in was denied
    caused by: access_denied: the request was denied

    hint: if that was a mistake, sign in again: `earthkey login openeo`
    ");
    assert_snapshot!(machine.sign_in_with(&["login", "oidc", "--flow", "loopback"], &denying).fails(4), @"
    error: the sign-in was denied
    caused by: access_denied: the request was denied

    hint: if that was a mistake, sign in again: `earthkey login oidc`
    ");
    assert_eq!(machine.contents(), BTreeMap::new());
}

#[test]
fn nobody_comes() {
    let machine = Machine::new();
    for flow in ["loopback", "device"] {
        let error = machine.fails(&["login", "oidc", "--flow", flow, "--timeout", "1"], 4);
        assert!(error.contains(" within 1 second\n"), "{error}");
    }
    assert_eq!(machine.contents(), BTreeMap::new());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let machine = Machine::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = machine.fails(&["login", "oidc", "--flow", &format!("loopback:{port}")], 6);
    assert_snapshot!(error.replace(&port.to_string(), "PORT"), @"
    error: port PORT of this machine cannot be used
    caused by: Address already in use (os error 98)

    hint: name another port, or none: `--flow loopback:PORT`, `--flow loopback`
    hint: or sign in without a port: `--flow paste`
    ");
    assert_eq!(machine.contents(), BTreeMap::new());
}

#[test]
fn without_a_browser_the_page_is_printed() {
    let mut machine = Machine::new();
    machine.set("BROWSER", "/nonexistent");
    machine.set("PATH", "");
    let ended = machine.sign_in_with(&["login", "oidc", "--flow", "loopback"], &Person::ada()).succeeds();
    assert!(ended.stderr.contains("\nVisit\nhttp://SANDBOX/"), "{}", ended.stderr);
    assert!(ended.stderr.contains("Signed in to oidc as ada@sandbox.test"), "{}", ended.stderr);
    machine.sign_in("earthscope", &Person::ada()).succeeds();
}

/// Whatever needs a person ends at once, with the command to run, and has asked nobody.
#[test]
fn nobody_is_waited_for_by_surprise() {
    let machine = Machine::new();
    assert_snapshot!(machine.fails(&["login", "oidc", "--flow", "paste"], 3), @"
    error: nobody is here to paste the address back

    hint: run `earthkey login oidc --flow paste` in a terminal, or use `--flow device`, or begin with `--quiet`
    ");
    for login in ["oidc", "earthscope", "openeo"] {
        for flow in ["loopback", "paste", "device"] {
            if flow != "device" && login != "oidc" {
                continue;
            }
            let error = machine.fails(&["login", login, "--flow", flow, "--no-input"], 3);
            assert!(error.contains(&format!("`earthkey login {login}")), "{error}");
        }
        let error = machine.fails(&["login", login, "--no-input"], 3);
        assert!(error.contains(&format!("`earthkey login {login}`")), "{error}");
    }
    assert_snapshot!(machine.fails(&["login", "earthscope", "--no-input"], 3), @"
        error: the flow `device` needs a person, and nobody may be asked

        hint: sign in without `--no-input`: `earthkey login earthscope`
        ");
    for arguments in [
        &["login", "oidc", "--flow", "client-credentials", "--client-id", "c", "--client-secret-stdin"][..],
        &["login", "earthscope", "--flow", "refresh"],
        &["login", "oidc", "--finish"],
    ] {
        let arguments = [arguments, &["--no-input"]].concat();
        machine.fails(&arguments, 3);
        AtTerminal::start(&machine, &arguments).running.end().fails(3);
    }
    assert_eq!(machine.contents(), BTreeMap::new());
    let polls = machine.control().requests(None).into_iter().filter(|request| request.method == "POST");
    assert_eq!(polls.count(), 0, "a provider was asked for what nobody could confirm");
}

#[test]
fn closed_standard_input_is_nobody() {
    let machine = Machine::new();
    let closed = ["/bin/sh", "-c", "exec \"$0\" \"$@\" <&-"];
    let run = |arguments: &[&str]| machine.start(machine.wrapped(&closed, arguments)).end();
    run(&["login", "earthscope", "--flow", "refresh"]).fails(3);
    run(&["login", "oidc", "--flow", "paste"]).fails(3);
    assert_eq!(machine.contents(), BTreeMap::new());
    let running = machine.start(machine.wrapped(&closed, &["login", "oidc", "--flow", "loopback"]));
    visit(&Person::ada(), &running.page());
    running.end().succeeds();
    assert!(!run(&["token", "oidc"]).succeeds().stdout.is_empty());
    assert!(run(&["status"]).succeeds().stdout.contains("valid"));
}

#[test]
fn ctrl_c_at_a_hidden_prompt_leaves_the_terminal_as_it_was() {
    let machine = Machine::new();
    let AtTerminal { running, mut keyboard } =
        AtTerminal::start(&machine, &["login", "oidc", "--flow", "paste"]);
    let question = "Paste the address";
    running.stderr.wait_for(question, |text| text.contains(question).then_some(()));
    keyboard.wait_for_silence();
    keyboard.types("\u{3}");
    let ended = running.end();
    assert_eq!(ended.code(), 130, "{ended:#?}");
    assert!(keyboard.echoes(), "the terminal shows nothing of what is typed any more");
    assert_eq!(machine.contents(), BTreeMap::new());
}

#[test]
fn an_end_from_outside_leaves_the_terminal_as_it_was() {
    let machine = Machine::new();
    for signal in [Signal::TERM, Signal::HUP] {
        let at = AtTerminal::start(&machine, &["login", "oidc", "--flow", "paste"]);
        at.wait_for("Paste the address");
        at.keyboard.wait_for_silence();
        at.running.signal(signal);
        assert_eq!(at.running.end().code(), 130);
        assert!(at.keyboard.echoes(), "the terminal shows nothing of what is typed any more");
    }
}

#[test]
fn ctrl_c_while_a_person_is_waited_for_ends_at_once() {
    let machine = Machine::new();
    for flow in ["device", "loopback"] {
        let AtTerminal { running, mut keyboard } =
            AtTerminal::start(&machine, &["login", "oidc", "--flow", flow]);
        running.page();
        keyboard.types("\u{3}");
        assert_eq!(running.end().code(), 130);
        assert!(keyboard.echoes());
    }
    assert_eq!(machine.contents(), BTreeMap::new());
}

#[test]
fn another_account_replaces_a_login_only_by_force() {
    let machine = Machine::new();
    let loopback = ["login", "oidc", "--flow", "loopback"];
    machine.sign_in_with(&loopback, &Person::ada()).succeeds();
    let before = machine.contents();
    assert_snapshot!(machine.sign_in_with(&loopback, &Person::grace()).fails(3), @"
    error: there is a login of `ada@sandbox.test` at `http://SANDBOX/oidc` already; this one is of `grace@sandbox.test` at `http://SANDBOX/oidc`

    hint: replace it: sign in again with `--force`
    hint: or keep both: sign in under another name, as `SYSTEM/NAME`
    ");
    assert_eq!(machine.contents(), before);
    assert_eq!(machine.prints(&["whoami", "oidc"]), "ada@sandbox.test");
    // The same account may come back as often as it likes.
    machine.sign_in_with(&loopback, &Person::ada()).succeeds();
    let by_force = [&loopback[..], &["--force"]].concat();
    machine.sign_in_with(&by_force, &Person::grace()).succeeds();
    assert_eq!(machine.prints(&["whoami", "oidc"]), "grace@sandbox.test");
}

#[test]
fn at_a_terminal_another_account_is_asked_about() {
    let machine = Machine::new();
    let loopback = ["login", "oidc", "--flow", "loopback"];
    machine.sign_in_with(&loopback, &Person::ada()).succeeds();
    for (answer, code, account) in [("n\r", 3, "ada@sandbox.test"), ("y\r", 0, "grace@sandbox.test")] {
        let mut at = AtTerminal::start(&machine, &loopback);
        visit(&Person::grace(), &at.running.page());
        at.wait_for("Replace it? [y/N] ");
        at.keyboard.types(answer);
        let ended = at.running.end();
        assert_eq!(ended.code(), code, "{ended:#?}");
        assert_eq!(machine.prints(&["whoami", "oidc"]), account);
    }
}
