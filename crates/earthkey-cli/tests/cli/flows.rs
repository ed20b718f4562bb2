//! Every way to sign in, from the command to the token.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;
use serde_json::Value;
use serde_json::json;
use url::Url;

use crate::machine::Ended;
use crate::machine::Machine;
use crate::machine::eventually;
use crate::machine::visit;
use crate::provider::Provider;
use crate::terminal::AtTerminal;

/// Uses a login as people do: its token works, and so does the next one.
fn use_login(machine: &Machine, login: &str) {
    let first = machine.prints(&["token", login]);
    let checked = machine.json(&["check", login, "--json"]);
    assert_eq!(checked["ok"], true, "{checked}");
    let second = machine.prints(&["token", login, "--refresh"]);
    assert_ne!(first, second);
    machine.prints(&["check", login]);
}

/// Returns what a login says of itself, without what is of the moment.
fn words(ended: &Ended) -> String {
    let words = ended.stderr.lines().filter(|line| !line.contains("http://"));
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_code_on_another_device() {
    let machine = Machine::new();
    for login in ["earthscope", "openeo", "oidc"] {
        let ended = machine.sign_in(login, &Person::ada()).succeeds();
        assert_eq!(ended.stdout, "", "standard output is for data alone");
        use_login(&machine, login);
    }
    let ended = machine.sign_in("earthscope", &Person::ada()).succeeds();
    let code = ended.stderr.split("the code ").nth(1).unwrap()[..9].to_owned();
    assert_snapshot!(words(&ended).replace(&code, "CODE"), @"
    The client b9DtAFBd6QvMg761vI3YhYquNZbJX5G0 asks for offline_access
    and confirm that it shows the code CODE
    ✓ Signed in to earthscope
      ~/.earthscope/default/tokens.json keeps the login; the access token lasts 60 min, then refreshed by itself
    ");
}

#[test]
fn a_browser_of_this_machine() {
    let mut machine = Machine::new();
    let browser = machine.path("browser");
    let record = machine.path("visited");
    fs::write(
        &browser,
        format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >{0}.new && mv {0}.new {0}\n", record.display()),
    )
    .unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o700)).unwrap();
    machine.set("BROWSER", browser.to_str().unwrap());

    // With a browser at hand, this is the flow without being asked for.
    let running = machine.start(machine.command(&["login", "oidc"]));
    let opened = eventually("a browser", || fs::read_to_string(&record).ok());
    let lines: Vec<&str> = opened.lines().collect();
    let [page] = lines[..] else { panic!("the browser is given one page: {opened}") };
    let page = Url::parse(page).unwrap();
    // Everybody on this machine can read the arguments of a process.
    assert_eq!(page.query(), None);
    assert!(page.path().starts_with("/start/"), "{page}");
    let visited = visit(&Person::ada(), &page);
    let ended = running.end().succeeds();
    assert!(visited.status.is_success() && visited.text.contains("terminal"), "{}", visited.text);
    assert!(visited.url.query().is_none(), "the last page's address holds a code");
    assert_eq!(ended.stdout, "");
    assert_snapshot!(words(&ended), @"
    The client sandbox-public asks for openid profile email offline_access
    A browser is being opened. If none comes up, visit
    ✓ Signed in to oidc as ada@sandbox.test
      ~/.local/state/earthkey/oidc/default.json keeps the login; the access token lasts 60 min, then refreshed by itself
    ");
    use_login(&machine, "oidc");
    assert_eq!(machine.json(&["status", "oidc", "--json"])[0]["flow"], "loopback");
}

#[test]
fn an_address_that_is_pasted_back() {
    let machine = Machine::new();
    let mut at = AtTerminal::start(&machine, &["login", "oidc", "--flow", "paste"]);
    let visited = visit(&Person::ada().stopping_at_foreign_redirect(), &at.running.page());
    at.wait_for("Paste the address");
    at.keyboard.wait_for_silence();
    // What is pasted holds a code, and does not show.
    at.keyboard.types(&format!("{}\n", visited.last_redirect.unwrap()));
    let AtTerminal { running, keyboard } = at;
    let ended = running.end().succeeds();
    assert!(keyboard.echoes());
    assert!(ended.stderr.contains("Signed in to oidc as ada@sandbox.test"), "{}", ended.stderr);
    use_login(&machine, "oidc");
}

#[test]
fn the_address_of_another_sign_in_is_refused() {
    let machine = Machine::new();
    for (pasted, tries, code) in [
        // What cannot be an answer costs no sign-in, and is asked for again.
        ("http://127.0.0.1:1/callback?code=stolen&state=another", 3, 2),
        ("http://127.0.0.1:1/callback?error=access_denied&state=another", 3, 2),
        ("http://127.0.0.1:1/callback", 3, 2),
        ("two words", 3, 2),
        ("stolen", 3, 2),
    ] {
        let mut at = AtTerminal::start(&machine, &["login", "oidc", "--flow", "paste"]);
        for asked in 1..=tries {
            at.running.stderr.wait_for("the question", |screen| {
                (screen.matches("Paste the address").count() == asked).then_some(())
            });
            at.keyboard.wait_for_silence();
            at.keyboard.types(&format!("{pasted}\n"));
        }
        let ended = at.running.end();
        assert_eq!(ended.code(), code, "{pasted}: {ended:#?}");
        assert!(!ended.stderr.contains("stolen"));
    }
    assert!(machine.contents().is_empty());
    assert_eq!(machine.token_requests(Realm::Oidc, "authorization_code"), 0);
}

#[test]
fn the_credentials_of_a_client() {
    let machine = Machine::new();
    let ended = machine.sign_in_service("oidc/job").succeeds();
    assert_snapshot!(ended.stderr.trim_end(), @"
✓ Signed in to oidc/job
  ~/.local/state/earthkey/oidc/job.json keeps the login; the access token lasts 60 min, then refreshed by itself
");
    use_login(&machine, "oidc/job");
    assert!(!machine.read(".config/earthkey/config.toml").contains("sandbox-secret"));

    assert_snapshot!(machine.fails(&["login", "oidc", "--flow", "client-credentials", "--client-id", "job"], 2), @"
    error: the flow `client-credentials` needs the client's secret

    hint: earthkey login oidc --flow client-credentials --client-id ID --client-secret-stdin <FILE
    ");
    let wrong = [
        "login",
        "oidc",
        "--flow",
        "client-credentials",
        "--client-id",
        "sandbox-confidential",
        "--client-secret-stdin",
    ];
    assert_snapshot!(machine.run_with_input(&wrong, "a wrong secret of some length").fails(4), @"
    error: the provider does not accept the client
    caused by: invalid_client: the client secret is missing or wrong

    hint: look at its id and secret: `earthkey login oidc --client-id sandbox-confidential --client-secret-stdin`
    ");
    assert_snapshot!(machine.run_with_input(&wrong, "\n").fails(3), @"
    error: no client secret came on standard input

    hint: put it in a file and add `<FILE` to `earthkey login oidc …`, or run it in a terminal
    ");
}

#[test]
fn a_refresh_token_that_one_has() {
    let machine = Machine::new();
    machine.sign_in("earthscope", &Person::ada()).succeeds();
    let tokens: Value = serde_json::from_str(&machine.read(".earthscope/default/tokens.json")).unwrap();
    let token = tokens["refresh_token"].as_str().unwrap().to_owned();
    fs::remove_dir_all(machine.path(".earthscope")).unwrap();

    let flow = ["login", "earthscope/moved", "--flow", "refresh"];
    let ended = machine.run_with_input(&flow, &format!("{token}\n")).succeeds();
    assert_snapshot!(ended.stderr.trim_end(), @"
✓ Signed in to earthscope/moved
  ~/.earthscope/moved/tokens.json keeps the login; the access token lasts 60 min, then refreshed by itself
");
    use_login(&machine, "earthscope/moved");

    // It is spent now; what is refused must not cost the login that is there.
    let home = machine.read(".earthscope/moved/tokens.json");
    let refused = machine.run_with_input(&flow, &token).fails(4);
    assert!(
        refused.starts_with("error: the provider does not accept the refresh token any more\n"),
        "{refused}"
    );
    assert_eq!(machine.read(".earthscope/moved/tokens.json"), home);
    // No copy of it is left anywhere.
    let copies =
        machine.contents().into_iter().filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&token));
    assert_eq!(copies.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_page_now_and_its_end_later() {
    let machine = Machine::new();
    let begun = machine.run(&["login", "oidc", "--flow", "paste", "--quiet"]).succeeds();
    let lines: Vec<&str> = begun.stdout.lines().collect();
    let [page, finish] = lines[..] else { panic!("a page and a command: {begun:#?}") };
    assert_eq!(finish, "earthkey login oidc --finish");
    // What cannot be an answer costs nothing.
    assert_snapshot!(machine.run_with_input(&["login", "oidc", "--finish"], "hello").fails(2), @"
    error: what was pasted (5 characters) is not an address that the sign-in ended at

    hint: paste the whole address from the browser's bar, with `?` and everything behind it
    hint: the sign-in still waits: `earthkey login oidc --finish <FILE`
    ");
    // What the page was made for cannot be changed any more.
    assert_eq!(machine.run(&["login", "oidc", "--finish", "--scopes", "openid"]).code(), 2);
    let visited = visit(&Person::ada().stopping_at_foreign_redirect(), &Url::parse(page).unwrap());
    let address = visited.last_redirect.unwrap().to_string();
    machine.run_with_input(&["login", "oidc", "--finish"], &address).succeeds();
    use_login(&machine, "oidc");
    // It is finished once.
    assert_snapshot!(machine.run_with_input(&["login", "oidc", "--finish"], &address).fails(2), @"
    error: there is no sign-in of `oidc` to finish

    hint: begin one: `earthkey login oidc --quiet`
    ");
    assert!(machine.contents().keys().all(|path| !path.to_string_lossy().contains("pending")));

    let begun = machine.json(&["login", "oidc", "--flow", "loopback", "--quiet", "--json"]);
    assert_eq!(begun["finish"], "earthkey login oidc --finish");
    assert!(begun["url"].as_str().unwrap().starts_with(&format!("{}/oidc/authorize?", machine.url())));
    assert_snapshot!(machine.fails(&["login", "earthscope", "--quiet"], 2), @"
    error: the flow `device` has no page to print

    hint: sign in without `--quiet`: `earthkey login earthscope`
    ");
}

/// A wrong address does not end a sign-in that a right one can still end.
#[test]
fn a_sign_in_that_was_begun_belongs_to_one_login() {
    let machine = Machine::new();
    machine.prints(&["login", "oidc/a", "--flow", "paste", "--quiet"]);
    let other = machine
        .run_with_input(&["login", "oidc/b", "--finish"], "http://127.0.0.1:1/callback?code=c&state=s");
    other.fails(2);
    let wrong = machine
        .run_with_input(&["login", "oidc/a", "--finish"], "http://127.0.0.1:1/callback?code=c&state=s");
    assert_snapshot!(wrong.fails(2), @"
    error: the address that was pasted looks cut off: its `state` or its `code` is not all there

    hint: paste the whole address from the browser's bar, with `?` and everything behind it
    hint: the sign-in still waits: `earthkey login oidc/a --finish <FILE`
    ");
    let foreign = format!("http://127.0.0.1:1/callback?code=c&state={}", "s".repeat(100));
    let wrong = machine.run_with_input(&["login", "oidc/a", "--finish"], &foreign);
    assert_snapshot!(wrong.fails(2), @"
    error: the address that was pasted belongs to another sign-in: its `state` is another

    hint: open the page that was printed for this one, and paste the address that it ends at
    hint: the sign-in still waits: `earthkey login oidc/a --finish <FILE`
    ");
    assert_eq!(machine.token_requests(Realm::Oidc, "authorization_code"), 0);
}

/// What was asked for at the beginning holds at the end, and may be decided as late as there.
#[test]
fn a_sign_in_that_was_begun_replaces_another_account_where_that_was_said() {
    let machine = Machine::new();
    let finished = |begin: &[&str], person: &Person, end: &[&str]| {
        let login = ["login", "oidc"];
        let page = machine.prints(&[&login[..], &["--quiet"], begin].concat());
        let page = Url::parse(page.lines().next().unwrap()).unwrap();
        let address = visit(&person.clone().stopping_at_foreign_redirect(), &page).last_redirect.unwrap();
        machine.run_with_input(&[&login[..], &["--finish"], end].concat(), address.as_ref())
    };
    finished(&[], &Person::ada(), &[]).succeeds();
    assert_snapshot!(finished(&[], &Person::grace(), &[]).fails(3), @"
    error: there is a login of `ada@sandbox.test` at `http://SANDBOX/oidc` already; this one is of `grace@sandbox.test` at `http://SANDBOX/oidc`

    hint: replace it: sign in again with `--force`
    hint: or keep both: sign in under another name, as `SYSTEM/NAME`
    ");
    finished(&["--force"], &Person::grace(), &[]).succeeds();
    assert_eq!(machine.prints(&["whoami", "oidc"]), "grace@sandbox.test");
    finished(&[], &Person::ada(), &["--force"]).succeeds();
    assert_eq!(machine.prints(&["whoami", "oidc"]), "ada@sandbox.test");
}

#[test]
fn what_a_login_says_in_json() {
    let machine = Machine::new();
    let ended =
        machine.sign_in_with(&["login", "oidc", "--flow", "loopback", "--json"], &Person::ada()).succeeds();
    let mut document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(document["expires_at"].is_u64(), "{document}");
    document["expires_at"] = Value::Null;
    assert_eq!(
        document,
        json!({
            "login": "oidc",
            "account": "ada@sandbox.test",
            "flow": "loopback",
            "home": "~/.local/state/earthkey/oidc/default.json",
            "scopes": ["openid", "profile", "email", "offline_access"],
            "expires_at": null,
            "refreshable": true,
        })
    );
}

#[test]
fn what_is_named_once_is_remembered() {
    let machine = Machine::without_sandbox();
    let issuer = format!("{}/oidc", machine.url());
    let first = ["login", "oidc/work", &issuer, "--client-id", "sandbox-public", "--flow", "device"];
    machine.sign_in_with(&first, &Person::ada()).succeeds();
    machine.run(&["logout", "oidc/work"]).succeeds();
    machine.sign_in_with(&["login", "oidc/work"], &Person::ada()).succeeds();
    assert_eq!(machine.json(&["token", "oidc/work", "--json"])["client_id"], "sandbox-public");

    // A provider that registers clients needs no client id.
    machine.sign_in_with(&["login", "oidc/new", &issuer, "--flow", "device"], &Person::ada()).succeeds();
    use_login(&machine, "oidc/new");

    let back_end = format!("{}/openeo", machine.url());
    machine.sign_in_with(&["login", "openeo/mine", &back_end], &Person::ada()).succeeds();
    use_login(&machine, "openeo/mine");
}

#[test]
fn a_provider_that_registers_nobody_needs_a_client_id() {
    let machine = Machine::without_sandbox();
    let provider = Provider::start(|url, _| {
        Some(
            json!({
                "issuer": url,
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
            })
            .to_string(),
        )
    });
    assert_snapshot!(machine.fails(&["login", "oidc/work", &provider.url], 6), @"
    error: `http://127.0.0.1:PORT` needs a client id
    caused by: it offers no registration of clients

    hint: register a native (desktop) application with the provider; redirect address http://127.0.0.1/callback; then name a client: `earthkey login oidc/work --client-id ID`
    ");
    assert!(machine.contents().is_empty());
}

#[test]
fn flows_that_a_system_does_not_have_are_named() {
    let machine = Machine::new();
    assert_snapshot!(machine.fails(&["login", "oidc", "--flow", "telepathy"], 2), @"
    error: there is no flow `telepathy`

    hint: the flows are loopback, paste, device, client-credentials, service-account, refresh, basic; loopback takes a port: `loopback:8085`
    ");
    assert_snapshot!(machine.fails(&["login", "earthscope", "--flow", "paste"], 2), @"
    error: EarthScope has no flow `paste`

    hint: its flows are device, client-credentials and refresh
    ");
    assert_snapshot!(machine.fails(&["login", "openeo", "--flow", "loopback"], 2), @"
    error: openEO logins have no flow `loopback`

    hint: their flows are device, client-credentials, basic and refresh
    ");
    assert_snapshot!(machine.fails(&["login", "oidc", "--flow", "loopback:99999"], 2), @"
    error: there is no flow `loopback:99999`

    hint: the flows are loopback, paste, device, client-credentials, service-account, refresh, basic; loopback takes a port: `loopback:8085`
    ");
    assert!(machine.contents().is_empty());
}
