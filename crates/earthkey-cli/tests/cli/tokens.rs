//! Tokens, as scripts use them.

use std::io::pipe;
use std::process::Stdio;

use earthkey_sandbox::Change;
use earthkey_sandbox::Fault;
use earthkey_sandbox::Realm;
use earthkey_sandbox::When;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::json;

use crate::leaks::is_jwt;
use crate::machine::Machine;
use crate::machine::eventually;
use crate::machine::token_path;
use crate::provider::Provider;

/// Signs in with an access token that ends at once; later ones live long.
fn sign_in_expired(machine: &Machine, login: &str, realm: Realm) {
    let lifetime = |seconds| Change { access_token_lifetime: Some(seconds), ..Change::default() };
    machine.control().settings(realm, &lifetime(1));
    machine.sign_in(login, &Person::ada()).succeeds();
    eventually("expiry", || machine.run(&["status", login]).stdout.contains("expired").then_some(()));
    machine.control().settings(realm, &lifetime(3600));
    machine.control().clear_requests();
}

#[test]
fn the_same_token_comes_twice_without_a_request() {
    let machine = Machine::new();
    for login in ["earthscope", "openeo", "oidc"] {
        machine.sign_in(login, &Person::ada()).succeeds();
        let first = machine.prints(&["token", login]);
        machine.control().clear_requests();
        for arguments in [&["token", login][..], &["token", login], &["token", login, "--min-ttl", "60"]] {
            let ended = machine.run(arguments).succeeds();
            assert_eq!(ended.stdout, format!("{first}\n"));
            assert_eq!(ended.stderr, "");
        }
        machine.prints(&["header", login]);
        machine.prints(&["status", login]);
        assert_eq!(machine.control().requests(None), [], "{login}");
    }
}

#[test]
fn a_token_that_lives_too_short_is_refreshed() {
    let machine = Machine::new();
    let lifetime = Change { access_token_lifetime: Some(300), ..Change::default() };
    machine.control().settings(Realm::Oidc, &lifetime);
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let first = machine.prints(&["token", "oidc"]);
    assert_eq!(machine.prints(&["token", "oidc", "--min-ttl", "200"]), first);
    assert_ne!(machine.prints(&["token", "oidc", "--refresh"]), first);
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1);
}

#[test]
fn a_token_in_json() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let token = machine.prints(&["token", "oidc"]);
    let mut document = machine.json(&["token", "oidc", "--json"]);
    let expires_at = document["expires_at"].take().as_u64().unwrap();
    let expires_in = document["expires_in"].take().as_u64().unwrap();
    assert!((3500..=3600).contains(&expires_in), "{expires_in}");
    assert!(expires_at > 1_700_000_000, "{expires_at}");
    let names: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["login", "access_token", "token_type", "client_id", "scopes", "expires_at", "expires_in"]
    );
    assert_eq!(
        document,
        json!({
            "login": "oidc",
            "access_token": token,
            "token_type": "Bearer",
            "client_id": "sandbox-public",
            "scopes": ["openid", "profile", "email", "offline_access"],
            "expires_at": null,
            "expires_in": null,
        })
    );
}

#[test]
fn a_header_is_what_the_system_wants() {
    let machine = Machine::new();
    for (login, prefix) in [("openeo", "oidc/sandbox/"), ("oidc", ""), ("earthscope", "")] {
        machine.sign_in(login, &Person::ada()).succeeds();
        let token = machine.prints(&["token", login]);
        let value = format!("Bearer {prefix}{token}");
        assert_eq!(machine.prints(&["header", login]), format!("Authorization: {value}"));
        let document = machine.json(&["header", login, "--json"]);
        assert_eq!(document["headers"], json!({ "Authorization": value }));
        assert_eq!(document["access_token"], token);
    }
}

/// A token of the Python client, whose back-end nobody knows: it can be had, but not shown.
#[test]
fn a_token_whose_back_end_is_not_known_has_no_header() {
    let machine = Machine::new();
    machine.sign_in("openeo", &Person::ada()).succeeds();
    std::fs::remove_dir_all(machine.path(".config/earthkey")).unwrap();
    std::fs::remove_dir_all(machine.path(".cache/earthkey")).unwrap();
    let status = machine.json(&["status", "--json"]);
    let login = status[0]["login"].as_str().unwrap();
    assert_eq!(login, format!("openeo/issuer:{}", machine.url().strip_prefix("http://").unwrap()));
    machine.control().clear_requests();
    assert_snapshot!(machine.fails(&["header", login], 6), @"
    error: it is not known which back-end the token of `openeo/issuer:127.0.0.1:PORT` is for

    hint: name the back-end: `earthkey login openeo URL`
    ");
    assert_eq!(machine.token_requests(Realm::Openeo, "refresh_token"), 0);
    assert!(is_jwt(&machine.prints(&["token", login])));
}

#[test]
fn whoever_stops_reading_may() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    for arguments in [
        &["token", "oidc"][..],
        &["header", "oidc"],
        &["token", "oidc", "--json"],
        &["status"],
        &["token", "--help"],
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = machine.start_with(machine.command(arguments), Stdio::from(writer)).end().succeeds();
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_told_of() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = machine.start_with(machine.command(&["token", "oidc"]), Stdio::from(full)).end();
    assert_snapshot!(ended.fails(1), @"
    error: the output cannot be written
    caused by: No space left on device (os error 28)

    hint: look at where standard output leads
    ");
}

#[test]
fn eight_processes_refresh_once() {
    let machine = Machine::new();
    for (login, realm) in
        [("oidc", Realm::Oidc), ("earthscope", Realm::Earthscope), ("openeo", Realm::Openeo)]
    {
        sign_in_expired(&machine, login, realm);
        // Slow enough for all of them to come while it is under way.
        let slow =
            Fault { delay_ms: 500, grant_type: Some("refresh_token".into()), ..Fault::at(token_path(realm)) };
        machine.control().add_fault(slow).unwrap();
        let runs: Vec<_> = (0..8).map(|_| machine.start(machine.command(&["token", login]))).collect();
        let tokens: Vec<String> = runs.into_iter().map(|running| running.end().succeeds().stdout).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0] && is_jwt(token.trim_end())));
        assert_eq!(machine.token_requests(realm, "refresh_token"), 1, "{login}");
        assert_eq!(machine.prints(&["token", login]), tokens[0].trim_end());
        // Without grace, a token that was used twice would have ended the login.
        machine.prints(&["token", login, "--refresh"]);
    }
}

#[test]
fn eight_processes_are_refused_once() {
    let machine = Machine::new();
    sign_in_expired(&machine, "oidc", Realm::Oidc);
    machine.control().revoke(Realm::Oidc, None);
    let slow = Fault { delay_ms: 500, ..Fault::at(token_path(Realm::Oidc)) };
    machine.control().add_fault(slow).unwrap();
    let runs: Vec<_> = (0..8).map(|_| machine.start(machine.command(&["token", "oidc"]))).collect();
    for running in runs {
        let error = running.end().fails(4);
        assert!(
            error.starts_with("error: the provider does not accept the refresh token any more\n"),
            "{error}"
        );
        assert!(error.contains("`earthkey login oidc`"), "{error}");
    }
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1);
    assert_eq!(machine.run(&["status", "oidc"]).code(), 4);
    let remembered = machine.fails(&["token", "oidc"], 4);
    let seconds = remembered.split("again for ").nth(1).unwrap().split(' ').next().unwrap();
    assert_snapshot!(remembered.replace(seconds, "N"), @"
    error: the provider does not accept the refresh token any more
    caused by: invalid_grant: Unknown or invalid refresh token.
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: it has expired, was revoked or was replaced elsewhere; sign in: `earthkey login oidc`
    hint: the provider is not asked again for N seconds, unless with `--refresh`
    ");
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1);
}

#[test]
fn a_refresh_that_is_asked_to_stop_loses_nothing() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let machine = Machine::new();
        sign_in_expired(&machine, "oidc", Realm::Oidc);
        let slow = Fault { delay_ms: 1_000, ..Fault::at(token_path(Realm::Oidc)) };
        machine.control().add_fault(slow).unwrap();
        let running = machine.start(machine.command(&["token", "oidc"]));
        // The sandbox has replaced the token, and holds the answer back.
        eventually("a request", || (machine.token_requests(Realm::Oidc, "refresh_token") == 1).then_some(()));
        running.signal(signal);
        let said = "interrupted: the provider's answer is on its way and is kept first; then this ends\n";
        running.stderr.wait_for("what is waited for", |text| text.contains(said).then_some(()));
        // Once is enough.
        running.signal(signal);
        // What is durable may as well be printed before the end.
        match running.end() {
            ended if ended.stderr.matches("on its way").count() != 1 => panic!("{ended:#?}"),
            ended if ended.code() == 0 => assert!(is_jwt(ended.stdout.trim_end()), "{ended:#?}"),
            ended => assert_eq!((ended.code(), ended.stdout.as_str()), (130, ""), "{ended:#?}"),
        }
        assert!(is_jwt(&machine.prints(&["token", "oidc"])));
        assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1, "the answer was lost");
        machine.prints(&["token", "oidc", "--refresh"]);
    }
}

#[test]
fn a_waiter_that_is_asked_to_stop_stops() {
    let machine = Machine::new();
    sign_in_expired(&machine, "oidc", Realm::Oidc);
    let slow = Fault { delay_ms: 3_000, ..Fault::at(token_path(Realm::Oidc)) };
    machine.control().add_fault(slow).unwrap();
    let first = machine.start(machine.command(&["token", "oidc"]));
    eventually("a request", || (machine.token_requests(Realm::Oidc, "refresh_token") == 1).then_some(()));
    let second = machine.start(machine.command(&["token", "oidc"]));
    second.stderr.wait_for("who is waited for", |text| text.contains("waiting for ").then_some(()));
    second.signal(Signal::TERM);
    assert_eq!(second.end().code(), 130);
    assert!(is_jwt(first.end().succeeds().stdout.trim_end()));
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1);
}

/// The fields of a request that may be read by anybody; every other is `****`.
const IN_THE_CLEAR: [&str; 9] = [
    "grant_type",
    "client_id",
    "scope",
    "scopes",
    "redirect_uri",
    "audience",
    "code_challenge",
    "code_challenge_method",
    "token_type_hint",
];

/// Reads what `-vvv` says of requests: paths and the fields of each.
fn wire(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let requests = text.lines().filter_map(|line| line.strip_prefix("> "));
    let request = |line: &str| {
        let mut words = line.split(' ');
        let address = words.by_ref().nth(1).unwrap().to_owned();
        // Scopes stand apart with spaces, too, and belong to the field before them.
        let fields = words.filter_map(|word| word.split_once('='));
        (address, fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    requests.map(request).collect()
}

#[test]
fn everything_is_told_but_secrets() {
    let machine = Machine::new();
    let mut told = String::new();
    for (login, flow) in
        [("earthscope", "device"), ("openeo", "device"), ("oidc", "loopback"), ("oidc/device", "device")]
    {
        let ended =
            machine.sign_in_with(&["login", login, "--flow", flow, "-vvv"], &Person::ada()).succeeds();
        told.push_str(&ended.stderr);
        for arguments in [
            &["token", login, "--refresh", "-vvv"][..],
            &["check", login, "-vvv"],
            &["logout", login, "--revoke", "--yes", "-vvv"],
        ] {
            told.push_str(&machine.run(arguments).succeeds().stderr);
        }
    }
    let mut secrets = Vec::new();
    for (address, fields) in wire(&told) {
        assert!(!address.contains('?') || address.ends_with("=…"), "{address}");
        for (name, value) in fields {
            if !IN_THE_CLEAR.contains(&name.as_str()) {
                assert_eq!(value, "****", "{name} at {address}");
                secrets.push(name);
            }
        }
    }
    // The test is worth nothing unless each of them was there to be hidden.
    for name in ["device_code", "code", "code_verifier", "refresh_token", "token"] {
        assert!(secrets.iter().any(|secret| secret == name), "{name} was never sent:\n{told}");
    }
    assert!(told.contains("(authorization: ****)"), "{told}");
    assert!(told.contains("(json)"), "{told}");
    let answers: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("< ")).collect();
    for answer in &answers {
        let (status, rest) = answer.split_once(' ').unwrap();
        assert!(status.len() == 3 && rest.starts_with('(') && rest.contains(" bytes)"), "{answer}");
        let is_of_a_token = |c: char| c.is_ascii_alphanumeric() || "-_.~+=".contains(c);
        let is_name = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let mut words = answer.split(|c| !is_of_a_token(c));
        assert!(words.all(|word| word.len() < 16 || is_name(word)), "{answer}");
    }
    assert!(answers.iter().any(|answer| answer.contains(r#""access_token":"…""#)), "{told}");
    machine.sign_in("oidc/story", &Person::ada()).succeeds();
    assert_snapshot!(story(&machine, "oidc/story"), @"
            a new token was asked for
            the lease is taken; the intent goes to the ledger
            sending the grant
            the answer is durable in the ledger
            the answer has landed in the home
            ");
    machine.sign_in_service("oidc/service").succeeds();
    assert_snapshot!(story(&machine, "oidc/service"), @"
            a new token was asked for
            the lease is taken; the intent goes to the ledger
            sending the grant
            the answer is here; it replaces no grant
            the answer has landed in the home
            ");
}

/// Tells the story of one refresh, without what is of the moment.
fn story(machine: &Machine, login: &str) -> String {
    let told = machine.run(&["token", login, "--refresh", "-v"]).succeeds().stderr;
    told.trim_end().to_owned()
}

#[test]
fn what_stands_between_is_seen_without_secrets() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let portal = Fault {
        status: Some(200),
        body: Some("<h1>Sign in to the Wi-Fi</h1> not-yet-known-as-a-token".into()),
        ..Fault::at(token_path(Realm::Oidc))
    };
    machine.control().add_fault(portal).unwrap();
    let told = machine.run(&["token", "oidc", "--refresh", "-vvv"]);
    assert_eq!(told.code(), 5);
    let told = told.stderr;
    assert!(told.contains("-vvv"), "the hint names what shows it:\n{told}");
    let answer = told.lines().find(|line| line.contains("Wi-Fi")).expect(&told);
    assert_snapshot!(answer, @"< 200 (54 bytes) <h1>Sign in to the Wi-Fi</h1> …");
}

/// A provider that repeats what it is sent, and whose every secret is known.
#[test]
fn a_provider_that_repeats_secrets_is_not_repeated() {
    const SECRETS: [&str; 6] = ["device-code-1", "access-1", "refresh-1", "access-2", "refresh-2", "id-1"];
    let mut machine = Machine::without_sandbox();
    let provider = Provider::start(|url, asked| {
        let answer = match (asked.path.as_str(), asked.field("grant_type").as_deref()) {
            ("/oauth/device/code", _) => json!({
                "device_code": "device-code-1", "user_code": "ABCD-EFGH", "expires_in": 600, "interval": 1,
                "verification_uri": format!("{url}/activate"),
            }),
            ("/oauth/token", Some("refresh_token")) => json!({
                "error": "invalid_scope",
                "error_description": format!("no: {}", asked.body),
                "access_token": "access-2", "refresh_token": "refresh-2",
            }),
            ("/oauth/token", _) => json!({
                "access_token": "access-1", "refresh_token": "refresh-1", "id_token": "id-1", "token_type": "Bearer",
                "expires_in": 600,
            }),
            ("/beta/user/profile", _) => json!("Who comes with access-1 or access-2?"),
            _ => return None,
        };
        Some(answer.to_string())
    });
    machine.set("ES_RESOURCES__API_URL", provider.url.clone());
    let login = ["login", "earthscope", &provider.url, "-vvv"];
    let mut told = machine.run(&login).succeeds().stderr;
    told.push_str(&machine.run(&["token", "earthscope", "--refresh", "-vvv"]).stderr);
    told.push_str(&machine.fails(&["check", "earthscope", "-vvv"], 5));
    told.push_str(&machine.run(&["logout", "earthscope", "--revoke", "--yes", "-vvv"]).stderr);
    for secret in SECRETS {
        assert!(!told.contains(secret), "{secret}:\n{told}");
    }
    let sent: String = provider.asked().iter().map(|asked| asked.body.as_str()).collect();
    assert!(sent.contains("device-code-1") && sent.contains("refresh-1"), "{sent}");
}

#[test]
fn scopes_of_a_token_are_those_that_were_asked_for() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let narrow = machine.json(&["token", "oidc", "--scopes", "openid", "--json"]);
    assert_eq!(narrow["scopes"], json!(["openid"]));
    assert_eq!(machine.prints(&["token", "oidc", "--scopes", "openid"]), narrow["access_token"]);
    let whole = machine.json(&["token", "oidc", "--json"]);
    assert_ne!(whole["access_token"], narrow["access_token"]);
    assert_eq!(whole["scopes"], json!(["openid", "profile", "email", "offline_access"]));
    let refusal = Fault {
        status: Some(400),
        body: Some(json!({"error": "invalid_scope"}).to_string()),
        ..Fault::at(token_path(Realm::Oidc))
    };
    machine.control().add_fault(refusal).unwrap();
    assert_snapshot!(machine.fails(&["token", "oidc", "--scopes", "nonsense"], 4), @"
            error: the provider does not grant the scopes
            caused by: invalid_scope
            credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

            hint: sign in with scopes that it grants: `earthkey login oidc --scopes S,S`
            ");
}

#[test]
fn a_check_asks_again_although_the_provider_refused() {
    let machine = Machine::new();
    let short = Change { access_token_lifetime: Some(1), ..Change::default() };
    machine.control().settings(Realm::Oidc, &short);
    machine.sign_in("oidc", &Person::ada()).succeeds();
    machine.control().revoke(Realm::Oidc, None);
    // Still valid, the token is served whatever the provider says.
    let is_refused = || (machine.run(&["token", "oidc"]).code() == 4).then_some(());
    eventually("the end of the token at hand", is_refused);
    let refusals = machine.token_requests(Realm::Oidc, "refresh_token");
    machine.fails(&["token", "oidc"], 4);
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), refusals, "a refusal is remembered");
    machine.fails(&["check", "oidc"], 4);
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), refusals + 1);
}

#[test]
fn status_tells_of_an_answer_that_never_came() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let lost =
        Fault { path: "/oidc/token".into(), drop: Some(When::After), times: Some(2), ..Fault::default() };
    machine.control().add_fault(lost).unwrap();
    machine.fails(&["token", "oidc", "--refresh"], 5);
    let status = machine.json(&["status", "oidc", "--json"]);
    assert_eq!(status[0]["reason"], "no whole answer came from the provider");
    assert_eq!(status[0]["state"], "valid", "the token at hand is as good as before");
}

#[test]
fn status_tells_of_a_refresh_that_is_under_way_or_was_cut_short() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    // Longer than anything is waited for: it ends by the kill.
    let held_back = Fault { delay_ms: 120_000, ..Fault::at(token_path(Realm::Oidc)) };
    machine.control().add_fault(held_back).unwrap();
    let running = machine.start(machine.command(&["token", "oidc", "--refresh"]));
    // What has been sent was written down before.
    eventually("a request", || (machine.token_requests(Realm::Oidc, "refresh_token") == 1).then_some(()));
    let reason = || machine.json(&["status", "oidc", "--json"])[0]["reason"].clone();
    assert_eq!(reason(), "a refresh is under way, or was cut short");
    running.signal(Signal::KILL);
    running.end();
    assert_eq!(reason(), "a refresh is under way, or was cut short");
    assert_eq!(machine.token_requests(Realm::Oidc, "refresh_token"), 1, "looking asks nobody");
}
