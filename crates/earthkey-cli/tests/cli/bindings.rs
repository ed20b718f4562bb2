//! A grant goes to whom it is from, whatever a variable or a file says of the address.

use std::fs;

use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::Value;
use serde_json::json;

use crate::machine::Ended;
use crate::machine::Machine;
use crate::machine::visit;
use crate::sandboxes::FUTURE;
use crate::sandboxes::real_tokens;

const OIDC: &str = ".local/state/earthkey/oidc/default.json";
const TOKENS: &str = ".earthscope/default/tokens.json";

/// Everything that sends a login of EarthScope somewhere, or tells a caller to send it there.
const USES: [&[&str]; 5] = [
    &["token", "earthscope"],
    &["header", "earthscope"],
    &["token", "earthscope", "--refresh"],
    &["check", "earthscope"],
    &["logout", "earthscope", "--revoke", "--yes"],
];

/// Runs the program with some variables more, or with others.
fn run_with(machine: &Machine, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = machine.command(arguments);
    command.envs(variables.iter().copied());
    machine.start(command).end()
}

/// Changes the file of an `oidc` login, as a person does or a program that means no harm.
fn edit(machine: &Machine, change: impl FnOnce(&mut Value)) {
    let mut file = serde_json::from_str(&machine.read(OIDC)).unwrap();
    change(&mut file);
    machine.write(OIDC, &file.to_string());
}

#[test]
fn a_grant_does_not_go_where_its_file_says_by_now() {
    let (machine, other) = (Machine::new(), Machine::new());
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let original = machine.read(OIDC);
    machine.control().clear_requests();
    edit(&machine, |file| file["endpoints"]["token"] = json!(format!("{}/oidc/token", other.url())));
    assert_snapshot!(machine.fails(&["token", "oidc", "--refresh"], 6), @"
    error: the grant of `oidc` is not sent to `http://127.0.0.1:PORT/oidc/token`
    caused by: it was issued for `http://SANDBOX`
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the variables and the configuration that name this address
    hint: or sign in there: `earthkey login oidc`
    ");
    machine.write(OIDC, &original);
    edit(&machine, |file| file["endpoints"]["revocation"] = json!(format!("{}/oidc/revoke", other.url())));
    assert_snapshot!(machine.fails(&["logout", "oidc", "--revoke", "--yes"], 6), @"
    error: the grant of `oidc` is not sent to `http://127.0.0.1:PORT/oidc/revoke`
    caused by: it was issued for `http://SANDBOX`

    hint: look at the variables and the configuration that name this address
    hint: or sign in there: `earthkey login oidc`
    ");
    assert_eq!(other.control().requests(None), [], "something went to the other server");
    assert_eq!(machine.control().requests(None), []);
    // Nothing was spent or ended by that.
    machine.write(OIDC, &original);
    machine.prints(&["token", "oidc", "--refresh"]);
}

/// Realms of one server share its origin, and are as strange to each other as two servers.
#[test]
fn a_grant_does_not_go_to_another_issuer_of_the_same_server() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let original = machine.read(OIDC);
    machine.control().clear_requests();
    edit(&machine, |file| {
        file["issuer"] = json!(format!("{}/openeo-id", machine.url()));
        for (name, path) in [("token", "token"), ("revocation", "revoke")] {
            file["endpoints"][name] = json!(format!("{}/openeo-id/{path}", machine.url()));
        }
    });
    assert_snapshot!(machine.fails(&["token", "oidc"], 6), @"
    error: the grant of `oidc` is not sent to `http://SANDBOX/openeo-id/token`
    caused by: it was issued by `http://SANDBOX/oidc`
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the variables and the configuration that name this address
    hint: or sign in there: `earthkey login oidc`
    ");
    for arguments in
        [&["token", "oidc", "--refresh"][..], &["check", "oidc"], &["logout", "oidc", "--revoke", "--yes"]]
    {
        let error = machine.fails(arguments, 6);
        assert!(error.contains("it was issued by `http://SANDBOX/oidc`\n"), "{error}");
    }
    assert_eq!(machine.control().requests(None), [], "something went to the other realm");
    machine.write(OIDC, &original);
    machine.prints(&["token", "oidc", "--refresh"]);
}

#[test]
fn a_login_of_one_sandbox_does_not_go_to_another() {
    let (machine, other) = (Machine::new(), Machine::new());
    machine.sign_in("earthscope", &Person::ada()).succeeds();
    machine.control().clear_requests();
    let of_sign_in: Value = serde_json::from_str(&machine.read(TOKENS)).unwrap();
    // Of a refresh token alone, it is recorded who has issued it.
    let alone = json!({ "refresh_token": of_sign_in["refresh_token"] });
    for file in [of_sign_in.to_string(), alone.to_string()] {
        machine.write(TOKENS, &file);
        for (name, value) in [("EARTHKEY_SANDBOX", other.url()), ("ES_OAUTH2__DOMAIN", other.url())] {
            for arguments in USES {
                let mut command = machine.command(arguments);
                command.env_remove("EARTHKEY_SANDBOX").env(name, value);
                let error = machine.start(command).end().fails(6);
                let causes = [
                    "caused by: its token was issued by `http://SANDBOX/`\n",
                    // To a grant that is about to be sent it is recorded where to.
                    "caused by: it was issued for `http://SANDBOX`\n",
                ];
                let cause = causes[usize::from(arguments[0] == "logout")];
                assert!(error.contains(cause), "{name}: {arguments:?}: {error}");
            }
        }
        assert_eq!(machine.read(TOKENS), file);
    }
    let elsewhere = [("EARTHKEY_SANDBOX", other.url())];
    assert_snapshot!(run_with(&machine, &elsewhere, &["token", "earthscope"]).fails(6), @"
    error: the grant of `earthscope` is not sent to `http://127.0.0.1:PORT/oauth/token`
    caused by: its token was issued by `http://SANDBOX/`

    hint: look at the variables and the configuration that name this address
    hint: or sign in there: `earthkey login earthscope`
    ");
    assert_eq!(other.control().requests(None), [], "something went to the other sandbox");
    assert_eq!(machine.control().requests(None), []);
    machine.prints(&["token", "earthscope", "--refresh"]);
}

/// What the SDK has put there says nothing of an issuer, or says that it is the public one.
#[test]
fn what_the_sdk_keeps_of_the_public_service_does_not_go_where_a_variable_says() {
    let mut machine = Machine::without_sandbox();
    machine.set("ES_OAUTH2__DOMAIN", machine.url().to_owned());
    machine.set("ES_RESOURCES__API_URL", machine.url().to_owned());
    let whole = real_tokens(FUTURE);
    let mut alone: Value = serde_json::from_str(&whole).unwrap();
    alone.as_object_mut().unwrap().remove("access_token");
    for file in [whole, alone.to_string()] {
        machine.write(TOKENS, &file);
        for arguments in USES {
            let error = machine.fails(arguments, 6);
            let cause = "caused by: its token was issued by `https://login.earthscope.org/`\n";
            assert!(error.contains(cause), "{arguments:?}: {error}");
        }
        assert_eq!(machine.read(TOKENS), file);
    }
    assert_eq!(machine.control().requests(None), [], "something went where the variable says");
}

#[test]
fn what_a_variable_gives_stays_with_whom_it_was_given_for_first() {
    let (machine, other) = (Machine::without_sandbox(), Machine::new());
    let domain = ("ES_OAUTH2__DOMAIN", machine.url());
    let mut command = machine.command(&["login", "earthscope"]);
    command.env(domain.0, domain.1);
    let running = machine.start(command);
    visit(&Person::ada(), &running.page());
    running.end().succeeds();
    let file: Value = serde_json::from_str(&machine.read(TOKENS)).unwrap();
    fs::remove_file(machine.path(TOKENS)).unwrap();
    let given = ("ES_OAUTH2__REFRESH_TOKEN", file["refresh_token"].as_str().unwrap());
    run_with(&machine, &[domain, given], &["token", "earthscope"]).succeeds();
    machine.control().clear_requests();
    let realm = format!("{}/another-realm", machine.url());
    for place in [other.url(), &realm] {
        for arguments in &USES[..4] {
            // The API goes with the domain, and would get the token that is still good.
            let variables = [("ES_OAUTH2__DOMAIN", place), ("ES_RESOURCES__API_URL", place), given];
            let error = run_with(&machine, &variables, arguments).fails(6);
            let cause = "caused by: it was issued by `http://SANDBOX/`\n";
            assert!(error.contains(cause), "{place}: {arguments:?}: {error}");
        }
    }
    assert_eq!(other.control().requests(None), [], "something went to the other server");
    assert_eq!(machine.control().requests(None), [], "something went to the other realm");
    run_with(&machine, &[domain, given], &["token", "earthscope", "--refresh"]).succeeds();
}
