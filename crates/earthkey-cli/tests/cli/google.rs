//! People who sign in to Google: Earth Engine, Application Default Credentials, Gemini.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use earthkey_sandbox::Change;
use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::Value;
use url::Url;

use crate::machine::Ended;
use crate::machine::Machine;
use crate::machine::eventually;
use crate::machine::visit;

pub(crate) const EARTH_ENGINE: &str = ".config/earthengine/credentials";
pub(crate) const ADC: &str = ".config/gcloud/application_default_credentials.json";
pub(crate) const GEMINI: &str = ".local/state/earthkey/gemini/default.json";

/// Signs in with a browser of this machine that a person opens by hand.
pub(crate) fn sign_in(machine: &Machine, arguments: &[&str]) -> Ended {
    sign_in_as(machine, arguments, &Person::ada())
}

pub(crate) fn sign_in_as(machine: &Machine, arguments: &[&str], person: &Person) -> Ended {
    machine.sign_in_with(&[&["login"], arguments, &["--no-browser"]].concat(), person)
}

/// Signs in by a page that is printed now, and what the browser ended at later.
pub(crate) fn in_two_steps(machine: &Machine, arguments: &[&str]) -> Ended {
    let begun = machine.json(&[&["login"], arguments, &["--quiet", "--json"]].concat());
    let page = begun["url"].as_str().unwrap().parse().unwrap();
    let ended_at = visit(&Person::ada().stopping_at_foreign_redirect(), &page).last_redirect.unwrap();
    machine.run_with_input(&["login", arguments[0], "--finish"], ended_at.as_str())
}

/// Puts down the client's file as Google's console hands it out.
pub(crate) fn download_client(machine: &Machine) -> String {
    machine.write("client_secret.json", &machine.control().client_file().to_string());
    machine.path("client_secret.json").to_str().unwrap().to_owned()
}

pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Returns what a login says of itself, without what is of the moment.
fn words(ended: &Ended) -> String {
    let words = ended.stderr.lines().filter(|line| !line.contains("http://"));
    words.collect::<Vec<_>>().join("\n")
}

fn refreshes(machine: &Machine) -> usize {
    machine.token_requests(Realm::Google, "refresh_token")
}

#[test]
fn earth_engine_by_a_browser() {
    let machine = Machine::new();
    let ended = sign_in(&machine, &["earthengine", "--project", "my-project"]).succeeds();
    assert_eq!(ended.stdout, "", "standard output is for data alone");
    assert_snapshot!(words(&ended), @"
    The client 517222506229-vsmmajv00ul0bs7p89v5m89qs8eb9359.apps.googleusercontent.com asks for https://www.googleapis.com/auth/earthengine https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/drive https://www.googleapis.com/auth/devstorage.full_control
    Visit
    ✓ Signed in to earthengine
      ~/.config/earthengine/credentials keeps the login; the access token lasts 60 min, then refreshed by itself
    ");
    let file = machine.read(EARTH_ENGINE);
    let token = parsed(&file)["refresh_token"].as_str().unwrap().to_owned();
    assert_snapshot!(file.replace(&token, "TOKEN"), @r#"
    {"refresh_token": "TOKEN", "scopes": ["https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/drive", "https://www.googleapis.com/auth/devstorage.full_control"], "project": "my-project"}
    "#);
    // The answer of the sign-in is the first token.
    let token = machine.prints(&["token", "earthengine"]);
    assert_eq!(machine.prints(&["token", "earthengine"]), token);
    assert_eq!(refreshes(&machine), 0);
    assert_eq!(
        machine.prints(&["header", "earthengine"]),
        format!("Authorization: Bearer {token}\nx-goog-user-project: my-project")
    );
    assert_ne!(machine.prints(&["token", "earthengine", "--refresh"]), token);
    assert_eq!(refreshes(&machine), 1);
    assert_eq!(machine.read(EARTH_ENGINE), file, "Google replaces no refresh tokens");
    let called = "google/earthengine.googleapis.com/v1/projects/my-project/algorithms";
    let checked = machine.json(&["check", "earthengine", "--json"]);
    assert_eq!(checked["called"], format!("{}/{called}", machine.url()));
    assert!(checked["found"].as_str().unwrap().ends_with(", project my-project"), "{checked}");
    let requests = machine.control().requests(Some(&format!("/{called}")));
    assert_eq!(requests.last().unwrap().quota_project.as_deref(), Some("my-project"));
}

#[test]
fn the_browser_of_this_machine_is_opened_and_its_cookie_wanted() {
    let mut machine = Machine::new();
    let (browser, record) = (machine.path("browser"), machine.path("visited"));
    let script = format!("#!/bin/sh\nprintf '%s' \"$1\" >{0}.new && mv {0}.new {0}\n", record.display());
    fs::write(&browser, script).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o700)).unwrap();
    machine.set("BROWSER", browser.to_str().unwrap());
    for login in ["earthengine", "google"] {
        let _ = fs::remove_file(&record);
        let running = machine.start(machine.command(&["login", login]));
        let opened = eventually("a browser", || fs::read_to_string(&record).ok());
        let page: Url = opened.parse().unwrap();
        // A provider knows the client by this name; what the browser is given holds no secret.
        assert_eq!(page.host_str(), Some("localhost"));
        assert!(page.path().starts_with("/start/") && page.query().is_none(), "{page}");
        let visited = visit(&Person::ada(), &page);
        let ended = running.end().succeeds();
        assert!(ended.stderr.contains("A browser is being opened"), "{}", ended.stderr);
        assert!(visited.text.contains("terminal") && visited.url.query().is_none(), "{}", visited.text);
    }
}

#[test]
fn a_login_that_is_borrowed_is_not_ended() {
    let machine = Machine::new();
    let client = download_client(&machine);
    sign_in(&machine, &["google"]).succeeds();
    for login in ["earthengine", "gemini"] {
        machine.prints(&["token", login]);
        for arguments in [&["logout", login][..], &["logout", login, "--revoke", "--yes"]] {
            let ended = machine.run(arguments).succeeds();
            assert!(ended.stderr.contains("the one of `google` stays"), "{}", ended.stderr);
        }
    }
    assert!(machine.path(ADC).exists());
    machine.prints(&["token", "google", "--refresh"]);
    // What is one's own is ended, once.
    sign_in(&machine, &["gemini", "--client-id-file", &client]).succeeds();
    for _ in 0..2 {
        machine.run(&["logout", "gemini"]).succeeds();
    }
    assert!(!machine.path(GEMINI).exists() && machine.path(ADC).exists());
}

#[test]
fn a_client_that_was_named_is_used_again() {
    let machine = Machine::new();
    let client = download_client(&machine);
    for (login, file) in [("earthengine", EARTH_ENGINE), ("google", ADC)] {
        sign_in(&machine, &[login, "--client-id-file", &client]).succeeds();
        let id = parsed(&machine.read(file))["client_id"].clone();
        assert!(id.as_str().unwrap().starts_with("424242424242-"), "{id}");
        sign_in(&machine, &[login]).succeeds();
        assert_eq!(parsed(&machine.read(file))["client_id"], id);
    }
    // One that the system's own client put there is not: no browser of ours may come back to it.
    let mut file = parsed(&machine.read(EARTH_ENGINE));
    file["client_id"] = "4242-of-a-notebook".into();
    machine.write(EARTH_ENGINE, &file.to_string());
    let ended = sign_in(&machine, &["earthengine"]).succeeds();
    assert!(ended.stderr.contains("The client 517222506229-"), "{}", ended.stderr);
}

#[test]
fn a_sign_in_keeps_what_a_person_keeps_in_earth_engines_file_and_a_logout_too() {
    let machine = Machine::new();
    machine.write(EARTH_ENGINE, r#"{"project": "kept", "url": "https://ee.test", "client_id": "old"}"#);
    sign_in(&machine, &["earthengine"]).succeeds();
    let file = parsed(&machine.read(EARTH_ENGINE));
    assert_eq!((file["project"].as_str(), file["url"].as_str()), (Some("kept"), Some("https://ee.test")));
    assert_eq!(file["client_id"], Value::Null, "the client takes its own id for granted");
    assert_eq!(file["scopes"].as_array().unwrap().len(), 4);
    assert!(machine.prints(&["header", "earthengine"]).ends_with("x-goog-user-project: kept"));
    machine.run(&["logout", "earthengine"]).succeeds();
    assert_eq!(machine.read(EARTH_ENGINE), r#"{"project": "kept", "url": "https://ee.test"}"#);
    machine.fails(&["token", "earthengine"], 3);
}

#[test]
fn nothing_of_ours_is_left_beside_googles_files() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    sign_in(&machine, &["google"]).succeeds();
    machine.prints(&["token", "earthengine", "--refresh"]);
    machine.prints(&["token", "google", "--refresh"]);
    let files = machine.files();
    let beside: Vec<_> = files.keys().filter(|path| path.starts_with(".config/earthengine")).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    let beside: Vec<_> = files.keys().filter(|path| path.starts_with(".config/gcloud")).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
}

#[test]
fn a_port_that_is_taken_means_the_next_unless_it_was_named() {
    let machine = Machine::new();
    // Taken by us, or by another test that signs in at this moment.
    let _taken = TcpListener::bind(("127.0.0.1", 8085));
    let ended = sign_in(&machine, &["earthengine"]).succeeds();
    assert!(ended.stderr.contains("redirect_uri=http%3A%2F%2Flocalhost%3A"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("localhost%3A8085"), "{}", ended.stderr);
    let error = machine.fails(&["login", "earthengine", "--flow", "loopback:8085"], 6);
    assert!(error.contains("port 8085 of this machine cannot be used"), "{error}");
    sign_in(&machine, &["earthengine", "--flow", "loopback:0"]).succeeds();
}

#[test]
fn application_default_credentials_as_gcloud_writes_them() {
    let machine = Machine::new();
    let ended = sign_in(&machine, &["google", "--quota-project", "my-project"]).succeeds();
    assert_snapshot!(words(&ended), @"
    The client 764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com asks for openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/sqlservice.login
    Visit
    ✓ Signed in to google as ada@sandbox.test
      ~/.config/gcloud/application_default_credentials.json keeps the login; the access token lasts 60 min, then refreshed by itself
    ");
    let file = machine.read(ADC);
    let token = parsed(&file)["refresh_token"].as_str().unwrap().to_owned();
    assert_snapshot!(file.replace(&token, "TOKEN"), @r#"
    {
      "account": "",
      "client_id": "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
      "client_secret": "d-FL95Q19q7MQmFpd7hHD0Ty",
      "quota_project_id": "my-project",
      "refresh_token": "TOKEN",
      "type": "authorized_user",
      "universe_domain": "googleapis.com"
    }
    "#);
    assert_eq!(machine.prints(&["whoami", "google"]), "ada@sandbox.test");
    assert!(machine.prints(&["header", "google"]).ends_with("\nx-goog-user-project: my-project"));
    let checked = machine.json(&["check", "google", "--json"]);
    assert_eq!(
        (checked["account"].as_str(), checked["found"].as_str()),
        (Some("ada@sandbox.test"), Some("4 scopes"))
    );
    // Another sign-in keeps the project until it is told not to.
    sign_in(&machine, &["google"]).succeeds();
    assert_eq!(parsed(&machine.read(ADC))["quota_project_id"], "my-project");
    sign_in(&machine, &["google", "--no-quota-project"]).succeeds();
    assert_eq!(parsed(&machine.read(ADC))["quota_project_id"], Value::Null);
    machine.run(&["logout", "google"]).succeeds();
    assert!(!machine.path(ADC).exists());
}

#[test]
fn gcloud_may_keep_its_files_elsewhere() {
    let mut machine = Machine::new();
    let folder = machine.path("sdk").to_str().unwrap().to_owned();
    machine.set("CLOUDSDK_CONFIG", folder);
    sign_in(&machine, &["google"]).succeeds();
    assert_eq!(parsed(&machine.read("sdk/application_default_credentials.json"))["type"], "authorized_user");
    assert!(!machine.path(ADC).exists());
}

#[test]
fn gemini_with_a_client_of_ones_own() {
    let machine = Machine::new();
    let client = download_client(&machine);
    assert_snapshot!(machine.fails(&["login", "gemini"], 6), @"
    error: `gemini` needs a client of your own
    caused by: Google blocks its tools' own clients for this system's scopes

    hint: make a client of type `Desktop app`: https://console.cloud.google.com/auth/clients
    hint: then name its file: `earthkey login gemini --client-id-file client_secret.json`
    ");
    let ended = sign_in(&machine, &["gemini", "--client-id-file", &client]).succeeds();
    assert_snapshot!(words(&ended), @"
    The client 424242424242-sandbox.apps.googleusercontent.com asks for https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/generative-language.retriever
    Visit
    ✓ Signed in to gemini
      ~/.local/state/earthkey/gemini/default.json keeps the login; the access token lasts 60 min, then refreshed by itself
    ");
    let file = machine.read(GEMINI);
    let token = parsed(&file)["refresh_token"].as_str().unwrap().to_owned();
    assert_snapshot!(file.replace(&token, "TOKEN").replace("sandbox-secret", "SECRET"), @r#"
    {
      "account": "",
      "auth_uri": "https://accounts.google.com/o/oauth2/auth",
      "client_id": "424242424242-sandbox.apps.googleusercontent.com",
      "client_secret": "SECRET",
      "quota_project_id": "sandbox-project",
      "refresh_token": "TOKEN",
      "scopes": [
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/generative-language.retriever"
      ],
      "token_uri": "https://oauth2.googleapis.com/token",
      "type": "authorized_user",
      "universe_domain": "googleapis.com"
    }
    "#);
    let token = machine.prints(&["token", "gemini"]);
    assert_eq!(
        machine.prints(&["header", "gemini"]),
        format!("Authorization: Bearer {token}\nx-goog-user-project: sandbox-project")
    );
    let headers = machine.json(&["header", "gemini", "--json"])["headers"].clone();
    assert_eq!(headers["x-goog-user-project"], "sandbox-project");
    machine.prints(&["check", "gemini"]);
    let models = "/google/generativelanguage.googleapis.com/v1/models";
    let requests = machine.control().requests(Some(models));
    assert_eq!(requests[0].quota_project.as_deref(), Some("sandbox-project"));
    // The client is known now.
    sign_in(&machine, &["gemini"]).succeeds();
    assert_eq!(parsed(&machine.read(GEMINI))["quota_project_id"], "sandbox-project");
    assert_ne!(machine.prints(&["token", "gemini", "--refresh"]), token);
}

#[test]
fn a_refresh_token_that_one_has() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine/first"]).succeeds();
    let file = parsed(&machine.read(".local/state/earthkey/earthengine/first.json"));
    let token = file["refresh_token"].as_str().unwrap();
    machine.run_with_input(&["login", "earthengine", "--flow", "refresh"], token).succeeds();
    assert_eq!(parsed(&machine.read(EARTH_ENGINE))["refresh_token"], token);
    machine.prints(&["token", "earthengine"]);
    let before = machine.read(EARTH_ENGINE);
    machine.run_with_input(&["login", "earthengine", "--flow", "refresh"], "sandbox-unknown").fails(4);
    assert_eq!(machine.read(EARTH_ENGINE), before);
}

#[test]
fn a_refresh_token_that_was_only_tried_is_not_kept() {
    let mut machine = Machine::new();
    // Nobody listens there.
    machine.set("EARTHKEY_SANDBOX", "http://127.0.0.1:9");
    for login in ["google", "earthscope"] {
        machine.run_with_input(&["login", login, "--flow", "refresh"], "sandbox-tried").fails(5);
        let kept = machine
            .contents()
            .into_iter()
            .find(|(_, bytes)| String::from_utf8_lossy(bytes).contains("sandbox-tried"));
        assert!(kept.is_none(), "{login}: {kept:?}");
    }
}

#[test]
fn gemini_says_so_where_no_project_is_kept() {
    let machine = Machine::new();
    let client = download_client(&machine);
    sign_in(&machine, &["gemini", "--client-id-file", &client, "--no-quota-project"]).succeeds();
    assert!(!machine.prints(&["header", "gemini"]).contains("x-goog-user-project"));
    assert_snapshot!(machine.fails(&["check", "gemini"], 6), @"
    error: gemini needs a project that its requests are counted for
    caused by: status 403: Your application is authenticating by using local Application Default Credentials. The generativelanguage.googleapis.com API requires a quota project, which is not set by default. To learn how to set your quota project, see https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds .
    credential: `gemini` from ~/.local/state/earthkey/gemini/default.json

    hint: name one: `earthkey login gemini --quota-project P`
    hint: or for one shell: `export GOOGLE_CLOUD_QUOTA_PROJECT=P`
    ");
    machine.prints(&["check", "gemini", "--project", "my-project"]);
    // Where the login is borrowed, the project belongs to the one that it is borrowed from.
    machine.run(&["logout", "gemini"]).succeeds();
    let retriever = "https://www.googleapis.com/auth/generative-language.retriever";
    let scopes = format!("openid,https://www.googleapis.com/auth/cloud-platform,{retriever}");
    sign_in(&machine, &["google", "--client-id-file", &client, "--scopes", &scopes]).succeeds();
    let error = machine.fails(&["check", "gemini"], 6);
    assert!(error.contains("hint: name one: `earthkey login google --quota-project P`\n"), "{error}");
}

#[test]
fn client_files_that_cannot_be_used_are_told_of() {
    let machine = Machine::new();
    let client = machine.control().client_file();
    let told = |text: &str| {
        machine.write("client.json", text);
        let path = machine.path("client.json");
        let arguments = ["login", "gemini", "--client-id-file", path.to_str().unwrap(), "--flow", "paste"];
        machine.fails(&arguments, 6).replace(machine.home().to_str().unwrap(), "HOME")
    };
    let web = client.to_string().replacen("installed", "web", 1);
    assert_snapshot!(told(&web), @"
    error: `HOME/client.json` is no client file that can be used
    caused by: it is of a client of type `Web application`, whose browsers do not come back to this machine

    hint: download the file of a client of type `Desktop app`: https://console.cloud.google.com/auth/clients
    ");
    let mut without = client.clone();
    without["installed"].as_object_mut().unwrap().remove("client_secret");
    assert_snapshot!(told(&without.to_string()), @"
    error: `HOME/client.json` is no client file that can be used
    caused by: `client_secret` is missing

    hint: download the file of a client of type `Desktop app`: https://console.cloud.google.com/auth/clients
    ");
    assert_snapshot!(told("{\"installed\": {\"client_secret\": \"sandbox-sec"), @"
    error: `HOME/client.json` is no client file that can be used
    caused by: it is no JSON object (line 1, column 44)

    hint: download the file of a client of type `Desktop app`: https://console.cloud.google.com/auth/clients
    ");
    let error = machine.fails(&["login", "gemini", "--client-id-file", "/nowhere.json"], 6);
    assert!(error.starts_with("error: there is no client file `/nowhere.json`"), "{error}");
    assert_eq!(machine.control().requests(None), []);
}

#[test]
fn a_page_now_and_its_end_later() {
    let machine = Machine::new();
    let client = download_client(&machine);
    for arguments in [
        &["earthengine", "--project", "my-project"][..],
        &["google", "--quota-project", "my-project"],
        &["gemini", "--client-id-file", &client],
    ] {
        in_two_steps(&machine, arguments).succeeds();
        let project = if arguments[0] == "gemini" { "sandbox-project" } else { "my-project" };
        let header = machine.prints(&["header", arguments[0]]);
        assert!(header.ends_with(&format!("x-goog-user-project: {project}")), "{header}");
    }
}

#[test]
fn what_a_person_does_not_tick_is_told_and_not_asked_for_again() {
    let machine = Machine::new();
    let untick = |scopes: &[&str]| {
        let withheld =
            scopes.iter().map(|scope| format!("https://www.googleapis.com/auth/{scope}")).collect();
        let change = Change { withheld_scopes: Some(withheld), ..Change::default() };
        machine.control().settings(Realm::Google, &change);
    };
    untick(&["earthengine"]);
    let error = sign_in(&machine, &["earthengine"]).fails(4);
    assert_snapshot!(error, @"
    error: the sign-in does not grant what `earthengine` is about
    caused by: `https://www.googleapis.com/auth/earthengine` was left out

    hint: nothing was stored; sign in again and tick it: `earthkey login earthengine --no-browser`
    ");
    assert!(!machine.path(EARTH_ENGINE).exists(), "nothing was stored");
    untick(&["drive"]);
    let ended = sign_in(&machine, &["earthengine"]).succeeds();
    assert!(
        ended.stderr.contains("warning: not granted: https://www.googleapis.com/auth/drive\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(parsed(&machine.read(EARTH_ENGINE))["scopes"].as_array().unwrap().len(), 3);
    // With the scope that was not granted, Google would refuse the refresh.
    machine.prints(&["token", "earthengine", "--refresh"]);
}

#[test]
fn what_google_refuses_is_told_by_its_kind() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    let settings = |change: Change| machine.control().settings(Realm::Google, &change);
    settings(Change { reauthentication: Some(true), ..Change::default() });
    assert_snapshot!(machine.fails(&["token", "earthengine", "--refresh"], 4), @"
    error: the person's organisation wants a new sign-in
    caused by: invalid_grant: reauth related error (invalid_rapt)
    credential: `earthengine` from ~/.config/earthengine/credentials

    hint: it asks for one every so often; sign in: `earthkey login earthengine`
    ");
    settings(Change { reauthentication: Some(false), ..Change::default() });
    machine.prints(&["token", "earthengine", "--refresh"]);
    machine.control().revoke(Realm::Google, None);
    assert_snapshot!(machine.fails(&["token", "earthengine", "--refresh"], 4), @"
    error: the provider does not accept the refresh token any more
    caused by: invalid_grant: Token has been expired or revoked.
    credential: `earthengine` from ~/.config/earthengine/credentials

    hint: sign in: `earthkey login earthengine`
    hint: Google ends logins after 7 days where the client's consent screen is in testing; a person or an administrator may have ended it, too
    ");
    let error = sign_in_as(&machine, &["google"], &Person::ada().denying()).fails(4);
    assert!(error.starts_with("error: the sign-in was denied"), "{error}");
}

#[test]
fn a_revocation_ends_every_login_of_the_account_by_the_same_client() {
    let machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    sign_in(&machine, &["earthengine/second"]).succeeds();
    sign_in(&machine, &["google"]).succeeds();
    let error = machine.fails(&["logout", "earthengine", "--revoke"], 3);
    assert!(error.contains("--revoke --yes"), "{error}");
    machine.run(&["logout", "earthengine", "--revoke", "--yes"]).succeeds();
    machine.fails(&["token", "earthengine/second", "--refresh"], 4);
    machine.prints(&["token", "google", "--refresh"]);
}

#[test]
fn options_of_another_system_are_no_mystery() {
    let machine = Machine::new();
    for (arguments, told) in [
        (&["google", "--project", "p"][..], "google keeps no project"),
        (&["earthengine", "--quota-project", "p"], "Earth Engine has one project"),
        (&["earthscope", "--project", "p"], "--project means nothing to earthscope"),
        (&["oidc", "--key", "/k.json"], "--key means nothing to oidc"),
        (&["google", "https://accounts.google.com"], "an address means nothing to google"),
        (&["earthengine", "--flow", "device"], "earthengine has no flow `device`"),
        (&["google", "--client-id", "42-x"], "Google wants the secret of a client, too"),
    ] {
        let error = machine.fails(&[&["login"], arguments].concat(), 2);
        assert!(error.starts_with(&format!("error: {told}\n")), "{error}");
    }
    for project in ["a b", "p\r\nX-Evil: 1", "ä", ".."] {
        machine.fails(&["login", "earthengine", "--project", project, "--flow", "paste"], 6);
        machine.fails(&["login", "google", "--quota-project", project, "--flow", "paste"], 6);
    }
    machine.fails(&["token", "google", "--audience", "a"], 2);
    for login in ["oidc", "google"] {
        let error = machine.fails(&["check", login, "--project", "p"], 2);
        assert!(error.contains("asks for nothing of a project"), "{error}");
    }
    let error = machine.fails(&["token", "gemini"], 3);
    assert!(error.contains("earthkey login gemini --client-id-file client_secret.json"), "{error}");
}

/// Whose quota a request is counted for is not left to be guessed.
#[test]
fn the_project_is_told_with_where_it_is_from_or_that_there_is_none() {
    let mut machine = Machine::new();
    sign_in(&machine, &["earthengine"]).succeeds();
    let without = machine.run(&["header", "earthengine"]).succeeds();
    assert_eq!(without.stdout.lines().count(), 1);
    assert_snapshot!(without.stderr.trim_end(), @"
    warning: Earth Engine wants a project, and none is known; keep one with the login: `earthkey login earthengine --project P`, or without signing in again by its own client: `earthengine set_project P`
    ");
    let told = |machine: &Machine, login: &str| {
        let ended = machine.run(&["header", login, "--refresh", "-v"]).succeeds();
        let lines = ended.stderr.lines().filter(|line| line.contains("project"));
        let lines = lines.collect::<Vec<_>>().join("\n");
        let status = &machine.json(&["status", login, "--json"])[0];
        let from = format!("the project `{}` is named by {}", status["project"], status["project_from"]);
        assert_eq!(from.replace(['"', '\\'], ""), lines.replace('"', ""));
        lines
    };
    sign_in(&machine, &["earthengine", "--project", "sandbox-project"]).succeeds();
    assert_snapshot!(told(&machine, "earthengine"), @"
    the project `sandbox-project` is named by ~/.config/earthengine/credentials
    ");
    sign_in(&machine, &["google"]).succeeds();
    machine.set("GOOGLE_CLOUD_QUOTA_PROJECT", "of-variable");
    assert_snapshot!(told(&machine, "google"), @"
    the project `of-variable` is named by `GOOGLE_CLOUD_QUOTA_PROJECT`
    ");
}
