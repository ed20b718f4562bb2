//! Programs that sign in to Google with the key of a service account.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use earthkey_sandbox::Change;
use earthkey_sandbox::Expiring;
use earthkey_sandbox::Fault;
use earthkey_sandbox::Realm;
use insta::assert_snapshot;
use serde_json::Value;

use crate::google::ADC;
use crate::google::EARTH_ENGINE;
use crate::google::sign_in;
use crate::homes::run_with_permissions;
use crate::machine::Machine;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Puts a key down as a person does who downloaded it, and returns its path.
fn download_key(machine: &Machine, place: &str) -> String {
    machine.write(place, &machine.control().service_account_key(None).to_string());
    machine.path(place).to_str().unwrap().to_owned()
}

fn requests(machine: &Machine) -> usize {
    machine.token_requests(Realm::Google, JWT_BEARER)
}

/// Makes what is said of a key the same on every machine.
fn shown(machine: &Machine, text: &str) -> String {
    text.replace(machine.home().to_str().unwrap(), "HOME")
}

#[test]
fn a_key_that_a_variable_names_serves_every_system() {
    let mut machine = Machine::new();
    let key = download_key(&machine, "keys/key.json");
    let before = machine.read("keys/key.json");
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", key);
    let state = || machine.json(&["status", "google", "--json"])[0]["state"].clone();
    assert_eq!(state(), "ready", "no token was fetched yet");
    for login in ["google", "earthengine", "gemini"] {
        let token = machine.prints(&["token", login]);
        assert_eq!(state(), "valid");
        assert_eq!(machine.prints(&["token", login]), token);
        machine.prints(&["check", login]);
        assert_eq!(machine.prints(&["whoami", login]), "robot@sandbox-project.iam.gserviceaccount.com");
    }
    assert_eq!(requests(&machine), 3, "each has its own scopes");
    let status = machine.json(&["status", "--json"]);
    let [google] = &status.as_array().unwrap()[..] else { panic!("one key, one login") };
    assert_eq!(google["login"], "google");
    assert_eq!(google["state"], "valid");
    assert_eq!(google["flow"], "service-account");
    assert_eq!(machine.read("keys/key.json"), before);
    let beside = fs::read_dir(machine.path("keys")).unwrap().count();
    assert_eq!(beside, 1, "the folder of a key is a person's own");
    // A variable is not ours to change, and hides what is signed in beside it.
    for arguments in [&["logout", "google"][..], &["login", "google", "--flow", "paste"]] {
        let error = machine.fails(arguments, 6);
        assert!(error.contains("unset GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
    }
    assert_eq!(machine.read("keys/key.json"), before);
}

#[test]
fn a_login_by_a_key_remembers_where_it_is_and_a_logout_leaves_it_there() {
    let machine = Machine::new();
    let key = download_key(&machine, "keys/key.json");
    let arguments = ["login", "earthengine", "--flow", "service-account", "--key", &key];
    let ended = machine.run(&arguments).succeeds();
    assert_snapshot!(shown(&machine, &ended.stderr), @"
    ✓ Signed in to earthengine as robot@sandbox-project.iam.gserviceaccount.com
      ~/keys/key.json keeps the login; the access token lasts 60 min, then refreshed by itself
    ");
    assert!(!machine.path(EARTH_ENGINE).exists(), "the key is the login");
    let token = machine.prints(&["token", "earthengine"]);
    assert_eq!(requests(&machine), 1);
    assert_eq!(
        machine.prints(&["header", "earthengine"]),
        format!("Authorization: Bearer {token}\nx-goog-user-project: sandbox-project")
    );
    machine.prints(&["check", "earthengine"]);
    let status = machine.json(&["status", "earthengine", "--json"]);
    assert_eq!(status[0]["home"], key);
    let error = machine.fails(&["logout", "earthengine", "--revoke", "--yes"], 2);
    assert!(error.contains("console.cloud.google.com"), "{error}");
    machine.run(&["logout", "earthengine"]).succeeds();
    machine.fails(&["token", "earthengine"], 3);
    assert!(fs::exists(&key).unwrap());
    assert_eq!(machine.json(&["status", "--json"]), Value::Array(Vec::new()));
    // What is named by its short path is found from everywhere.
    let mut command = machine.command(&["login", "google/robot", "--key", "key.json"]);
    command.current_dir(machine.path("keys"));
    machine.start(command).end().succeeds();
    machine.prints(&["token", "google/robot"]);
}

#[test]
fn a_key_goes_before_the_file_of_a_person_and_a_person_may_take_over() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    let persons = machine.prints(&["token", "earthengine"]);
    let key = download_key(&machine, "key.json");
    let error = machine.fails(&["login", "earthengine", "--key", &key], 3);
    assert!(error.contains("there is a login of a person in ~/.config/earthengine/credentials"), "{error}");
    machine.run(&["login", "earthengine", "--key", &key, "--force"]).succeeds();
    assert_ne!(machine.prints(&["token", "earthengine"]), persons);
    assert_eq!(machine.prints(&["whoami", "earthengine"]), "robot@sandbox-project.iam.gserviceaccount.com");
    sign_in(&machine, &["earthengine", "--flow", "loopback"]).succeeds();
    machine.fails(&["whoami", "earthengine"], 4);
    assert_eq!(machine.json(&["status", "earthengine", "--json"])[0]["flow"], "loopback");
}

#[test]
fn that_a_login_is_borrowed_is_told_once_and_not_while_another_is_made() {
    let machine = Machine::new();
    let told = |arguments: &[&str]| {
        let ended = machine.run(arguments).succeeds();
        ended.stderr.lines().filter(|line| line.starts_with("there is no login in")).count()
    };
    sign_in(&machine, &["google"]).succeeds();
    // As `gcloud` leaves it: nothing is known of whose it is.
    fs::remove_dir_all(machine.path(".local/state/earthkey/ledgers")).unwrap();
    assert_eq!(told(&["whoami", "earthengine"]), 1);
    let key = download_key(&machine, "key.json");
    assert_eq!(told(&["login", "earthengine", "--key", &key]), 0);
}

#[test]
fn a_key_may_lie_where_nothing_can_be_written() {
    let mut machine = Machine::new();
    let key = download_key(&machine, "sealed/key.json");
    fs::set_permissions(machine.path("sealed"), fs::Permissions::from_mode(0o500)).unwrap();
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", key);
    let token = machine.prints(&["token", "google"]);
    assert_ne!(machine.prints(&["token", "google", "--refresh"]), token);
    // Whoever may write everywhere, as root may, has written nothing there either.
    assert_eq!(fs::read_dir(machine.path("sealed")).unwrap().count(), 1);
    fs::set_permissions(machine.path("sealed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_login_by_a_key_is_ended_whatever_has_become_of_the_key() {
    let machine = Machine::new();
    for text in [None, Some("torn")] {
        let key = download_key(&machine, "key.json");
        machine.run(&["login", "google", "--key", &key]).succeeds();
        match text {
            None => fs::remove_file(&key).unwrap(),
            Some(text) => machine.write("key.json", text),
        }
        machine.run(&["logout", "google"]).succeeds();
        assert_eq!(machine.json(&["status", "--json"]), Value::Array(Vec::new()));
    }
    // A key in the place of gcloud's file is no login of ours to remove.
    machine.write(ADC, &machine.control().service_account_key(None).to_string());
    let error = machine.fails(&["logout", "google"], 6);
    assert!(error.contains("is a key, which stays where it is"), "{error}");
}

#[test]
fn the_project_of_a_key_is_the_one_that_was_named_with_it() {
    let machine = Machine::new();
    let key = download_key(&machine, "key.json");
    let project = |login: &str| {
        let header = machine.prints(&["header", login]);
        header.split_once("x-goog-user-project: ").map(|(_, project)| project.to_owned())
    };
    machine.write(ADC, r#"{"quota_project_id": "of-a-person"}"#);
    machine.run(&["login", "earthengine/a", "--key", &key]).succeeds();
    assert_eq!(project("earthengine/a").as_deref(), Some("sandbox-project"), "gcloud's is a person's");
    machine.run(&["login", "earthengine/a", "--key", &key, "--project", "named"]).succeeds();
    assert_eq!(project("earthengine/a").as_deref(), Some("named"));
    machine.run(&["login", "google/b", "--key", &key, "--quota-project", "named"]).succeeds();
    assert_eq!(project("google/b").as_deref(), Some("named"));
    machine.fails(&["login", "google/b", "--key", &key, "--client-id", "x", "--force"], 2);
}

#[test]
fn a_key_of_another_server_leaves_nothing_beside_it_and_survives_refresh_tokens() {
    let machine = Machine::new();
    let mut key = machine.control().service_account_key(None);
    key["token_uri"] = format!("{}/elsewhere", machine.url()).into();
    machine.write("keys/key.json", &key.to_string());
    let path = machine.path("keys/key.json").to_str().unwrap().to_owned();
    let body = r#"{"access_token": "ya29.elsewhere", "expires_in": 1, "refresh_token": "foreign-one"}"#;
    let fault =
        Fault { path: "/elsewhere".into(), body: Some(body.into()), times: Some(9), ..Fault::default() };
    machine.control().add_fault(fault).unwrap();
    machine.run(&["login", "google/far", "--key", &path]).succeeds();
    for _ in 0..2 {
        machine.prints(&["token", "google/far", "--refresh"]);
    }
    assert_eq!(fs::read_dir(machine.path("keys")).unwrap().count(), 1);
    assert_eq!(machine.read("keys/key.json"), key.to_string());
}

#[test]
fn those_who_wait_for_a_refused_key_are_refused_with_it() {
    let machine = Machine::new();
    let key = download_key(&machine, "key.json");
    machine.run(&["login", "google/many", "--key", &key]).succeeds();
    machine.control().expire(Realm::Google, Expiring::Keys);
    let slow = Fault { delay_ms: 1000, ..Fault::at("/google/oauth2.googleapis.com/token") };
    machine.control().add_fault(slow).unwrap();
    let before = requests(&machine);
    let running: Vec<_> =
        (0..4).map(|_| machine.start(machine.command(&["token", "google/many", "--refresh"]))).collect();
    for running in running {
        let error = running.end().fails(4);
        assert!(error.contains("is not accepted\n") && error.contains("hint: it was deleted"), "{error}");
    }
    assert_eq!(requests(&machine) - before, 1);
}

#[test]
fn a_clock_that_is_wrong_is_told_of_and_not_remembered() {
    let mut machine = Machine::new();
    let key = download_key(&machine, "key.json");
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", key);
    for (offset, way) in [(3600, "behind"), (-3600, "ahead of")] {
        let change = Change { clock_offset: Some(offset), ..Change::default() };
        machine.control().settings(Realm::Google, &change);
        let error = machine.fails(&["token", "google"], 4);
        assert!(
            error.starts_with("error: this machine's clock is wrong, so what it signs is not accepted\n"),
            "{error}"
        );
        assert!(error.contains(&format!("seconds {way} the provider's; set it")), "{error}");
    }
    let change = Change { clock_offset: Some(0), ..Change::default() };
    machine.control().settings(Realm::Google, &change);
    machine.prints(&["token", "google"]);
}

#[test]
fn a_key_that_is_not_accepted_any_more_is_told_of() {
    let machine = Machine::new();
    let key = download_key(&machine, "key.json");
    machine.run(&["login", "google", "--flow", "service-account", "--key", &key]).succeeds();
    machine.control().expire(Realm::Google, Expiring::Keys);
    let error = machine.fails(&["token", "google", "--refresh"], 4);
    assert_snapshot!(shown(&machine, &error), @"
    error: the key of `robot@sandbox-project.iam.gserviceaccount.com` is not accepted
    caused by: invalid_grant: Invalid JWT Signature.
    credential: `google` from ~/key.json

    hint: it was deleted or replaced; make a new key for the account, and name its file in place of this one
    ");
    // Another account's key in its place.
    let mut other =
        machine.control().service_account_key(Some("other@sandbox-project.iam.gserviceaccount.com"));
    let mine = machine.control().service_account_key(None);
    other["private_key"] = mine["private_key"].clone();
    machine.write("key.json", &other.to_string());
    let error = machine.fails(&["token", "google"], 4);
    assert!(
        error.starts_with(
            "error: the key of `other@sandbox-project.iam.gserviceaccount.com` is not accepted\n"
        ),
        "{error}"
    );
    machine.write("key.json", &machine.control().service_account_key(None).to_string());
    machine.prints(&["token", "google"]);
}

#[test]
fn keys_that_cannot_be_used_are_told_of() {
    let mut machine = Machine::new();
    let good = machine.control().service_account_key(None);
    let path = machine.path("key.json").to_str().unwrap().to_owned();
    let login = ["login", "google", "--flow", "service-account", "--key", &path];
    let told = |text: &str| {
        machine.write("key.json", text);
        shown(&machine, &machine.fails(&login, 7))
    };
    assert_snapshot!(told("{\"private_key\": \"-----BEGIN"), @"
    error: `HOME/key.json` is no key of a service account that can be used
    caused by: it is no JSON object (line 1, column 27)

    hint: make a new key for the account and download it as JSON
    ");
    assert_snapshot!(told(&machine.control().client_file().to_string()), @"
    error: `HOME/key.json` is no key of a service account that can be used
    caused by: it is the file of a client, which signs a person in

    hint: sign in with it: `earthkey login google --client-id-file HOME/key.json`
    ");
    let mut broken = good.clone();
    broken["private_key"] = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n".into();
    assert_snapshot!(told(&broken.to_string()), @"
    error: `HOME/key.json` cannot be used to sign
    caused by: `private_key` is no RSA key in PEM with at least 2048 bits
    credential: `google` from ~/key.json

    hint: make a new key for the account and download it as JSON
    ");
    broken.as_object_mut().unwrap().remove("private_key");
    let error = told(&broken.to_string());
    assert!(error.contains("caused by: `private_key` is missing\n"), "{error}");
    fs::remove_file(&path).unwrap();
    machine.fails(&login, 6);
    machine.fails(&["login", "google", "--key", "-"], 2);
    machine.fails(&["login", "google", "--key", &path, "--quiet"], 2);
    machine.fails(&["login", "google", "--flow", "service-account"], 2);
    machine.fails(&["login", "google", "--flow", "paste", "--key", &path], 2);
    assert!(!machine.path(".config/earthkey/config.toml").exists(), "what does not work is not remembered");
    assert_eq!(machine.control().requests(None), []);
    // A variable that leads nowhere leads to no other account.
    sign_in(&machine, &["google"]).succeeds();
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", path);
    let error = machine.fails(&["token", "google"], 6);
    assert!(
        error.starts_with("error: `GOOGLE_APPLICATION_CREDENTIALS` names a file that is not there\n"),
        "{error}"
    );
    assert!(error.contains("`unset GOOGLE_APPLICATION_CREDENTIALS`"), "{error}");
    assert!(machine.path(ADC).exists());
}

/// Whatever is wrong with the file that a variable names, doing without the variable is one way out.
#[test]
fn a_variable_that_names_what_cannot_be_used_is_named() {
    let mut machine = Machine::new();
    let path = machine.path("named.json").to_str().unwrap().to_owned();
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", path.clone());
    let fails = |text: &str, code: i32| {
        machine.write("named.json", text);
        for login in ["google", "earthengine", "gemini"] {
            let error = machine.fails(&["token", login], code);
            assert!(error.contains("`unset GOOGLE_APPLICATION_CREDENTIALS`"), "{error}");
            assert_eq!(machine.run(&["status"]).code(), 0);
        }
        shown(&machine, &machine.fails(&["token", "google"], code))
    };
    assert_snapshot!(fails("no JSON at all", 7), @"
    error: `HOME/named.json` is damaged
    caused by: it is no JSON object (line 1, column 2)

    hint: look at the file; to sign in anew, move it away first: `mv HOME/named.json HOME/named.json.damaged`
    hint: `GOOGLE_APPLICATION_CREDENTIALS` names this file; do without it: `unset GOOGLE_APPLICATION_CREDENTIALS`
    ");
    assert_snapshot!(fails("{}", 7), @"
    error: `HOME/named.json` is damaged
    caused by: its `type` is not `authorized_user`

    hint: look at the file; to sign in anew, move it away first: `mv HOME/named.json HOME/named.json.damaged`
    hint: `GOOGLE_APPLICATION_CREDENTIALS` names this file; do without it: `unset GOOGLE_APPLICATION_CREDENTIALS`
    ");
    assert_snapshot!(fails(r#"{"type": "service_account"}"#, 7), @"
    error: `HOME/named.json` is no key of a service account that can be used
    caused by: `client_email` is missing

    hint: make a new key for the account and download it as JSON
    hint: `GOOGLE_APPLICATION_CREDENTIALS` names this file; do without it: `unset GOOGLE_APPLICATION_CREDENTIALS`
    ");
    assert_snapshot!(fails(r#"{"type": "external_account"}"#, 6), @"
    error: credentials of type `external_account` cannot be used yet
    credential: `google` from HOME/named.json

    hint: use a service account's key, or a login of a person: `earthkey login google`
    hint: `GOOGLE_APPLICATION_CREDENTIALS` names this file; do without it: `unset GOOGLE_APPLICATION_CREDENTIALS`
    ");
    assert_snapshot!(fails(&machine.control().client_file().to_string(), 6), @"
    error: `HOME/named.json` is no login by itself
    caused by: it is the file of a client, which signs a person in

    hint: sign in with it: `earthkey login google --client-id-file HOME/named.json`
    hint: `GOOGLE_APPLICATION_CREDENTIALS` names this file; do without it: `unset GOOGLE_APPLICATION_CREDENTIALS`
    ");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let error = run_with_permissions(&machine, &["token", "google"]).fails(7);
    assert!(error.contains("`unset GOOGLE_APPLICATION_CREDENTIALS`"), "{error}");
}

/// A client, a key and a person's login all are JSON files of Google's.
#[test]
fn a_file_that_was_taken_for_another_is_told_of_with_what_it_is_good_for() {
    let machine = Machine::new();
    let path = |place: &str| machine.path(place).to_str().unwrap().to_owned();
    machine.write("client_secret.json", &machine.control().client_file().to_string());
    machine.write("key.json", &machine.control().service_account_key(None).to_string());
    machine.write("adc.json", r#"{"type": "authorized_user", "client_id": "c", "refresh_token": "r"}"#);
    let fails = |option: &str, place: &str, code: i32| {
        shown(&machine, &machine.fails(&["login", "gemini", option, &path(place)], code))
    };
    assert_snapshot!(fails("--key", "client_secret.json", 7), @"
    error: `HOME/client_secret.json` is no key of a service account that can be used
    caused by: it is the file of a client, which signs a person in

    hint: sign in with it: `earthkey login gemini --client-id-file HOME/client_secret.json`
    ");
    assert_snapshot!(fails("--key", "adc.json", 7), @"
    error: `HOME/adc.json` is no key of a service account that can be used
    caused by: it is a login of a person, as `gcloud` keeps it

    hint: use it as it is: `export GOOGLE_APPLICATION_CREDENTIALS=HOME/adc.json`
    ");
    assert_snapshot!(fails("--client-id-file", "adc.json", 6), @"
    error: `HOME/adc.json` is no client file that can be used
    caused by: it is a login of a person, as `gcloud` keeps it

    hint: use it as it is: `export GOOGLE_APPLICATION_CREDENTIALS=HOME/adc.json`
    ");
    assert_snapshot!(fails("--client-id-file", "key.json", 6), @"
    error: `HOME/key.json` is no client file that can be used
    caused by: it is the key of a service account

    hint: sign in with it: `earthkey login gemini --key HOME/key.json`
    ");
}

#[test]
fn real_keys_and_sandboxes_do_not_meet() {
    let mut machine = Machine::new();
    let mut key = machine.control().service_account_key(None);
    let path = download_key(&machine, "key.json");
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", path);
    machine.prints(&["token", "google"]);
    key["private_key_id"] = "0123456789abcdef".into();
    machine.write("key.json", &key.to_string());
    machine.control().clear_requests();
    let error = machine.fails(&["token", "google"], 6);
    assert!(error.contains("caused by: it was not issued by a sandbox, and the address is one\n"), "{error}");
    assert_eq!(machine.control().requests(None), []);
    let mut outside = Machine::without_sandbox();
    outside.write("key.json", &machine.control().service_account_key(None).to_string());
    outside.set("GOOGLE_APPLICATION_CREDENTIALS", outside.path("key.json").to_str().unwrap());
    let error = outside.fails(&["token", "google"], 6);
    assert!(error.contains("it was issued by a sandbox and goes to sandboxes only"), "{error}");
}
