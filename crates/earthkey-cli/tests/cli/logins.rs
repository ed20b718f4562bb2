//! Logins: which there are, whose they are, and how they end.

use earthkey_sandbox::Change;
use earthkey_sandbox::Expiring;
use earthkey_sandbox::Fault;
use earthkey_sandbox::Realm;
use earthkey_sandbox::When;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::Value;
use serde_json::json;

use crate::machine::Ended;
use crate::machine::Machine;
use crate::machine::eventually;

const REFRESH_TOKENS: &str = ".local/share/openeo-python-client/refresh-tokens.json";

#[test]
fn a_login_that_is_not_there_says_how_to_make_it() {
    let machine = Machine::new();
    for login in ["oidc", "oidc/work", "earthscope", "earthscope/work"] {
        for command in ["token", "header", "check", "whoami"] {
            let error = machine.fails(&[command, login], 3);
            assert!(error.starts_with(&format!("error: `{login}` is not signed in\n")), "{error}");
        }
        assert_eq!(machine.run(&["status", login]).code(), 3);
        assert_eq!(
            machine.run(&["logout", login]).succeeds().stderr,
            format!("`{login}` was not signed in\n")
        );
    }
    assert_snapshot!(machine.fails(&["token", "oidc/work"], 3), @"
        error: `oidc/work` is not signed in
        credential: none: there is no ~/.local/state/earthkey/oidc/work.json

        hint: sign in: `earthkey login oidc/work https://ISSUER`
        ");
    assert_snapshot!(machine.fails(&["token", "earthscope"], 3), @"
    error: `earthscope` is not signed in
    credential: none: there is no ~/.earthscope/default/tokens.json

    hint: sign in: `earthkey login earthscope`
    ");
    assert_snapshot!(machine.fails(&["token", "openeo"], 3), @"
    error: `openeo` is not signed in
    credential: none: there is no ~/.local/share/openeo-python-client/refresh-tokens.json

    hint: sign in: `earthkey login openeo`
    ");
    assert_snapshot!(machine.fails(&["token"], 2), @"
    error: there is no login yet

    hint: sign in: `earthkey login SYSTEM`; see `earthkey login --help`
    ");
    assert_snapshot!(machine.run(&["status"]).succeeds().stderr.trim_end(), @"There is no login yet. Sign in: `earthkey login SYSTEM`; see `earthkey login --help`");
    assert_eq!(machine.json(&["status", "--json"]), json!([]));
    assert!(machine.files().is_empty(), "looking at what is not there leaves nothing behind");
}

#[test]
fn names_that_are_none_are_a_matter_of_usage() {
    let machine = Machine::new();
    assert_snapshot!(machine.fails(&["token", "jupiter"], 2), @"
    error: there is no system `jupiter`

    hint: the systems are earthengine, google, gemini, openeo, earthscope, oidc; see `earthkey login --help`
    ");
    assert_snapshot!(machine.fails(&["login", "oidc/../../x"], 2), @"
    error: `oidc/../../x` cannot name a login

    hint: a login is SYSTEM or SYSTEM/NAME; a name holds letters, digits and . - _ : @ + ~, no blanks, and begins with neither . nor -
    ");
    assert_snapshot!(machine.fails(&["login", "earthscope/my prof"], 2), @"
    error: `earthscope/my prof` cannot name a login

    hint: a login is SYSTEM or SYSTEM/NAME; a name holds letters, digits and . - _ : @ + ~, no blanks, and begins with neither . nor -
    hint: a profile of the SDK goes by the name of its folder: `my prof` is `earthscope/my-prof`
    ");
    assert_snapshot!(machine.fails(&["token", "earthengin/trip"], 2), @"
    error: there is no system `earthengin`

    hint: did you mean `earthengine`?
    hint: the systems are earthengine, google, gemini, openeo, earthscope, oidc; see `earthkey login --help`
    ");
    for command in ["token", "header", "status", "whoami", "check", "login", "logout"] {
        machine.fails(&[command, "jupiter"], 2);
        machine.fails(&[command, "oidc/\u{1b}[2J"], 2);
    }
    assert!(machine.files().is_empty());
}

#[test]
fn the_only_login_is_meant_where_none_is_named_and_two_are_listed() {
    let machine = Machine::new();
    machine.sign_in_service("oidc/work").succeeds();
    assert_eq!(machine.json(&["token", "--json"])["login"], "oidc/work");
    machine.sign_in_service("oidc/other").succeeds();
    for command in ["token", "header", "check", "whoami"] {
        machine.fails(&[command], 2);
    }
    assert_snapshot!(machine.fails(&["token", "oidc/wrok"], 3), @"
    error: `oidc/wrok` is not signed in
    credential: none: there is no ~/.local/state/earthkey/oidc/wrok.json

    hint: sign in: `earthkey login oidc/wrok https://ISSUER`
    hint: or did you mean `oidc/work`?
    ");
    assert_snapshot!(machine.fails(&["token"], 2), @r#"
    error: there is more than one login; name the one you mean

    hint: they are `oidc/other`, `oidc/work`
    hint: set `default = "LOGIN"` in config.toml to have one meant always
    "#);
}

#[test]
fn status_shows_every_login() {
    let machine = Machine::new();
    for login in ["earthscope", "openeo", "oidc"] {
        machine.sign_in(login, &Person::ada()).succeeds();
    }
    machine.sign_in_service("oidc/job").succeeds();
    assert_snapshot!(machine.filtered(&machine.prints(&["status"])), @"
    LOGIN       STATE  EXPIRES    ACCOUNT           FLOW                HOME
    openeo      valid  in 60 min  ada@sandbox.test  device              ~/.local/share/openeo-python-client/refresh-tokens.json
    earthscope  valid  in 60 min  -                 device              ~/.earthscope/default/tokens.json
    oidc        valid  in 60 min  ada@sandbox.test  device              ~/.local/state/earthkey/oidc/default.json
    oidc/job    valid  in 60 min  -                 client-credentials  ~/.local/state/earthkey/oidc/job.json
    ");
    let status = machine.json(&["status", "--json"]);
    for login in status.as_array().unwrap() {
        let names: Vec<&String> = login.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            [
                "login",
                "system",
                "state",
                "reason",
                "account",
                "home",
                "flow",
                "scopes",
                "expires_at",
                "grant_age_s",
                "grant_expires_at",
                "project",
                "project_from",
            ]
        );
        assert!(login["expires_at"].is_u64() && login["grant_age_s"].is_u64(), "{login}");
    }
    let mut oidc: Value = status[2].clone();
    oidc["expires_at"] = Value::Null;
    oidc["grant_age_s"] = Value::Null;
    assert_eq!(
        oidc,
        json!({
            "login": "oidc",
            "system": "oidc",
            "state": "valid",
            "reason": null,
            "account": "ada@sandbox.test",
            "home": machine.path(".local/state/earthkey/oidc/default.json"),
            "flow": "device",
            "scopes": ["openid", "profile", "email", "offline_access"],
            "expires_at": null,
            "grant_age_s": null,
            "grant_expires_at": null,
            "project": null,
            "project_from": null,
        })
    );
}

#[test]
fn status_exits_by_the_state_of_a_login() {
    let machine = Machine::new();
    let state = |login: &str| {
        let ended = machine.run(&["status", login, "--json"]);
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        (document[0]["state"].as_str().unwrap().to_owned(), ended.code())
    };
    assert_eq!(state("oidc"), ("login_required".into(), 3));
    machine.control().settings(Realm::Oidc, &Change { access_token_lifetime: Some(1), ..Change::default() });
    machine.sign_in("oidc", &Person::ada()).succeeds();
    eventually("expiry", || (state("oidc") == ("expired".into(), 0)).then_some(()));
    machine
        .control()
        .settings(Realm::Oidc, &Change { access_token_lifetime: Some(600), ..Change::default() });
    machine.prints(&["token", "oidc"]);
    assert_eq!(state("oidc"), ("valid".into(), 0));
    machine.control().settings(Realm::Oidc, &Change { access_token_lifetime: Some(1), ..Change::default() });
    machine.prints(&["token", "oidc", "--refresh"]);
    machine.control().revoke(Realm::Oidc, None);
    eventually("refusal", || (machine.run(&["token", "oidc"]).code() == 4).then_some(()));
    assert_eq!(state("oidc"), ("refused".into(), 4));
    // One state must not end a script that looks at all of them.
    assert_eq!(machine.run(&["status"]).code(), 0);
    // The person comes back, and it is as if nothing had been.
    machine
        .control()
        .settings(Realm::Oidc, &Change { access_token_lifetime: Some(600), ..Change::default() });
    machine.sign_in("oidc", &Person::ada()).succeeds();
    assert_eq!(state("oidc"), ("valid".into(), 0));
}

#[test]
fn whose_login_it_is() {
    let machine = Machine::new();
    for (login, account) in
        [("earthscope", "ada@sandbox.test"), ("openeo", "ada@sandbox.test"), ("oidc", "ada@sandbox.test")]
    {
        machine.sign_in(login, &Person::ada()).succeeds();
        assert_eq!(machine.prints(&["whoami", login]), account);
        assert_eq!(machine.json(&["whoami", login, "--json"]), json!({"login": login, "account": account}));
    }
    machine.sign_in_service("oidc/job").succeeds();
    assert_eq!(machine.prints(&["whoami", "oidc/job"]), "sandbox-confidential");
}

#[test]
fn a_check_calls_the_system_itself() {
    let machine = Machine::new();
    for (login, path, account) in [
        ("earthscope", "/beta/user/profile", "ada@sandbox.test"),
        ("openeo", "/openeo/1.2/me", "Ada Lovelace"),
        ("oidc", "/oidc/userinfo", "ada@sandbox.test"),
    ] {
        machine.sign_in(login, &Person::ada()).succeeds();
        machine.control().clear_requests();
        let called = format!("{}{path}", machine.url());
        assert_eq!(machine.prints(&["check", login]), format!("{login} works as {account}: {called}"));
        assert_eq!(machine.control().requests(Some(path)).len(), 1);
        assert_eq!(
            machine.json(&["check", login, "--json"]),
            json!({"login": login, "ok": true, "account": account, "called": called, "found": null})
        );
    }
}

#[test]
fn a_system_that_does_not_work_is_told_of() {
    let machine = Machine::new();
    machine.sign_in("oidc", &Person::ada()).succeeds();
    let check = |fault: Fault| {
        machine.control().add_fault(Fault { path: "/oidc/userinfo".into(), ..fault }).unwrap();
        machine.fails(&["check", "oidc"], 5)
    };
    let answer =
        |status, body: &str| Fault { status: Some(status), body: Some(body.to_owned()), ..Fault::default() };
    assert_snapshot!(check(answer(503, "\u{1b}[2Jcome\r\nlater")), @"
    error: `http://SANDBOX/oidc/userinfo` answers with status 503
    caused by: [2Jcome  later
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: try again later
    ");
    assert_snapshot!(check(answer(200, "<title>Wi-Fi</title>")), @"
    error: `http://SANDBOX/oidc/userinfo` answers with no JSON object
    caused by: line 1, column 1
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the address; a proxy or a portal may stand between
    ");
    assert_snapshot!(check(Fault { drop: Some(When::Before), ..Fault::default() }), @"
    error: `http://SANDBOX/oidc/userinfo` gives no answer
    caused by: client error (SendRequest): connection closed before message completed
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the network, and try again
    ");
    assert_snapshot!(check(Fault { endless: true, ..Fault::default() }), @"
    error: `http://SANDBOX/oidc/userinfo` gives no answer
    caused by: the answer is larger than 1048576 bytes
    credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

    hint: look at the network, and try again
    ");
    machine.prints(&["check", "oidc"]);
}

#[test]
fn a_token_that_the_system_refuses_is_told_of() {
    let machine = Machine::new();
    for (login, realm) in
        [("earthscope", Realm::Earthscope), ("openeo", Realm::Openeo), ("oidc", Realm::Oidc)]
    {
        machine.sign_in(login, &Person::ada()).succeeds();
        machine.control().expire(realm, Expiring::Access);
        let error = machine.fails(&["check", login], 4);
        assert!(
            error.contains(&format!("hint: get a new one: `earthkey token {login} --refresh`")),
            "{error}"
        );
        machine.prints(&["token", login, "--refresh"]);
        machine.prints(&["check", login]);
        if login == "oidc" {
            assert_snapshot!(error, @r#"
            error: `http://SANDBOX/oidc/userinfo` does not accept the token
            caused by: status 401: {"error":"invalid_token"}
            credential: `oidc` from ~/.local/state/earthkey/oidc/default.json

            hint: get a new one: `earthkey token oidc --refresh`
            hint: if that does not help, sign in: `earthkey login oidc`
            "#);
        }
    }
}

#[test]
fn a_logout_ends_its_own_login_alone() {
    let machine = Machine::new();
    for login in ["earthscope", "earthscope/work", "openeo", "oidc", "oidc/work"] {
        machine.sign_in(login, &Person::ada()).succeeds();
    }
    let mut file: Value = serde_json::from_str(&machine.read(REFRESH_TOKENS)).unwrap();
    file["https://sso.example.org/realms/x"] =
        json!({"their-client": {"date": "2020-01-01T00:00:00Z", "refresh_token": "real-token-of-another"}});
    machine.write(REFRESH_TOKENS, &file.to_string());

    for login in ["earthscope", "openeo", "oidc"] {
        let ended = machine.run(&["logout", login]).succeeds();
        assert_eq!((ended.stdout.as_str(), ended.stderr), ("", format!("Signed out of {login}\n")));
        machine.fails(&["token", login], 3);
    }
    machine.prints(&["token", "earthscope/work"]);
    machine.prints(&["token", "oidc/work"]);
    let left: Value = serde_json::from_str(&machine.read(REFRESH_TOKENS)).unwrap();
    assert_eq!(left, json!({"https://sso.example.org/realms/x": file["https://sso.example.org/realms/x"]}));
    assert!(!machine.path(".earthscope/default/tokens.json").exists());
    for (was_signed_in, forgotten) in [(true, false), (false, true), (false, false)] {
        assert_eq!(
            machine.json(&["logout", "oidc/work", "--json"]),
            json!({
                "login": "oidc/work",
                "was_signed_in": was_signed_in,
                "revoked": false,
                "forgotten": forgotten,
            })
        );
    }
    // Nobody was told: a copy of the grant elsewhere goes on.
    assert!(machine.control().requests(None).iter().all(|request| !request.path.ends_with("/revoke")));
}

/// What is remembered for the next sign-in is no login, and goes when that is asked for.
#[test]
fn a_second_logout_forgets_what_the_first_one_left() {
    let machine = Machine::new();
    let project = ["--project", "sandbox-project"];
    for (login, options) in [
        ("earthengine/trip", &project[..]),
        ("google/work", &[]),
        ("earthscope/lab", &[]),
        ("openeo", &[]),
        ("oidc/work", &[]),
    ] {
        if login.starts_with('e') && !options.is_empty() || login.starts_with('g') {
            crate::google::sign_in(&machine, &[&[login], options].concat()).succeeds();
        } else {
            machine.sign_in(login, &Person::ada()).succeeds();
        }
        let said = |ended: Ended| ended.succeeds().stderr;
        assert_eq!(said(machine.run(&["logout", login])), format!("Signed out of {login}\n"));
        assert_eq!(machine.json(&["status", "--json"]), json!([]), "{login}");
        let left = machine.read(".config/earthkey/config.toml");
        assert!(left.contains(login), "{left}");
        let status = machine.run(&["status", login]);
        assert_eq!(status.code(), 3);
        assert!(status.stdout.contains(&format!("sign in: `earthkey login {login}")), "{status:#?}");
        assert_eq!(
            said(machine.run(&["logout", login])),
            format!("`{login}` was not signed in; what was remembered of it is forgotten\n")
        );
        assert_eq!(machine.read(".config/earthkey/config.toml"), "");
        assert_eq!(said(machine.run(&["logout", login])), format!("`{login}` was not signed in\n"));
    }
    let left = machine.contents();
    assert!(!left.keys().any(|path| path.ends_with("trip.json")), "{left:?}");
}

#[test]
fn after_a_logout_no_token_is_left() {
    let machine = Machine::new();
    for login in ["earthscope", "openeo", "oidc"] {
        machine.sign_in(login, &Person::ada()).succeeds();
        machine.prints(&["token", login, "--refresh"]);
        machine.prints(&["header", login]);
        machine.run(&["logout", login]).succeeds();
        for (path, bytes) in machine.contents() {
            assert_eq!(crate::leaks::secrets_in(&bytes), Vec::<String>::new(), "{}", path.display());
        }
    }
}

#[test]
fn a_revocation_ends_the_grant_everywhere() {
    let machine = Machine::new();
    for (login, home) in [
        ("earthscope", ".earthscope/default/tokens.json"),
        ("openeo", REFRESH_TOKENS),
        ("oidc", ".local/state/earthkey/oidc/default.json"),
    ] {
        machine.sign_in(login, &Person::ada()).succeeds();
        let token = refresh_token(&machine.read(home));
        let error = machine.fails(&["logout", login, "--revoke"], 3);
        assert!(error.contains(&format!("`earthkey logout {login} --revoke --yes`")), "{error}");
        machine.prints(&["token", login]);

        let ended = machine.run(&["logout", login, "--revoke", "--yes"]).succeeds();
        let last = format!("\nSigned out of {login}; the provider has revoked the grant\n");
        assert!(ended.stderr.ends_with(&last), "{ended:#?}");
        machine.fails(&["token", login], 3);
        let again = machine.run_with_input(&["login", login, "--flow", "refresh"], &token).fails(4);
        assert!(again.contains("does not accept the refresh token"), "{again}");
    }
}

/// Finds the refresh token of a file, whatever its shape.
fn refresh_token(file: &str) -> String {
    let rest = file.split("\"refresh_token\": \"").nth(1).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn paths_say_where_everything_is() {
    let machine = Machine::new();
    machine.sign_in_service("oidc").succeeds();
    // How wide the columns are depends on where temporary directories are made.
    let paths = machine.filtered(&machine.prints(&["paths"]));
    let lines = paths.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
    WHAT PATH
    configuration HOME/.config/earthkey/config.toml
    state HOME/.local/state/earthkey
    records HOME/.cache/earthkey
    earthengine HOME/.config/earthengine/credentials (not there yet)
    google HOME/.config/gcloud/application_default_credentials.json (not there yet)
    gemini HOME/.local/state/earthkey/gemini (not there yet)
    earthscope HOME/.earthscope (not there yet)
    oidc HOME/.local/state/earthkey/oidc
    openeo HOME/.local/share/openeo-python-client/refresh-tokens.json (not there yet)
    openeo clients HOME/.config/openeo-python-client/auth-config.json (not there yet)
    ");
    let paths = machine.json(&["paths", "--json"]);
    let there = paths.as_array().unwrap().iter().filter(|path| path["exists"] == true);
    assert_eq!(there.count(), 4, "{paths}");
}
