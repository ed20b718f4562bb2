//! A sandbox is not the world: what is of one never goes to the other.

use std::fs;
use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::json;

use crate::machine::Machine;

const TOKENS: &str = ".earthscope/default/tokens.json";

/// Returns the file of EarthScope's SDK, as it is after a sign-in at the real provider.
pub(crate) fn real_tokens(expires_at: u64) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "RS256", "typ": "JWT"}));
    let claims = part(json!({
        "iss": "https://login.earthscope.org/",
        "sub": "auth0|real-person",
        "aud": "https://api.earthscope.org",
        "iat": 1_700_000_000,
        "exp": expires_at,
        "scope": "offline_access",
    }));
    let token = format!("{header}.{claims}.{}", "A".repeat(342));
    let refresh_token = format!("real-{}", "R".repeat(43));
    serde_json::to_string_pretty(&json!({"access_token": token, "refresh_token": refresh_token})).unwrap()
}

const PAST: u64 = 1_700_086_400;
pub(crate) const FUTURE: u64 = 32_503_680_000;

#[test]
fn a_real_grant_never_goes_to_a_sandbox() {
    let machine = Machine::new();
    for expires_at in [PAST, FUTURE] {
        machine.write(TOKENS, &real_tokens(expires_at));
        for arguments in [
            &["token", "earthscope", "--refresh"][..],
            &["check", "earthscope"],
            &["logout", "earthscope", "--revoke", "--yes"],
        ] {
            let error = machine.fails(arguments, 6);
            assert!(
                error.contains("login.earthscope.org") || error.contains("not issued by a sandbox"),
                "{error}"
            );
        }
        assert_eq!(machine.read(TOKENS), real_tokens(expires_at));
    }
    machine.write(TOKENS, &real_tokens(PAST));
    assert_snapshot!(machine.fails(&["token", "earthscope"], 6), @"
    error: the grant of `earthscope` is not sent to `http://SANDBOX/oauth/token`
    caused by: it was not issued by a sandbox, and the address is one

    hint: do without the sandbox: `unset EARTHKEY_SANDBOX`
    hint: or sign in there: `earthkey login earthscope`
    ");
    assert_eq!(machine.control().requests(None), [], "something went to the sandbox");
}

#[test]
fn a_real_secret_never_goes_to_a_sandbox() {
    let mut machine = Machine::new();
    machine.set("ES_OAUTH2__CLIENT_ID", "real-client");
    machine.set("ES_OAUTH2__CLIENT_SECRET", "a-real-secret");
    assert_snapshot!(machine.fails(&["token", "earthscope"], 6), @"
    error: the grant of `earthscope` is not sent to `http://SANDBOX/oauth/token`
    caused by: it was not issued by a sandbox, and the address is one

    hint: do without the sandbox: `unset EARTHKEY_SANDBOX`
    hint: or do without the grant that `ES_OAUTH2__CLIENT_SECRET` gives: `unset ES_OAUTH2__CLIENT_SECRET`
    ");
    assert_eq!(machine.control().requests(None), []);
    machine.set("ES_OAUTH2__CLIENT_ID", "sandbox-m2m");
    machine.set("ES_OAUTH2__CLIENT_SECRET", "sandbox-secret");
    machine.prints(&["token", "earthscope"]);
}

#[test]
fn a_sandboxs_login_replaces_a_real_one_only_by_force() {
    let machine = Machine::new();
    machine.write(TOKENS, &real_tokens(FUTURE));
    assert_snapshot!(machine.sign_in("earthscope", &Person::ada()).fails(3), @"
    error: the login that is there is a real one, and this one is a sandbox's

    hint: replace it: sign in again with `--force`
    hint: or keep both: sign in under another name, as `SYSTEM/NAME`
    ");
    assert_eq!(machine.read(TOKENS), real_tokens(FUTURE));
    machine.sign_in_with(&["login", "earthscope", "--force"], &Person::ada()).succeeds();
    machine.prints(&["check", "earthscope"]);
}

#[test]
fn a_sandboxs_grant_goes_nowhere_else() {
    let machine = Machine::without_sandbox();
    let url = machine.url();
    machine.sign_in_with(&["--sandbox", url, "login", "earthscope"], &Person::ada()).succeeds();
    let home = machine.read(TOKENS);
    assert_snapshot!(machine.fails(&["token", "earthscope", "--refresh"], 6), @"
    error: the grant of `earthscope` is not sent to `https://login.earthscope.org/oauth/token`
    caused by: it was issued by a sandbox and goes to sandboxes only

    hint: name the sandbox that it is of: `export EARTHKEY_SANDBOX=URL`, as `earthkey sandbox` prints it
    hint: or sign in there: `earthkey login earthscope`
    ");
    machine.fails(&["logout", "earthscope", "--revoke", "--yes"], 6);
    assert_eq!(machine.read(TOKENS), home);
    machine.prints(&["--sandbox", url, "token", "earthscope", "--refresh"]);
}

#[test]
fn a_record_of_a_sandbox_answers_for_nothing_else() {
    let machine = Machine::without_sandbox();
    let sandbox = ["--sandbox", machine.url()];
    let with = |arguments: &[&str]| machine.prints(&[&sandbox[..], arguments].concat());
    machine.sign_in_with(&[&sandbox[..], &["login", "earthscope"]].concat(), &Person::ada()).succeeds();
    let played = with(&["token", "earthscope"]);
    machine.write(TOKENS, &real_tokens(FUTURE));
    let real = machine.prints(&["token", "earthscope"]);
    assert_ne!(real, played);
    assert!(real_tokens(FUTURE).contains(&real));
    // A record that was made without a sandbox is none with it, and the other way about.
    fs::remove_file(machine.path(TOKENS)).unwrap();
    machine.fails(&["token", "earthscope"], 3);
    machine.fails(&[&sandbox[..], &["token", "earthscope"]].concat(), 3);
}

#[test]
fn a_sandbox_is_on_this_machine() {
    let machine = Machine::without_sandbox();
    for url in ["https://sandbox.example.org", "http://localhost:8989", "nonsense"] {
        for command in ["login", "token", "check"] {
            let error = machine.fails(&["--sandbox", url, command, "earthscope"], 6);
            assert!(
                error.starts_with("error: the sandbox's address is not one of this machine\n"),
                "{error}"
            );
        }
    }
    assert_snapshot!(machine.fails(&["--sandbox", "nonsense", "login", "oidc"], 6), @"
    error: the sandbox's address is not one of this machine
    caused by: it is `nonsense`, and not `http://127.0.0.1` with a port

    hint: start one and name it as it prints itself: `earthkey sandbox`
    hint: or do without: `unset EARTHKEY_SANDBOX`
    ");
    // It leads every system astray, and is told of once.
    let of_status = machine.fails(&["--sandbox", "nonsense", "status"], 6);
    assert_eq!(of_status, machine.fails(&["--sandbox", "nonsense", "login", "oidc"], 6));
    let mut command = machine.command(&["status"]);
    command.env("EARTHKEY_SANDBOX", "");
    let error = machine.start(command).end().fails(6);
    assert!(error.contains("caused by: `EARTHKEY_SANDBOX` is set and empty\n"), "{error}");
}

#[test]
fn a_sandbox_that_does_not_run_is_named_with_who_named_it() {
    let mut machine = Machine::without_sandbox();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_snapshot!(machine.fails(&["--sandbox", &url, "login", "earthscope"], 5), @"
    error: `http://127.0.0.1:PORT/` cannot be reached
    caused by: client error (Connect): tcp connect error: Connection refused (os error 111)

    hint: when the network is back, sign in again: `earthkey login earthscope`
    hint: the sandbox at `http://127.0.0.1:PORT`, named by `--sandbox`, plays every system; is it running? `earthkey sandbox` starts one and says where it is
    ");
    machine.set("EARTHKEY_SANDBOX", url);
    let error = machine.fails(&["login", "oidc"], 5);
    assert!(error.contains("named by `EARTHKEY_SANDBOX`"), "{error}");
}

#[test]
fn a_sandbox_says_where_it_is_and_whom_to_trust() {
    let machine = Machine::new();
    let place = machine.path("ca.pem");
    let file = place.to_str().unwrap();
    let started = |arguments: &[&str]| {
        let running = machine.start(machine.command(arguments));
        let line = |text: &str| text.split_once('\n').map(|(line, _)| line.to_owned());
        let document: serde_json::Value =
            serde_json::from_str(&running.stdout.wait_for("a line", line)).unwrap();
        running.signal(Signal::KILL);
        running.end();
        document
    };
    let document = started(&["sandbox", "--json"]);
    let url = document["url"].as_str().unwrap();
    let expected = json!({
        "url": url,
        "issuer": format!("{url}/oidc"),
        "openeo": format!("{url}/openeo"),
        "google": format!("{url}/google"),
    });
    assert_eq!(document, expected);
    assert_eq!(started(&["sandbox", "--json", "--tls"])["ca"], json!(null));
    assert!(!place.exists());
    assert_eq!(started(&["sandbox", "--json", "--tls", "--ca-out", file])["ca"], file);
    assert!(machine.read("ca.pem").starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[test]
fn a_sandbox_says_how_real_clients_reach_it() {
    let machine = Machine::new();
    let running = machine.start(machine.command(&["sandbox", "--tls"]));
    let whole = |text: &str| text.contains("Ctrl-C").then(|| text.to_owned());
    let text = running.stdout.wait_for("the text", whole);
    running.signal(Signal::KILL);
    running.end();
    let (_, rest) = text.split_once("http://127.0.0.1:").unwrap();
    let port = rest.split_once(';').unwrap().0;
    assert_snapshot!(text.replace(port, "PORT"), @"
    The sandbox is at http://127.0.0.1:PORT; sign in as ada with the password `sandbox`

      earthkey --sandbox http://127.0.0.1:PORT login oidc
      earthkey --sandbox http://127.0.0.1:PORT login openeo
      earthkey --sandbox http://127.0.0.1:PORT login earthscope
      earthkey --sandbox http://127.0.0.1:PORT login earthengine
      earthkey --sandbox http://127.0.0.1:PORT login google
      earthkey --sandbox http://127.0.0.1:PORT login gemini

    Unchanged Google clients come here with

      HTTPS_PROXY=http://127.0.0.1:PORT
      SSL_CERT_FILE=CA
      REQUESTS_CA_BUNDLE=CA

    where CA is a file with the certificate: start with `--ca-out FILE` to have it.

    It runs until Ctrl-C.
    ");
}

#[test]
fn a_sandbox_that_cannot_start_says_why() {
    let machine = Machine::new();
    let folder = machine.path("nowhere");
    let folder = folder.to_str().unwrap();
    assert_snapshot!(machine.fails(&["sandbox", "--earthengine-documents", folder], 6), @"
    error: the sandbox has no documents for Earth Engine
    caused by: cannot use HOME/nowhere/cloud_api_discovery_document.json: No such file or directory (os error 2)

    hint: name a folder with both files, such as `ee/tests` of the Python package
    ");
    let taken = machine.url().strip_prefix("http://").unwrap();
    let error = machine.fails(&["sandbox", "--listen", taken], 6);
    assert!(error.contains("cannot listen on"), "{error}");
    assert_snapshot!(machine.fails(&["sandbox", "--tls", "--ca-out", "/"], 6), @"
    error: cannot write the certificate to `/`
    caused by: Is a directory (os error 21)

    hint: name another file: `--ca-out FILE`
    ");
    let ended = machine.run(&["sandbox", "--ca-out", "ca.pem"]);
    assert!(ended.code() == 2 && ended.stderr.contains("  --tls\n"), "{ended:#?}");
}
