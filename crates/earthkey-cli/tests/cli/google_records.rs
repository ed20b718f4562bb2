//! What a Google token depends on: whatever changes, no stale and no other account's token is served.

use std::fs;

use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use serde_json::Value;

use crate::google::ADC;
use crate::google::EARTH_ENGINE;
use crate::google::sign_in;
use crate::machine::Machine;

fn token(machine: &Machine, login: &str) -> String {
    machine.prints(&["token", login])
}

fn change(machine: &Machine, place: &str, change: impl FnOnce(&mut Value)) {
    let mut file: Value = serde_json::from_str(&machine.read(place)).unwrap();
    change(&mut file);
    machine.write(place, &file.to_string());
}

#[test]
fn a_project_that_the_client_writes_is_in_the_next_header() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine", "--project", "one"]).succeeds();
    let first = machine.prints(&["header", "earthengine"]);
    change(&machine, EARTH_ENGINE, |file| file["project"] = "two".into());
    let second = machine.prints(&["header", "earthengine"]);
    assert_eq!(second, first.replace("one", "two"), "the token is as good as before");
    // The quota project of Application Default Credentials comes next in line.
    change(&machine, EARTH_ENGINE, |file| drop(file.as_object_mut().unwrap().remove("project")));
    assert!(!machine.prints(&["header", "earthengine"]).contains("x-goog-user-project"));
    machine.write(ADC, r#"{"quota_project_id": "three"}"#);
    assert!(machine.prints(&["header", "earthengine"]).ends_with("x-goog-user-project: three"));
    assert_eq!(machine.token_requests(Realm::Google, "refresh_token"), 0);
}

#[test]
fn another_account_that_the_client_signed_in_is_the_next_token() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    let adas = token(&machine, "earthengine");
    let adas_file = machine.read(EARTH_ENGINE);
    machine.sign_in_with(&["login", "earthengine/grace", "--no-browser"], &Person::grace()).succeeds();
    let graces = machine.read(".local/state/earthkey/earthengine/grace.json");
    // As the client does it: the file goes, and comes back as another one.
    fs::remove_file(machine.path(EARTH_ENGINE)).unwrap();
    machine.write(EARTH_ENGINE, &graces);
    let second = token(&machine, "earthengine");
    assert_ne!(second, adas);
    machine.write(EARTH_ENGINE, &adas_file);
    assert_ne!(token(&machine, "earthengine"), second);
    // A logout by hand.
    fs::remove_file(machine.path(EARTH_ENGINE)).unwrap();
    machine.fails(&["token", "earthengine"], 3);
}

#[test]
fn a_login_that_appears_or_goes_decides_whose_token_it_is() {
    let machine = Machine::new();
    sign_in(&machine, &["google"]).succeeds();
    let told = machine.run(&["token", "earthengine"]).succeeds();
    assert_eq!(told.stdout.trim_end(), token(&machine, "google"));
    let words = "there is no login in ~/.config/earthengine/credentials; `earthengine` uses \
                 ~/.config/gcloud/application_default_credentials.json\n";
    assert_eq!(told.stderr, words);
    sign_in(&machine, &["earthengine"]).succeeds();
    let own = token(&machine, "earthengine");
    assert_ne!(own, told.stdout.trim_end());
    machine.run(&["logout", "earthengine"]).succeeds();
    assert_eq!(token(&machine, "earthengine"), told.stdout.trim_end());
    machine.run(&["logout", "google"]).succeeds();
    machine.fails(&["token", "earthengine"], 3);
}

#[test]
fn a_project_that_no_header_can_hold_is_left_out_and_told() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    for (place, file) in [(ADC, r#"{"quota_project_id": "p\nX-Evil: injected"}"#), (EARTH_ENGINE, "")] {
        if file.is_empty() {
            change(&machine, place, |file| file["project"] = "../../x?y=1#".into());
        } else {
            machine.write(place, file);
        }
        let ended = machine.run(&["header", "earthengine"]).succeeds();
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        assert!(ended.stderr.contains("is no id of a project"), "{}", ended.stderr);
        machine.fails(&["check", "earthengine"], 6);
    }
    // Nobody is kept from signing out by it.
    machine.run(&["logout", "earthengine"]).succeeds();
}

#[test]
fn a_file_that_stays_torn_is_damaged() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    sign_in(&machine, &["google"]).succeeds();
    for (login, place) in [("earthengine", EARTH_ENGINE), ("google", ADC)] {
        let whole = machine.read(place);
        machine.write(place, "");
        let error = machine.fails(&["token", login, "--refresh"], 7);
        assert!(error.contains("is damaged"), "{error}");
        machine.write(place, &whole);
    }
}

#[test]
fn addresses_in_a_file_of_googles_libraries_are_not_followed() {
    let machine = Machine::new();
    sign_in(&machine, &["google"]).succeeds();
    change(&machine, ADC, |file| {
        file["auth_uri"] = "http://127.0.0.1:1/auth".into();
        file["token_uri"] = "http://127.0.0.1:1/token".into();
    });
    machine.prints(&["token", "google", "--refresh"]);
    assert_eq!(machine.token_requests(Realm::Google, "refresh_token"), 1);
}

#[test]
fn another_login_of_the_client_is_bound_to_nothing_of_the_former() {
    // As after a trial with a sandbox that is gone: what it issued is bound to it, and nothing else.
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    let other = Machine::new();
    sign_in(&other, &["earthengine"]).succeeds();
    machine.write(EARTH_ENGINE, &other.read(EARTH_ENGINE));
    let mut command = machine.command(&["token", "earthengine"]);
    command.env("EARTHKEY_SANDBOX", other.url());
    machine.start(command).end().succeeds();
}

#[test]
fn no_refresh_token_outlives_its_login_in_a_ledger() {
    let machine = Machine::new();
    sign_in(&machine, &["google"]).succeeds();
    machine.prints(&["token", "google", "--refresh"]);
    let file: Value = serde_json::from_str(&machine.read(ADC)).unwrap();
    let token = file["refresh_token"].as_str().unwrap();
    fs::remove_file(machine.path(ADC)).unwrap();
    let is_there = |bytes: &[u8]| bytes.windows(token.len()).any(|part| part == token.as_bytes());
    let kept: Vec<_> = machine.contents().into_iter().filter(|(_, bytes)| is_there(bytes)).collect();
    assert!(kept.is_empty(), "{:?}", kept.iter().map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn variables_decide_whose_token_it_is() {
    let mut machine = Machine::new();
    sign_in(&machine, &["google", "--quota-project", "of-file"]).succeeds();
    let persons = token(&machine, "google");
    machine.write("key.json", &machine.control().service_account_key(None).to_string());
    let key = machine.path("key.json").to_str().unwrap().to_owned();
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", key);
    let robots = token(&machine, "google");
    assert_ne!(robots, persons);
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", "");
    assert_eq!(token(&machine, "google"), persons);
    machine.set("GOOGLE_CLOUD_QUOTA_PROJECT", "of-variable");
    let header = machine.prints(&["header", "google"]);
    assert_eq!(header, format!("Authorization: Bearer {persons}\nx-goog-user-project: of-variable"));
    let elsewhere = machine.path("sdk").to_str().unwrap().to_owned();
    machine.set("CLOUDSDK_CONFIG", elsewhere);
    machine.fails(&["token", "google"], 3);
}

#[test]
fn a_relative_path_means_another_file_in_another_directory() {
    let mut machine = Machine::new();
    for place in ["one/key.json", "two/key.json"] {
        let email = format!("{}@sandbox-project.iam.gserviceaccount.com", &place[..3]);
        machine.write(place, &machine.control().service_account_key(Some(&email)).to_string());
    }
    machine.set("GOOGLE_APPLICATION_CREDENTIALS", "key.json");
    let in_directory = |directory: &str| {
        let mut command = machine.command(&["whoami", "google"]);
        command.current_dir(machine.path(directory));
        let whose = machine.start(command).end().succeeds().stdout;
        let mut command = machine.command(&["token", "google"]);
        command.current_dir(machine.path(directory));
        (whose, machine.start(command).end().succeeds().stdout)
    };
    let (one, two) = (in_directory("one"), in_directory("two"));
    assert!(one.0.starts_with("one@") && two.0.starts_with("two@"), "{one:?} {two:?}");
    assert_ne!(one.1, two.1);
    assert_eq!(in_directory("one"), one);
}
