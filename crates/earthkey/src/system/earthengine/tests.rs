//! Which login and which project are Earth Engine's, in the order of its own client.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::earthkey::Earthkey;
use crate::error::ErrorKind;
use crate::host::Env;
use crate::host::Host;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::ScriptedHttp;
use crate::host::scripted::WatchedFileSystem;
use crate::host::scripted::World;
use crate::refresh::Want;
use crate::secret::AccessToken;

const FILE: &str = "/home/ada/.config/earthengine/credentials";
const GEMINI: &str = "/home/ada/.local/state/earthkey/gemini/default.json";
const ADC: &str = "/home/ada/.config/gcloud/application_default_credentials.json";

const PERSON: &[u8] = br#"{"type":"authorized_user","client_id":"42-adc","client_secret":"s",
    "refresh_token":"adc","quota_project_id":"of-adc"}"#;

fn world(variables: &[(&str, &str)]) -> World {
    let mut world = World::new(|_| Err(SendError::NotSent("offline".into())));
    world.env = Env::new([("HOME", "/home/ada")].iter().chain(variables).copied());
    world
}

async fn resolved(world: &World) -> Result<Source> {
    let host = world.host(1);
    let config = Config::load(&host)?;
    resolve(&Context::new(&host, &config), &Login::of(System::Earthengine)).await
}

async fn project(world: &World) -> Option<String> {
    resolved(world).await.unwrap().quota_project
}

fn listed(world: &World) -> Vec<String> {
    let host = world.host(1);
    let config = Config::load(&host).unwrap();
    list(&Context::new(&host, &config)).unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_clients_own_file_goes_before_application_default_credentials() {
    let world = world(&[]);
    world.fs.put(ADC, PERSON);
    let source = resolved(&world).await.unwrap();
    assert_eq!(source.home.path.to_str(), Some(ADC));
    assert!(world.person.said()[0].contains("there is no login in ~/.config/earthengine/credentials"));
    assert!(listed(&world).is_empty(), "what is google's is listed once");
    world.fs.put(FILE, br#"{"refresh_token": "ee", "scopes": ["a", "b"]}"#);
    let source = resolved(&world).await.unwrap();
    assert_eq!(source.home.path.to_str(), Some(FILE));
    assert_eq!(source.client.id, file::CLIENT_ID);
    assert_eq!(source.scopes, ["a", "b"], "the client names them at each refresh");
    assert_eq!(listed(&world), ["earthengine"]);
}

#[tokio::test]
async fn a_file_without_a_login_is_none_and_a_damaged_one_is_no_way_to_another_account() {
    let world = world(&[]);
    world.fs.put(ADC, PERSON);
    world.fs.put(FILE, br#"{"project": "p-1"}"#);
    let source = resolved(&world).await.unwrap();
    assert_eq!((source.home.path.to_str(), source.quota_project.as_deref()), (Some(ADC), Some("p-1")));
    world.fs.put(FILE, b"{\"refresh_token\": \"hid");
    assert_eq!(resolved(&world).await.unwrap().home.path.to_str(), Some(FILE));
    let earthkey = Earthkey::in_foreground(world.host(1));
    let error = earthkey.token(&Login::of(System::Earthengine), &Want::default()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(!format!("{error:?}").contains("hid"));
    assert_eq!(listed(&world), ["earthengine"], "`status` says why it cannot be used");
}

#[tokio::test]
async fn a_file_that_the_client_writes_anew_is_waited_for() {
    let world = world(&[]);
    world.fs.put(ADC, PERSON);
    // The client has removed its file and not yet made it again.
    world.fs.put("/home/ada/.config/earthengine/other", b"");
    let fs = world.fs.clone();
    let clock = world.clock.clone();
    let client = tokio::spawn(async move {
        use crate::host::Clock as _;
        clock.sleep(Duration::from_millis(100)).await;
        fs.put(FILE, br#"{"refresh_token": "ee"}"#);
    });
    // The test's one thread runs the client first.
    tokio::task::yield_now().await;
    let source = resolved(&world).await.unwrap();
    client.await.unwrap();
    assert_eq!(source.home.path.to_str(), Some(FILE));
}

#[tokio::test]
async fn the_project_is_found_as_the_client_finds_it() {
    let world = world(&[]);
    world.fs.put(FILE, br#"{"refresh_token": "ee"}"#);
    // Nobody may use the project of the client itself.
    assert_eq!(project(&world).await, None);
    world.fs.put(FILE, br#"{"refresh_token": "ee", "client_id": "4242-x", "client_secret": "s"}"#);
    assert_eq!(project(&world).await.as_deref(), Some("4242"));
    world.fs.put(ADC, PERSON);
    assert_eq!(project(&world).await.as_deref(), Some("of-adc"));
    world.fs.put(FILE, br#"{"refresh_token": "ee", "project": "mine"}"#);
    assert_eq!(project(&world).await.as_deref(), Some("mine"));
    // Variables of other Google clients do not count for this one's own file.
    let mut world = world;
    world.env = Env::new([("HOME", "/home/ada"), ("GOOGLE_CLOUD_PROJECT", "other")]);
    assert_eq!(project(&world).await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn the_project_of_a_key_is_its_own_unless_another_is_named() {
    let variables = [("GOOGLE_APPLICATION_CREDENTIALS", "/k.json")];
    let world = world(&variables);
    let key =
        br#"{"type":"service_account","project_id":"of-key","private_key":"p","client_email":"4242-compute@p.test"}"#;
    world.fs.put("/k.json", key);
    let source = resolved(&world).await.unwrap();
    assert_eq!(source.quota_project.as_deref(), Some("of-key"));
    assert_eq!(source.scopes, SCOPES);
    assert_eq!(
        source.header(&AccessToken::new("t")).unwrap()[1],
        ("x-goog-user-project", "of-key".to_owned())
    );
    // What its address begins with is no client's project.
    world.fs.put("/k.json", String::from_utf8_lossy(key).replace("project_id", "other").as_bytes());
    assert_eq!(project(&world).await, None);
}

/// Checks an Earth Engine that answers so.
async fn checked(status: u16, body: &'static str, project: Option<&str>) -> Result<Checked> {
    let world = World::new(move |_| Ok(Response::new(status, body)));
    world.fs.put(FILE, br#"{"refresh_token": "ee"}"#);
    let host = world.host(1);
    let config = Config::load(&host)?;
    let cx = Context::new(&host, &config);
    let source = resolve(&cx, &Login::of(System::Earthengine)).await?;
    let access = Access {
        token: AccessToken::new("ya29.secret"),
        token_type: "Bearer".into(),
        scopes: Vec::new(),
        client_id: None,
        obtained_at: 0,
        expires_at: 1,
        lifetime: 1,
        early_at: 1,
        boot_id: [0; 16],
        since_boot: 0,
    };
    check(&cx, &source, &access, project).await
}

fn told(error: &Error) -> String {
    let causes = error.causes().into_iter().map(|cause| format!("caused by: {cause}"));
    let hints = error.hints().iter().map(|hint| format!("hint: {hint}"));
    [error.to_string()].into_iter().chain(causes).chain(hints).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_check_counts_the_algorithms_of_the_project() {
    let found = checked(200, r#"{"algorithms": [{"name": "a"}, {"name": "b"}]}"#, Some("p-1")).await.unwrap();
    assert_eq!(found.called, "https://earthengine.googleapis.com/v1/projects/p-1/algorithms");
    assert_eq!(found.found.as_deref(), Some("2 algorithms, project p-1"));
}

#[tokio::test]
async fn what_google_refuses_is_told_with_what_to_do() {
    let no_project = checked(200, "{}", None).await.unwrap_err();
    assert_eq!(no_project.kind(), ErrorKind::Configuration);
    let of_client = checked(200, "{}", Some("517222506229")).await.unwrap_err();
    assert_eq!(of_client.kind(), ErrorKind::Configuration);
    let disabled = r#"{"error": {"code": 403, "status": "PERMISSION_DENIED",
        "message": "Earth Engine API has not been used in project p-1 before or it is disabled.",
        "details": [{"reason": "SERVICE_DISABLED"}]}}"#;
    let denied = r#"{"error": {"message": "Caller does not have required permission to use project p-1.",
        "details": [{"reason": "USER_PROJECT_DENIED"}]}}"#;
    let unregistered =
        r#"{"error": {"message": "Not signed up for Earth Engine or project is not registered."}}"#;
    let narrow = r#"{"error": {"message": "Request had insufficient authentication scopes.",
        "details": [{"@type": "x"}, {"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}"#;
    let echo = r#"{"error": {"message": "bad token ya29.secret"}}"#;
    let mut texts = vec![told(&no_project), told(&of_client)];
    for (status, body, kind) in [
        (403, disabled, ErrorKind::Configuration),
        (403, denied, ErrorKind::Configuration),
        (403, unregistered, ErrorKind::Configuration),
        (403, narrow, ErrorKind::Refused),
        (401, echo, ErrorKind::Refused),
        (403, "<html>", ErrorKind::Refused),
        (404, "{}", ErrorKind::Configuration),
        (502, "", ErrorKind::Network),
        (200, "<html>", ErrorKind::Network),
    ] {
        let error = checked(status, body, Some("p-1")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}");
        texts.push(told(&error));
    }
    let texts = texts.join("\n\n");
    assert!(!texts.contains("ya29"), "{texts}");
    // A request that is refused is not the token's fault, unless that is said.
    let place = r#"{"error": {"code": 400, "message": "User location is not supported for the API use.",
        "status": "FAILED_PRECONDITION"}}"#;
    let error = checked(400, place, Some("p-1")).await.unwrap_err();
    assert!(error.to_string().ends_with("refuses the request"), "{error}");
    assert_eq!(error.causes(), ["status 400: User location is not supported for the API use."]);
    let of_token = r#"{"error": "invalid_token", "error_description": "Invalid Value"}"#;
    let error = checked(400, of_token, Some("p-1")).await.unwrap_err();
    assert!(error.to_string().ends_with("does not accept the token"), "{error}");
    insta::assert_snapshot!(texts);
}

#[tokio::test]
async fn a_project_that_is_written_while_a_token_is_obtained_is_in_the_next_header() {
    let world = world(&[]);
    world.fs.put(FILE, br#"{"refresh_token": "ee", "project": "one"}"#);
    let fs = world.fs.clone();
    let http = ScriptedHttp::new(move |_| {
        // The client's `set_project`, at this very moment.
        fs.put(FILE, br#"{"refresh_token": "ee", "project": "two"}"#);
        Ok(Response::new(200, r#"{"access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer"}"#))
    });
    let earthkey = Earthkey::in_foreground(Host { http: Arc::new(http), ..world.host(1) });
    let login = Login::of(System::Earthengine);
    let (_, first) = earthkey.header(&login, &Want::default()).await.unwrap();
    assert_eq!(first[1], "x-goog-user-project: one");
    let (_, second) = earthkey.header(&login, &Want::default()).await.unwrap();
    assert_eq!(second, ["Authorization: Bearer ya29.a", "x-goog-user-project: two"]);
}

/// Answers every refresh and tells the client that asked.
fn answering() -> World {
    let world = World::new(|request| {
        let body = format!(
            r#"{{"access_token": "for-{}", "expires_in": 3599, "token_type": "Bearer"}}"#,
            request.form_value("client_id").unwrap_or("nobody")
        );
        Ok(Response::new(200, body))
    });
    world.fs.put("/home/ada/.config/earthengine/other", b"");
    world
}

/// Puts a file down a moment after everybody has begun to look.
async fn put_later(world: &World, path: &'static str, bytes: &'static [u8]) -> tokio::task::JoinHandle<()> {
    use crate::host::Clock as _;
    let (fs, clock) = (world.fs.clone(), world.clock.clone());
    let client = tokio::spawn(async move {
        clock.sleep(Duration::from_millis(100)).await;
        fs.put(path, bytes);
    });
    // The test's one thread runs the client first.
    tokio::task::yield_now().await;
    client
}

#[tokio::test]
async fn a_file_that_is_torn_or_away_for_a_moment_is_looked_at_again_with_its_client() {
    const MINE: &[u8] = br#"{"refresh_token": "r", "client_id": "4242-x", "client_secret": "s"}"#;
    const MINE_ADC: &[u8] =
        br#"{"type": "authorized_user", "refresh_token": "r", "client_id": "4242-x", "client_secret": "s"}"#;
    for (login, path, whole) in
        [("earthengine", FILE, MINE), ("google", ADC, MINE_ADC), ("gemini", GEMINI, MINE_ADC)]
    {
        for torn in [Some(&b"{\"refresh"[..]), Some(b""), None] {
            let world = answering();
            match torn {
                Some(torn) => world.fs.put(path, torn),
                None => world.fs.put(&format!("{path}.other"), b""),
            }
            let client = put_later(&world, path, whole).await;
            let token =
                Earthkey::in_foreground(world.host(1)).token(&login.parse().unwrap(), &Want::default()).await;
            client.await.unwrap();
            assert_eq!(token.unwrap().access.token.expose(), "for-4242-x", "{login} {torn:?}");
            assert_eq!(world.http.requests().len(), 1, "nothing was sent for another client");
        }
    }
}

#[tokio::test]
async fn a_login_that_takes_the_others_place_before_the_grant_is_sent_is_sent_for_its_own_client() {
    let world = answering();
    world.fs.put(FILE, br#"{"refresh_token": "r1", "client_id": "1-x", "client_secret": "s"}"#);
    // Before each call of ours in turn, the client signs another account in with another client.
    for at in 0..200 {
        let calls = AtomicUsize::new(0);
        let fs = world.fs.as_ref().clone();
        let before = move |_: &str, _: &std::path::Path| {
            if calls.fetch_add(1, Ordering::Relaxed) == at {
                fs.put(FILE, br#"{"refresh_token": "r2", "client_id": "2-x", "client_secret": "s"}"#);
            }
        };
        world.fs.put(FILE, br#"{"refresh_token": "r1", "client_id": "1-x", "client_secret": "s"}"#);
        let sent = world.http.requests().len();
        let watched = WatchedFileSystem::new(&world.fs, before);
        let earthkey = Earthkey::in_foreground(Host { fs: Arc::new(watched), ..world.host(1) });
        let want = Want { force: true, ..Want::default() };
        let token = earthkey.token(&Login::of(System::Earthengine), &want).await.unwrap();
        for request in &world.http.requests()[sent..] {
            let pair = (request.form_value("refresh_token"), request.form_value("client_id"));
            let fits = [(Some("r1"), Some("1-x")), (Some("r2"), Some("2-x"))].contains(&pair);
            assert!(fits, "before call {at}: {pair:?}");
        }
        assert!(token.access.token.expose().starts_with("for-"));
    }
}
