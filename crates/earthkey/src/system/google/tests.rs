//! Which of several logins is Google's, in the order of its own libraries.

use super::*;
use crate::config::Config;
use crate::config::Profile;
use crate::error::ErrorKind;
use crate::flow::Flow;
use crate::host::Env;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::secret::ClientSecret;
use crate::store::Grant;

const WELL_KNOWN: &str = "/home/ada/.config/gcloud/application_default_credentials.json";

fn world(variables: &[(&str, &str)]) -> World {
    let mut world = World::new(|_| Err(SendError::NotSent("offline".into())));
    world.env = Env::new([("HOME", "/home/ada")].iter().chain(variables).copied());
    world
}

/// Returns a person's file.
fn person(token: &str) -> Vec<u8> {
    format!(
        r#"{{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"{token}",
            "quota_project_id":"of-{token}"}}"#
    )
    .into_bytes()
}

/// Returns the file of a program's key.
fn key(email: &str) -> Vec<u8> {
    format!(
        r#"{{"type":"service_account","project_id":"of-key","private_key_id":"k","private_key":"p",
            "client_email":"{email}","token_uri":"https://oauth2.googleapis.com/token"}}"#
    )
    .into_bytes()
}

fn resolved(world: &World, login: &str) -> Result<Source> {
    let host = world.host(1);
    let config = Config::load(&host)?;
    let cx = Context::new(&host, &config);
    let login: Login = login.parse()?;
    resolve(&cx, &login)
}

fn grant(world: &World, source: &Source) -> Option<Grant> {
    source.home.slot.read(&world.fs.get(source.home.path.to_str().unwrap())?).unwrap()?.grant
}

fn listed(world: &World) -> Vec<String> {
    let host = world.host(1);
    let config = Config::load(&host).unwrap();
    list(&Context::new(&host, &config)).unwrap().iter().map(ToString::to_string).collect()
}

fn planned(world: &World, options: &LoginOptions) -> Result<Signing> {
    let host = world.host(1);
    let config = Config::load(&host)?;
    plan(&Context::new(&host, &config), &Login::of(System::Google), options)
}

#[test]
fn the_variable_goes_before_the_file_of_gcloud() {
    let world = world(&[("GOOGLE_APPLICATION_CREDENTIALS", "/k/key.json")]);
    world.fs.put(WELL_KNOWN, &person("r1"));
    world.fs.put("/k/key.json", &key("robot@p.test"));
    let source = resolved(&world, "google").unwrap();
    assert_eq!(source.home.path.to_str(), Some("/k/key.json"));
    assert_eq!(source.account.as_deref(), Some("robot@p.test"));
    assert_eq!(source.scopes, [CLOUD_PLATFORM]);
    assert_eq!(source.named_by, Some(NamedBy::Variable("GOOGLE_APPLICATION_CREDENTIALS")));
    assert!(matches!(grant(&world, &source), Some(Grant::ServiceAccount(_))));
    // A program's requests are counted for its own project.
    assert_eq!(source.quota_project, None);
}

#[test]
fn a_variable_that_leads_nowhere_is_an_error_and_no_way_to_another_account() {
    let world = world(&[("GOOGLE_APPLICATION_CREDENTIALS", "/k/key.json")]);
    world.fs.put(WELL_KNOWN, &person("r1"));
    let error = resolved(&world, "google").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), "`GOOGLE_APPLICATION_CREDENTIALS` names a file that is not there");
    assert_eq!(listed(&world), ["google"]);
}

#[test]
fn the_variable_that_names_the_file_of_gcloud_says_nothing_new() {
    let world = world(&[("GOOGLE_APPLICATION_CREDENTIALS", WELL_KNOWN)]);
    world.fs.put(WELL_KNOWN, &person("r1"));
    assert_eq!(resolved(&world, "google").unwrap().named_by, None);
}

#[test]
fn the_file_of_gcloud_is_read_with_its_client_and_quota_project() {
    let world = world(&[]);
    world.fs.put(WELL_KNOWN, &person("r1"));
    let source = resolved(&world, "google").unwrap();
    assert_eq!(source.client, post_client("c", ClientSecret::new("s")));
    assert_eq!(source.quota_project.as_deref(), Some("of-r1"));
    assert!(source.scopes.is_empty(), "a refresh asks for all that was granted");
    assert_eq!(
        source.home.ledgers.as_deref().and_then(|path| path.to_str()),
        Some("/home/ada/.local/state/earthkey/ledgers")
    );
    let moved = self::world(&[("CLOUDSDK_CONFIG", "/sdk"), ("GOOGLE_CLOUD_QUOTA_PROJECT", "mine")]);
    moved.fs.put("/sdk/application_default_credentials.json", &person("r2"));
    assert_eq!(resolved(&moved, "google").unwrap().quota_project.as_deref(), Some("mine"));
}

#[test]
fn relative_paths_begin_where_the_process_is_and_are_not_recorded() {
    let world = world(&[("GOOGLE_APPLICATION_CREDENTIALS", "key.json")]);
    world.fs.put("/home/ada/work/key.json", &key("robot@p.test"));
    let host = world.host(1);
    let config = Config::load(&host).unwrap();
    let cx = Context::new(&host, &config);
    let source = resolve(&cx, &Login::of(System::Google)).unwrap();
    assert_eq!(source.home.path.to_str(), Some("/home/ada/work/key.json"));
    assert!(cx.dependencies().is_none());
}

#[test]
fn types_that_cannot_be_used_yet_are_named() {
    let world = world(&[]);
    world.fs.put(WELL_KNOWN, br#"{"type": "external_account", "audience": "a"}"#);
    let error = resolved(&world, "google").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.to_string(), "credentials of type `external_account` cannot be used yet");
    world.fs.put(WELL_KNOWN, br#"{"installed": {"client_secret": "hidden"}}"#);
    let error = resolved(&world, "google").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hints()[0].contains("--client-id-file") && !format!("{error:?}").contains("hidden"));
}

#[test]
fn further_accounts_are_files_of_ours() {
    let world = world(&[]);
    world.fs.put("/home/ada/.local/state/earthkey/google/work.json", &person("r9"));
    assert_eq!(listed(&world), ["google/work"]);
    let source = resolved(&world, "google/work").unwrap();
    assert_eq!(source.quota_project.as_deref(), Some("of-r9"));
}

#[test]
fn a_login_by_a_key_goes_before_every_file() {
    let world = world(&[]);
    world.fs.put(WELL_KNOWN, &person("r1"));
    world.fs.put("/k/key.json", &key("robot@p.test"));
    let login = Login::of(System::Google);
    let profile = Profile {
        flow: Some("service-account".into()),
        key: Some("/k/key.json".into()),
        ..Profile::default()
    };
    Config::remember(&world.host(1), &login, &profile).unwrap();
    let source = resolved(&world, "google").unwrap();
    assert_eq!((source.home.path.to_str(), source.named_by), (Some("/k/key.json"), Some(NamedBy::Login)));
    Config::forget(&world.host(1), &login).unwrap();
    assert_eq!(resolved(&world, "google").unwrap().home.path.to_str(), Some(WELL_KNOWN));
    let config = world.fs.get("/home/ada/.config/earthkey/config.toml").unwrap();
    assert_eq!(String::from_utf8(config).unwrap().trim(), "");
}

#[test]
fn a_project_that_is_remembered_with_a_key_is_one_or_is_left_out() {
    let world = world(&[]);
    world.fs.put("/k/key.json", &key("robot@p.test"));
    for (project, expected) in [("mine", Some("mine")), (r"p\r\nX-Evil: 1", None), ("../p", None)] {
        let config = format!(
            "[login.google]\nflow = \"service-account\"\nkey = \"/k/key.json\"\nproject = \"{project}\"\n"
        );
        world.fs.put("/home/ada/.config/earthkey/config.toml", config.as_bytes());
        assert_eq!(resolved(&world, "google").unwrap().quota_project.as_deref(), expected);
        let again = planned(&world, &LoginOptions::default()).unwrap();
        assert_eq!(again.profile.project.as_deref(), expected);
    }
    let said = world.person.said().concat();
    assert!(said.contains(".project` in ~/.config/earthkey/config.toml; it is left out"), "{said}");
}

#[test]
fn a_client_of_another_server_is_not_put_where_libraries_would_ask_google() {
    let world = world(&[]);
    let file = |auth_uri: &str, token_uri: &str| {
        format!(
            r#"{{"installed":{{"client_id":"42-x","client_secret":"s","auth_uri":"{auth_uri}","token_uri":"{token_uri}"}}}}"#
        )
    };
    let options = LoginOptions {
        client_id_file: Some("/c.json".into()),
        flow: Some(Flow::Paste),
        ..LoginOptions::default()
    };
    world.fs.put("/c.json", file("https://a.test/auth", "https://a.test/token").as_bytes());
    let error = planned(&world, &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("`https://a.test/token`"), "{error}");
    world.fs.put("/c.json", file("https://a.test/auth", TOKEN_ENDPOINT).as_bytes());
    let error = planned(&world, &options).err().unwrap();
    assert!(error.causes()[0].contains("only one of its addresses is Google's"), "{error:?}");
    // Another name of Google's own is Google's.
    let former = "https://accounts.google.com/o/oauth2/token";
    world.fs.put("/c.json", file(AUTHORIZATION_ENDPOINT, former).as_bytes());
    let signing = planned(&world, &options).unwrap();
    assert_eq!(signing.plan.metadata.token_endpoint.unwrap().as_str(), TOKEN_ENDPOINT);
}

#[test]
fn what_a_person_is_asked_for_is_what_gcloud_asks_for() {
    let world = world(&[("DISPLAY", ":0")]);
    let signing = planned(&world, &LoginOptions::default()).unwrap();
    assert_eq!(signing.flow, Flow::Loopback(None));
    assert_eq!(signing.plan.redirect.uri(8085), "http://localhost:8085/");
    assert!(signing.plan.checks_id_token);
    assert_eq!(
        signing.plan.client.id,
        "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com"
    );
    let options = LoginOptions { flow: Some(Flow::Device), ..LoginOptions::default() };
    let error = planned(&world, &options).err().unwrap();
    assert_eq!(error.to_string(), "google has no flow `device`");
}

#[test]
fn a_flow_that_was_used_before_gives_way_where_it_cannot_work() {
    let flow_and_words = |variables: &[(&str, &str)], remembered: &str, options: &LoginOptions| {
        let world = world(variables);
        let config = format!("[login.google]\nflow = \"{remembered}\"\n");
        world.fs.put("/home/ada/.config/earthkey/config.toml", config.as_bytes());
        let signing = planned(&world, options).unwrap();
        (signing.flow.to_string(), signing.plan.opens_browser, world.person.said().concat())
    };
    let asked = LoginOptions::default();
    let at_home = LoginOptions { no_browser: true, ..LoginOptions::default() };
    let ssh = ("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22");
    for (variables, remembered, options, expected) in [
        (&[("DISPLAY", ":0")][..], "loopback:9000", &asked, ("loopback:9000", true)),
        (&[("WAYLAND_DISPLAY", "w")], "loopback", &asked, ("loopback", true)),
        (&[("DISPLAY", ":0")], "paste", &asked, ("paste", true)),
        (&[], "loopback", &at_home, ("loopback", false)),
        (&[], "loopback", &asked, ("paste", false)),
        (&[ssh], "loopback:9000", &asked, ("paste", false)),
        (&[ssh, ("DISPLAY", ":10")], "loopback", &asked, ("paste", true)),
        (&[ssh], "loopback", &at_home, ("paste", false)),
    ] {
        let (flow, opens_browser, said) = flow_and_words(variables, remembered, options);
        assert_eq!((flow.as_str(), opens_browser), expected, "{variables:?} {remembered}");
        let gave_way = flow != remembered;
        assert_eq!(said.contains("no browser can be opened here"), gave_way, "{said}");
    }
    // What is asked for now is done, whatever was before.
    let asked = LoginOptions { flow: Some(Flow::Loopback(None)), ..LoginOptions::default() };
    assert_eq!(flow_and_words(&[ssh], "paste", &asked), ("loopback".to_owned(), false, String::new()));
}

#[test]
fn under_a_sandbox_every_address_is_the_sandboxs() {
    let world = world(&[("EARTHKEY_SANDBOX", "http://127.0.0.1:8989"), ("DISPLAY", ":0")]);
    let metadata = planned(&world, &LoginOptions::default()).unwrap().plan.metadata;
    let places = [
        metadata.authorization_endpoint,
        metadata.token_endpoint,
        metadata.revocation_endpoint,
        metadata.jwks_uri,
    ];
    assert_eq!(
        places.map(|place| place.unwrap().to_string()),
        [
            "http://127.0.0.1:8989/google/accounts.google.com/o/oauth2/auth",
            "http://127.0.0.1:8989/google/oauth2.googleapis.com/token",
            "http://127.0.0.1:8989/google/oauth2.googleapis.com/revoke",
            "http://127.0.0.1:8989/google/www.googleapis.com/oauth2/v3/certs",
        ]
    );
    // ID tokens name Google all the same.
    assert_eq!(metadata.issuer, ISSUER);
}

#[test]
fn projects_that_no_header_can_hold_are_refused() {
    assert_eq!(project_id("my-project-42", "x").unwrap(), "my-project-42");
    assert_eq!(project_id("example.com:project", "x").unwrap(), "example.com:project");
    for text in ["", ".", "..", "a..b", "-p", "a b", "p\r\nX-Evil: 1", "ä", &"p".repeat(101)] {
        assert_eq!(project_id(text, "x").err().unwrap().kind(), ErrorKind::Configuration);
    }
}

#[test]
fn what_is_said_to_type_can_be_typed() {
    let world = world(&[("CLOUDSDK_CONFIG", "/my sdk")]);
    let path = "/my sdk/application_default_credentials.json";
    world.fs.put(path, br#"{"type": "external_account", "audience": "a"}"#);
    let error = planned(&world, &LoginOptions::default()).err().unwrap();
    assert!(error.hints()[0].contains(&format!("`mv '{path}' '{path}.external_account'`")), "{error:?}");
    // What cannot be lent is replaced by a login of the system that was asked for.
    let host = world.host(1);
    let config = Config::load(&host).unwrap();
    let cx = Context::new(&host, &config);
    let error = crate::system::gemini::resolve(&cx, &Login::of(System::Gemini)).err().unwrap();
    assert!(error.hints()[0].contains("`earthkey login gemini --client-id-file"), "{error:?}");
}

#[test]
fn who_names_a_client_means_no_key_that_is_remembered() {
    let world = world(&[]);
    world.fs.put("/k/key.json", &key("robot@p.test"));
    let config = b"[login.google]\nflow = \"service-account\"\nkey = \"/k/key.json\"\n";
    world.fs.put("/home/ada/.config/earthkey/config.toml", config);
    assert_eq!(planned(&world, &LoginOptions::default()).unwrap().flow, Flow::ServiceAccount);
    let named = LoginOptions {
        client_id: Some("42-x".into()),
        client_secret: Some(ClientSecret::new("s")),
        ..LoginOptions::default()
    };
    assert_eq!(planned(&world, &named).unwrap().plan.client.id, "42-x");
}
