//! Addresses that lead nowhere, or to somebody who cannot be trusted.

use std::collections::BTreeMap;

use earthkey_sandbox::Fault;
use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::json;

use crate::machine::Machine;
use crate::machine::token_path;
use crate::provider::Provider;

/// Where the sandbox's provider `oidc` has its metadata.
const METADATA: [&str; 2] =
    ["/oidc/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/oidc"];

/// Makes the next metadata that is fetched something else, wherever it is looked for.
fn spoil_metadata(machine: &Machine, fault: &Fault) {
    for path in METADATA {
        machine.control().add_fault(Fault { path: path.into(), ..fault.clone() }).unwrap();
    }
}

/// Signs in where nothing was before, which must fail and leave nothing behind.
fn fails_without_trace(machine: &Machine, arguments: &[&str], code: i32) -> String {
    let error = machine.fails(arguments, code);
    assert_eq!(machine.contents(), BTreeMap::new(), "something was left behind by {arguments:?}");
    error
}

fn big_bodies() -> [Fault; 3] {
    let body = || Some("{\"issuer\": \"".to_owned());
    [
        Fault { body_size: Some(64 * 1024 * 1024), ..Fault::at("/") },
        Fault { body: body(), body_size: Some(64 * 1024 * 1024), ..Fault::at("/") },
        Fault { body: body(), endless: true, ..Fault::at("/") },
    ]
}

/// Returns what several errors say, which must be one thing.
fn all_alike(errors: &[String]) -> &str {
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:#?}");
    &errors[0]
}

#[test]
fn an_address_that_is_none_is_named() {
    let machine = Machine::without_sandbox();
    for login in ["oidc/work", "openeo"] {
        for url in ["https://", "not an address", "https://user:password@idp.example.org"] {
            let error = fails_without_trace(&machine, &["login", login, url], 6);
            assert!(error.contains(&format!("{url}` is no address")), "{error}");
        }
    }
    assert_snapshot!(fails_without_trace(&machine, &["login", "oidc/work", "https://"], 6), @"
    error: `https://` is no address of an issuer

    hint: give it like `https://HOST/PATH`
    ");
    assert_snapshot!(fails_without_trace(&machine, &["login", "openeo", "https://"], 6), @"
    error: `https://` is no address of an openEO back-end

    hint: give it like `https://HOST/PATH`
    ");
    assert_snapshot!(fails_without_trace(&machine, &["login", "earthscope", "https://"], 6), @"
    error: `https://` is no address of the domain of EarthScope

    hint: give it like `https://login.earthscope.org`
    ");
}

#[test]
fn plain_http_is_for_this_machine_alone() {
    let machine = Machine::without_sandbox();
    for login in ["oidc/work", "openeo", "earthscope"] {
        for url in ["http://idp.example.org", "http://localhost:8080", "ftp://idp.example.org"] {
            let error = fails_without_trace(&machine, &["login", login, url], 6);
            assert!(error.starts_with(&format!("error: `{url}")), "{error}");
        }
    }
    assert_snapshot!(fails_without_trace(&machine, &["login", "oidc/work", "http://idp.example.org"], 6), @"
    error: `http://idp.example.org/` is not https

    hint: use https; plain http is for `127.0.0.1` and `[::1]` alone, since anybody on the way can read it
    ");
}

#[test]
fn a_provider_that_is_not_there_is_a_matter_of_the_network() {
    let machine = Machine::without_sandbox();
    // Nobody listens on port 1, which only the system may use.
    let nowhere = "http://127.0.0.1:1";
    assert_snapshot!(fails_without_trace(&machine, &["login", "oidc/work", nowhere], 5), @"
    error: `http://127.0.0.1:PORT` cannot be reached
    caused by: client error (Connect): tcp connect error: Connection refused (os error 111)

    hint: look at the address and at the network
    ");
    assert_snapshot!(fails_without_trace(&machine, &["login", "openeo", nowhere], 5), @"
    error: the back-end's versions cannot be fetched from `http://127.0.0.1:PORT/.well-known/openeo`
    caused by: client error (Connect): tcp connect error: Connection refused (os error 111)

    hint: look at the address and at the network
    ");
    assert_snapshot!(fails_without_trace(&machine, &["login", "earthscope", nowhere], 5), @"
    error: `http://127.0.0.1:PORT/` cannot be reached
    caused by: client error (Connect): tcp connect error: Connection refused (os error 111)

    hint: when the network is back, sign in again: `earthkey login earthscope http://127.0.0.1:PORT`
    ");
}

#[test]
fn metadata_of_another_issuer_are_nobodys() {
    let machine = Machine::without_sandbox();
    let provider = Provider::start(|url, _| {
        Some(
            json!({
                "issuer": "https://elsewhere.example.org",
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "device_authorization_endpoint": format!("{url}/device"),
            })
            .to_string(),
        )
    });
    assert_snapshot!(fails_without_trace(&machine, &["login", "oidc/work", &provider.url], 6), @"
    error: `http://127.0.0.1:PORT` is no OpenID provider that can be used
    caused by: the metadata names another issuer: asked `http://127.0.0.1:PORT`, named `https://elsewhere.example.org`

    hint: look at the address: it is the `issuer` in the provider's `.well-known/openid-configuration`
    ");
    assert!(
        provider.asked().iter().all(|asked| asked.path.contains("/.well-known/")),
        "{:?}",
        provider.asked()
    );
}

#[test]
fn a_page_in_place_of_metadata_is_no_provider() {
    let machine = Machine::new();
    let page = Fault {
        body: Some("<!doctype html><title>Wi-Fi</title>".into()),
        content_type: Some("text/html".into()),
        times: Some(2),
        ..Fault::at("/")
    };
    spoil_metadata(&machine, &page);
    spoil_metadata(&machine, &Fault { path: "/.well-known/openid-configuration/oidc".into(), ..page });
    assert_snapshot!(fails_without_trace(&machine, &["login", "oidc"], 6), @"
        error: `http://SANDBOX/oidc` is no OpenID provider that can be used
        caused by: the metadata should be JSON, but an HTML page came

        hint: look at the address: it is the `issuer` in the provider's `.well-known/openid-configuration`
        ");
}

#[test]
fn metadata_without_end_are_cut() {
    let machine = Machine::new();
    let errors = big_bodies().map(|fault| {
        spoil_metadata(&machine, &fault);
        let error = fails_without_trace(&machine, &["login", "oidc"], 5);
        machine.control().clear_faults();
        error
    });
    assert_snapshot!(all_alike(&errors), @"
    error: `http://SANDBOX/oidc` gives no usable answer
    caused by: the answer is larger than 1048576 bytes

    hint: look at the address and at the network
    ");
}

#[test]
fn a_back_end_without_end_is_cut() {
    let machine = Machine::new();
    let errors = big_bodies().map(|fault| {
        machine.control().add_fault(Fault { path: "/openeo/.well-known/openeo".into(), ..fault }).unwrap();
        fails_without_trace(&machine, &["login", "openeo"], 5)
    });
    assert_snapshot!(all_alike(&errors), @"
    error: the back-end's versions cannot be fetched from `http://SANDBOX/openeo/.well-known/openeo`
    caused by: the answer is larger than 1048576 bytes

    hint: look at the address and at the network
    ");
}

#[test]
fn a_back_end_that_leads_elsewhere_is_asked_about() {
    let machine = Machine::without_sandbox();
    let provider = Provider::start(|_, _| {
        let elsewhere = json!({"url": "https://elsewhere.example.org/1.2", "api_version": "1.2.0"});
        Some(json!({"versions": [elsewhere]}).to_string())
    });
    assert_snapshot!(fails_without_trace(&machine, &["login", "openeo", &provider.url], 6), @"
    error: `http://127.0.0.1:PORT/` leads to another place: `https://elsewhere.example.org/1.2`

    hint: if that is right, name it yourself: `earthkey login openeo https://elsewhere.example.org/1.2`
    ");
}

#[test]
fn a_token_response_without_end_ends_a_sign_in() {
    let machine = Machine::new();
    let errors = big_bodies().map(|fault| {
        machine.control().add_fault(Fault { path: token_path(Realm::Oidc).into(), ..fault }).unwrap();
        machine.sign_in_service("oidc").fails(5)
    });
    assert_eq!(machine.contents(), BTreeMap::new());
    assert_snapshot!(all_alike(&errors), @"
    error: `http://SANDBOX/oidc` cannot be reached
    caused by: the answer is larger than 65536 bytes

    hint: when the network is back, sign in again: `earthkey login oidc --client-id sandbox-confidential --client-secret-stdin`
    ");
}

#[test]
fn a_page_in_place_of_a_token_response_ends_a_sign_in() {
    let machine = Machine::new();
    let page = Fault {
        body: Some("<!doctype html><title>Wi-Fi</title>".into()),
        content_type: Some("text/html".into()),
        ..Fault::at(token_path(Realm::Oidc))
    };
    machine.control().add_fault(page).unwrap();
    assert_snapshot!(machine.sign_in_service("oidc").fails(5), @"
        error: `http://SANDBOX/oidc` gave no usable answer
        caused by: the provider gave no usable answer (status 200): an HTML page

        hint: see the exchange with `-vvv`
        ");
    assert_eq!(machine.contents(), BTreeMap::new());
}

/// A refresh whose answer is unusable is an error; the token was not spent, so it serves again.
#[test]
fn a_refresh_survives_every_unusable_answer() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let home = machine.read(".local/state/earthkey/oidc/default.json");
    let token = machine.prints(&["token", "oidc"]);
    let page = Fault {
        body: Some("<!doctype html><title>Wi-Fi</title>".into()),
        content_type: Some("text/html".into()),
        ..Fault::at("/")
    };
    for fault in [&big_bodies()[..], &[page]].concat() {
        // Twice: an answer that was cut is asked for once more.
        let fault = Fault { path: token_path(Realm::Oidc).into(), times: Some(2), ..fault };
        machine.control().add_fault(fault).unwrap();
        let error = machine.fails(&["token", "oidc", "--refresh"], 5);
        assert!(
            error.contains("credential: `oidc` from ~/.local/state/earthkey/oidc/default.json"),
            "{error}"
        );
        machine.control().clear_faults();
        assert_eq!(machine.read(".local/state/earthkey/oidc/default.json"), home);
        assert_eq!(machine.prints(&["token", "oidc"]), token);
    }
    assert_ne!(machine.prints(&["token", "oidc", "--refresh"]), token);
    assert!(machine.files().keys().all(|path| !path.to_string_lossy().ends_with(".earthkey-new")));
}
