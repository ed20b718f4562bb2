//! Homes that are missing, read-only, open to others, or damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use earthkey_sandbox::Change;
use earthkey_sandbox::Realm;
use earthkey_sandbox::robot::Person;
use insta::assert_snapshot;

use crate::machine::Ended;
use crate::machine::Machine;
use crate::machine::eventually;

const OIDC: &str = ".local/state/earthkey/oidc/default.json";
const TOKENS: &str = ".earthscope/default/tokens.json";
const REFRESH_TOKENS: &str = ".local/share/openeo-python-client/refresh-tokens.json";
const AUTH_CONFIG: &str = ".config/openeo-python-client/auth-config.json";

/// Makes the home read-only in a mount namespace of its own, then becomes the program.
const READ_ONLY: &str = "mount --bind \"$HOME\" \"$HOME\" && mount -o remount,bind,ro \"$HOME\" \
    || { echo 'this test needs to mount, which is not permitted here' >&2; exit 99; }; exec \"$0\" \"$@\"";

/// Runs the program with a home that cannot be written, by nobody, not even by root.
fn run_read_only(machine: &Machine, arguments: &[&str]) -> Ended {
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount", "/bin/sh", "-c", READ_ONLY]
    } else {
        &["unshare", "--map-root-user", "--mount", "/bin/sh", "-c", READ_ONLY]
    };
    let ended = machine.start(machine.wrapped(wrapper, arguments)).end();
    let mounted = ended.code() != 99 && !ended.stderr.contains("unshare: ");
    assert!(mounted, "no read-only home can be made, so nothing is known of it: {ended:#?}");
    ended
}

/// Runs the program as somebody who must obey permissions, which root need not.
pub(crate) fn run_with_permissions(machine: &Machine, arguments: &[&str]) -> Ended {
    if !rustix::process::geteuid().is_root() {
        return machine.run(arguments);
    }
    let rights = "--bounding-set=-dac_override,-dac_read_search";
    let wrapper = ["setpriv", rights, "--inh-caps=-dac_override,-dac_read_search"];
    machine.start(machine.wrapped(&wrapper, arguments)).end()
}

/// Lets the access tokens of every login that is made now end as soon as they are there.
fn tokens_end_at_once(machine: &Machine, realm: Realm) {
    machine.control().settings(realm, &Change { access_token_lifetime: Some(1), ..Change::default() });
}

fn wait_for_expiry(machine: &Machine, login: &str) {
    eventually("expiry", || machine.run(&["status", login]).stdout.contains("expired").then_some(()));
}

#[test]
fn without_a_home_nothing_can_be_found_or_kept() {
    let machine = Machine::new();
    let run = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        command.env_remove("HOME");
        machine.start(command).end().fails(6)
    };
    let error = run(&["token", "oidc"]);
    for arguments in [
        &["login", "oidc"][..],
        &["login", "earthscope"],
        &["login", "openeo"],
        &["token", "earthscope"],
        &["header", "openeo"],
        &["status"],
        &["whoami", "earthscope"],
        &["check", "oidc"],
        &["logout", "oidc"],
        &["paths"],
    ] {
        assert_eq!(run(arguments), error, "{arguments:?}");
    }
    assert_snapshot!(error, @"
    error: `HOME` is not set, so no login can be found or kept

    hint: set `HOME` to your home directory: `export HOME=…`
    hint: for earthkey's own files alone, which are those of `oidc` and `gemini`, `EARTHKEY_HOME` will do
    ");
    let mut command = machine.command(&["token", "earthscope"]);
    command.env_remove("HOME").env("EARTHKEY_HOME", machine.home());
    assert_snapshot!(machine.start(command).end().fails(6), @"
    error: `HOME` is not set, so the files of the system's own client are not found
    caused by: `EARTHKEY_HOME` is for earthkey's own files alone

    hint: set `HOME` to your home directory: `export HOME=…`
    ");
}

#[test]
fn nobody_is_asked_to_sign_in_where_no_login_can_be_kept() {
    let machine = Machine::new();
    for login in ["oidc", "earthscope", "openeo"] {
        let error = run_read_only(&machine, &["login", login, "--flow", "device"]).fails(7);
        assert!(error.contains("hint: the file system is read-only"), "{error}");
        assert_eq!(error.contains("set `EARTHKEY_HOME`"), login == "oidc", "{error}");
    }
    assert_snapshot!(run_read_only(&machine, &["login", "earthscope"]).fails(7), @"
    error: cannot make `HOME/.earthscope/default`
    caused by: Read-only file system (os error 30)

    hint: the file system is read-only: set the variable of the system's own client for its folder, or `HOME`, to a place that can be written
    ");
    assert_eq!(machine.files(), BTreeMap::new());
    assert!(machine.control().requests(None).iter().all(|request| request.method == "GET"));
}

#[test]
fn a_read_only_home_serves_what_it_holds_and_spends_nothing() {
    let machine = Machine::new();
    machine.sign_in("earthscope", &Person::ada()).succeeds();
    let token = machine.prints(&["token", "earthscope"]);
    let before = machine.contents();
    assert_eq!(run_read_only(&machine, &["token", "earthscope"]).succeeds().stdout.trim_end(), token);
    // Also where there is no record to answer from.
    fs::remove_dir_all(machine.path(".cache/earthkey")).unwrap();
    assert_eq!(run_read_only(&machine, &["token", "earthscope"]).succeeds().stdout.trim_end(), token);
    assert!(run_read_only(&machine, &["status"]).succeeds().stdout.contains("valid"));

    assert_snapshot!(run_read_only(&machine, &["token", "earthscope", "--refresh"]).fails(7), @"
    error: cannot use `HOME/.earthscope/default/.tokens.json.earthkey-lease`
    caused by: Read-only file system (os error 30)
    credential: `earthscope` from ~/.earthscope/default/tokens.json

    hint: the file system is read-only: set the variable of the system's own client for its folder, or `HOME`, to a place that can be written
    ");
    assert_eq!(machine.token_requests(Realm::Earthscope, "refresh_token"), 0);
    for (path, bytes) in machine.contents() {
        assert_eq!(before.get(&path), Some(&bytes), "{}", path.display());
    }
    assert_ne!(machine.prints(&["token", "earthscope", "--refresh"]), token);
}

/// What is to blame is named: the file, or the folder that lets nobody in.
#[test]
fn permissions_that_are_missing_are_told_of_the_file_or_the_folder_that_lacks_them() {
    let machine = Machine::new();
    for login in ["earthscope", "oidc"] {
        machine.sign_in(login, &Person::ada()).succeeds();
    }
    fs::remove_dir_all(machine.path(".cache/earthkey")).unwrap();
    let set = |place: &str, mode| {
        fs::set_permissions(machine.path(place), fs::Permissions::from_mode(mode)).unwrap();
    };
    let fails = |arguments: &[&str]| run_with_permissions(&machine, arguments).fails(7);

    set(TOKENS, 0);
    assert_snapshot!(fails(&["token", "earthscope"]), @"
    error: cannot read `HOME/.earthscope/default/tokens.json`
    caused by: permission denied by the file `HOME/.earthscope/default/tokens.json`

    hint: look at `ls -ld HOME/.earthscope/default/tokens.json`: it must be yours to use
    ");
    set(TOKENS, 0o600);
    set(".earthscope", 0o600);
    assert_snapshot!(fails(&["token", "earthscope"]), @"
    error: cannot read `HOME/.earthscope/config.toml`
    caused by: permission denied by the folder `HOME/.earthscope`

    hint: look at `ls -ld HOME/.earthscope`: it must be yours to use
    ");
    let status = run_with_permissions(&machine, &["status"]).succeeds().stdout;
    assert!(status.contains("unreadable") && status.contains("permission denied by the folder"), "{status}");
    set(".earthscope", 0o700);
    set(".earthscope/default", 0o500);
    assert_snapshot!(fails(&["token", "earthscope", "--refresh"]), @"
    error: cannot use `HOME/.earthscope/default/.tokens.json.earthkey-lease`
    caused by: permission denied by the folder `HOME/.earthscope/default`
    credential: `earthscope` from ~/.earthscope/default/tokens.json

    hint: look at `ls -ld HOME/.earthscope/default`: it must be yours to use
    ");
    set(".earthscope/default", 0o700);

    // Our own files can lie elsewhere.
    set(".local/state/earthkey/oidc", 0);
    assert_snapshot!(fails(&["token", "oidc"]), @"
    error: cannot read `HOME/.local/state/earthkey/oidc/default.json`
    caused by: permission denied by the folder `HOME/.local/state/earthkey/oidc`

    hint: look at `ls -ld HOME/.local/state/earthkey/oidc`: it must be yours to use
    hint: or set `EARTHKEY_HOME` to a folder that can be written
    ");
    set(".local/state/earthkey/oidc", 0o700);
    set(".config/earthkey", 0);
    assert_snapshot!(fails(&["token", "oidc"]), @"
    error: cannot read `HOME/.config/earthkey/config.toml`
    caused by: permission denied by the folder `HOME/.config/earthkey`

    hint: look at `ls -ld HOME/.config/earthkey`: it must be yours to use
    hint: or set `EARTHKEY_HOME` to a folder that can be written
    ");
    set(".config/earthkey", 0o700);
}

#[test]
fn openeo_refuses_a_file_that_others_can_read() {
    let machine = Machine::new();
    machine.sign_in("openeo", &Person::ada()).succeeds();
    fs::set_permissions(machine.path(REFRESH_TOKENS), fs::Permissions::from_mode(0o644)).unwrap();
    let before = machine.contents();
    assert_snapshot!(machine.fails(&["token", "openeo", "--refresh"], 7), @"
    error: `HOME/.local/share/openeo-python-client/refresh-tokens.json` can be read by others (mode 0644)
    caused by: the system's own client refuses such a file, too

    hint: let nobody else read it: `chmod 600 HOME/.local/share/openeo-python-client/refresh-tokens.json`
    ");
    machine.fails(&["check", "openeo"], 7);
    assert_eq!(machine.run(&["status", "openeo"]).code(), 7);
    assert_eq!(machine.contents(), before);
    assert_eq!(machine.token_requests(Realm::Openeo, "refresh_token"), 0);
    // The hint is all that it takes.
    fs::set_permissions(machine.path(REFRESH_TOKENS), fs::Permissions::from_mode(0o600)).unwrap();
    machine.prints(&["token", "openeo", "--refresh"]);
}

#[test]
fn earthscope_warns_once_of_a_file_that_others_can_read() {
    let machine = Machine::new();
    machine.sign_in("earthscope", &Person::ada()).succeeds();
    let first = machine.run(&["token", "earthscope", "--refresh"]).succeeds();
    assert_snapshot!(first.stderr.trim_end(), @"the provider of `earthscope` replaces the refresh token at each use, so that a program which keeps an older one in memory is signed out: give it tokens by `earthkey token earthscope`, or a login of its own");
    fs::set_permissions(machine.path(TOKENS), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = machine.run(&["token", "earthscope", "--refresh"]).succeeds();
    assert_eq!(ended.stderr.matches("warning: ").count(), 1, "{}", ended.stderr);
    assert_snapshot!(ended.stderr.trim_end(), @"warning: `HOME/.earthscope/default/tokens.json` can be read by others (mode 0644); run `chmod 600 HOME/.earthscope/default/tokens.json`");
    // What is written anew is for its owner alone.
    assert_eq!(machine.files()[std::path::Path::new(TOKENS)].mode, 0o600);
    assert_eq!(machine.run(&["token", "earthscope", "--refresh"]).succeeds().stderr, "");
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    let machine = Machine::new();
    for login in ["oidc", "earthscope", "openeo"] {
        machine.sign_in(login, &Person::ada()).succeeds();
    }
    for (login, place) in [("oidc", OIDC), ("earthscope", TOKENS), ("openeo", REFRESH_TOKENS)] {
        let whole = machine.read(place);
        let torn = &whole[..whole.len() / 2];
        let wrong = whole.replace("\"refresh_token\": \"", "\"refresh_token\": 1, \"x\": \"");
        for damage in [torn, "", "[]", "\0\0\0\0", &wrong] {
            machine.write(place, damage);
            let before = machine.contents();
            for arguments in
                [&["token", login][..], &["token", login, "--refresh"], &["header", login], &["check", login]]
            {
                let error = machine.fails(arguments, 7);
                assert!(
                    error.starts_with(&format!("error: `HOME/{place}` is damaged\n")),
                    "{arguments:?} {error}"
                );
            }
            let status = machine.run(&["status", login]);
            assert_eq!(status.code(), 7, "{status:#?}");
            assert!(status.stdout.contains("damaged"), "{status:#?}");
            // Nobody is asked to sign in where what was granted could not be kept.
            let requests = machine.control().requests(None).len();
            machine.fails(&["login", login, "--flow", "device"], 7);
            let asked = machine.control().requests(None).split_off(requests);
            assert!(asked.iter().all(|request| request.method == "GET"), "{asked:?}");
            assert_eq!(machine.contents(), before, "{login} {damage}");
        }
        machine.write(place, &whole);
        machine.prints(&["token", login]);
    }
    for realm in Realm::ALL {
        assert_eq!(machine.token_requests(realm, "refresh_token"), 0);
    }
}

#[test]
fn what_is_said_of_a_damaged_file() {
    let machine = Machine::new();
    for place in [OIDC, TOKENS, REFRESH_TOKENS] {
        machine.write(place, "{\"refresh_token\": \"real-");
    }
    assert_snapshot!(machine.fails(&["token", "oidc"], 7), @"
    error: `HOME/.local/state/earthkey/oidc/default.json` is damaged
    caused by: it is not what earthkey wrote (line 1, column 24)

    hint: look at the file; to sign in anew, move it away first: `mv HOME/.local/state/earthkey/oidc/default.json HOME/.local/state/earthkey/oidc/default.json.damaged`
    ");
    assert_snapshot!(machine.fails(&["token", "earthscope"], 7), @"
    error: `HOME/.earthscope/default/tokens.json` is damaged
    caused by: it is no JSON object (line 1, column 24)

    hint: look at the file; to sign in anew, move it away first: `mv HOME/.earthscope/default/tokens.json HOME/.earthscope/default/tokens.json.damaged`
    ");
    assert_snapshot!(machine.fails(&["token", "openeo"], 7), @"
    error: `HOME/.local/share/openeo-python-client/refresh-tokens.json` is damaged
    caused by: it is no JSON object (line 1, column 24)

    hint: look at the file; to sign in anew, move it away first: `mv HOME/.local/share/openeo-python-client/refresh-tokens.json HOME/.local/share/openeo-python-client/refresh-tokens.json.damaged`
    ");
}

/// A file that belongs to one login goes with it; one that others share is left to a person.
#[test]
fn a_damaged_file_of_several_logins_is_not_removed() {
    let machine = Machine::new();
    machine.sign_in("openeo", &Person::ada()).succeeds();
    machine.write(REFRESH_TOKENS, "{\"https://sso.example.org\": ");
    let before = machine.contents();
    machine.fails(&["logout", "openeo"], 7);
    assert_eq!(machine.contents(), before);
}

#[test]
fn one_damaged_file_hides_no_other_login() {
    let machine = Machine::new();
    machine.sign_in("earthscope", &Person::ada()).succeeds();
    machine.write(REFRESH_TOKENS, "{");
    machine.write(".local/state/earthkey/oidc/work.json", "{");
    assert_snapshot!(machine.filtered(&machine.prints(&["status"])), @"
    LOGIN       STATE    EXPIRES    ACCOUNT  FLOW    HOME
    openeo      damaged  -          -        -       `HOME/.local/share/openeo-python-client/refresh-tokens.json` is damaged: it is no JSON object (line 1, column 1)
    earthscope  valid    in 60 min  -        device  ~/.earthscope/default/tokens.json
    oidc/work   damaged  -          -        -       `HOME/.local/state/earthkey/oidc/work.json` is damaged: it is not what earthkey wrote (line 1, column 1)
    ");
    machine.prints(&["token", "earthscope"]);
}

#[test]
fn damaged_settings_are_named_and_left_as_they_are() {
    let machine = Machine::new();
    machine.write(AUTH_CONFIG, "{\"backends\": ");
    assert_snapshot!(machine.fails(&["login", "openeo"], 7), @"
    error: `HOME/.config/openeo-python-client/auth-config.json` is damaged
    caused by: it is no JSON object (line 1, column 13)

    hint: look at the file; to sign in anew, move it away first: `mv HOME/.config/openeo-python-client/auth-config.json HOME/.config/openeo-python-client/auth-config.json.damaged`
    ");
    machine.write(
        ".earthscope/config.toml",
        "[default]\nrefresh_token = real-0123456789012345678901234567890123456789\n",
    );
    assert_snapshot!(machine.fails(&["login", "earthscope"], 6), @"
        error: `HOME/.earthscope/config.toml` is not valid TOML near line 2
        caused by: string values must be quoted, expected literal string

        hint: mend it, or move it away: `mv HOME/.earthscope/config.toml HOME/.earthscope/config.toml.damaged`
        ");
    machine.write(".config/earthkey/config.toml", "default = oidc\n");
    assert_snapshot!(machine.fails(&["login", "oidc"], 6), @"
    error: `~/.config/earthkey/config.toml` is not valid TOML
    caused by: TOML parse error at line 1, column 11
      |
    1 | default = oidc
      |           ^^^^
    string values must be quoted, expected literal string

    hint: mend the line that is named above in `~/.config/earthkey/config.toml`
    ");
    assert_eq!(machine.contents().len(), 3);
}

/// What a person wrote into our configuration stays, beside what is remembered.
#[test]
fn settings_of_a_person_are_kept() {
    let machine = Machine::new();
    machine.write(".config/earthkey/config.toml", "# mine\ndefault = \"oidc/work\"\n");
    machine.sign_in_service("oidc/work").succeeds();
    machine.sign_in_service("oidc/other").succeeds();
    let config = machine.read(".config/earthkey/config.toml");
    assert!(config.starts_with("# mine\ndefault = \"oidc/work\"\n"), "{config}");
    assert_eq!(machine.json(&["token", "--json"])["login"], "oidc/work");
}

#[test]
fn everything_that_is_kept_is_for_its_owner_alone() {
    let machine = Machine::new();
    for login in ["oidc", "earthscope", "openeo"] {
        machine.sign_in(login, &Person::ada()).succeeds();
        machine.prints(&["token", login, "--refresh"]);
        machine.prints(&["header", login]);
    }
    machine.prints(&["login", "oidc", "--flow", "paste", "--quiet"]);
    for (path, entry) in machine.files() {
        let mode = if entry.bytes.is_some() { 0o600 } else { 0o700 };
        assert_eq!(entry.mode, mode, "{}", path.display());
    }
}

#[test]
fn an_expired_login_is_refreshed_where_its_home_can_be_written_again() {
    let machine = Machine::new();
    tokens_end_at_once(&machine, Realm::Earthscope);
    machine.sign_in("earthscope", &Person::ada()).succeeds();
    wait_for_expiry(&machine, "earthscope");
    assert_snapshot!(run_read_only(&machine, &["token", "earthscope"]).fails(7), @"
    error: cannot use `HOME/.earthscope/default/.tokens.json.earthkey-lease`
    caused by: Read-only file system (os error 30)
    credential: `earthscope` from ~/.earthscope/default/tokens.json

    hint: the file system is read-only: set the variable of the system's own client for its folder, or `HOME`, to a place that can be written
    ");
    assert_eq!(machine.token_requests(Realm::Earthscope, "refresh_token"), 0);
    machine.prints(&["token", "earthscope"]);
    assert_eq!(machine.token_requests(Realm::Earthscope, "refresh_token"), 1);
}
