//! A machine of one test: a home, the front, and a stand-in for the program behind it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use earthkey_record::clock::Clock;
use earthkey_record::environment::Environment;
use earthkey_record::name::{Arguments, Form, Name};
use earthkey_record::record::{Dependency, Expected, Record};
use earthkey_record::secret::Secret;
use earthkey_record::store::Cache;
use tempfile::TempDir;

pub(crate) const LOGIN: &str = "openeo/cdse";
pub(crate) const TOKEN: &str = "token-of-the-record";
pub(crate) const LIFETIME: u64 = 3600;

pub(crate) const PLAIN: Arguments<'static> =
    Arguments { login: Some(LOGIN), scopes: &[], audience: None, form: Form::Token };

pub(crate) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let machine = Self { folder };
        fs::create_dir(machine.home()).unwrap();
        // By links: a program that was just written cannot be run while a child of another test
        // still holds it open.
        fs::hard_link(env!("CARGO_BIN_EXE_earthkey"), machine.path("earthkey")).unwrap();
        symlink(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records/earthkey-cli"),
            machine.path("earthkey-cli"),
        )
        .unwrap();
        machine
    }

    /// Makes a machine with one record, of [`PLAIN`].
    pub(crate) fn with_record() -> Self {
        let machine = Self::new();
        machine.keep(&PLAIN, &machine.record());
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub(crate) fn cache_path(&self) -> PathBuf {
        self.home().join(".cache/earthkey")
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::create(&self.cache_path()).unwrap()
    }

    /// Returns the environment that commands run in, with further variables.
    pub(crate) fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        let given = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Environment::new(given.chain([("HOME".into(), self.home().into())]))
    }

    /// Returns a record that holds, with nothing to depend on but time and environment.
    pub(crate) fn record(&self) -> Record {
        let clock = Clock::of_system();
        Record {
            token: Secret::new(TOKEN),
            token_type: "Bearer".to_owned(),
            headers: Vec::new(),
            scopes: Vec::new(),
            client_id: None,
            login: LOGIN.to_owned(),
            obtained_at: clock.now,
            lifetime: LIFETIME,
            expires_at: clock.now + LIFETIME,
            early_at: clock.now + LIFETIME / 4 * 3,
            boot_id: clock.boot_id,
            boottime_ms: clock.boottime_ms,
            grant: [0; 16],
            environment: self.environment(&[]).digest(self.cache().key()),
            dependencies: Vec::new(),
        }
    }

    pub(crate) fn keep(&self, arguments: &Arguments<'_>, record: &Record) {
        self.cache().write(&Name::new(arguments, &self.environment(&[])), record).unwrap();
    }

    /// Keeps a record that was resolved with further variables.
    pub(crate) fn keep_with(&self, variables: &[(&str, &str)], arguments: &Arguments<'_>) {
        let environment = self.environment(variables);
        let record = Record { environment: environment.digest(self.cache().key()), ..self.record() };
        self.cache().write(&Name::new(arguments, &environment), &record).unwrap();
    }

    /// Keeps a record that depends on one path.
    pub(crate) fn keep_depending(&self, path: &Path, expected: Expected) {
        let dependencies = vec![Dependency { path: path.to_owned(), expected }];
        self.keep(&PLAIN, &Record { dependencies, ..self.record() });
    }

    /// Returns the path of a file of the home, now with this content, and what a record says of it.
    pub(crate) fn file(&self, name: &str, content: &str) -> (PathBuf, Expected) {
        let path = self.home().join(name);
        fs::write(&path, content).unwrap();
        (path, Expected::File(self.cache().key().file(content.as_bytes())))
    }

    pub(crate) fn front(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("earthkey"));
        command.args(words).env_clear().env("HOME", self.home());
        command
    }

    pub(crate) fn token(&self) -> Command {
        self.front(&["token", LOGIN])
    }
}

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// It printed this, and nothing else.
    Print(String),
    /// It handed over these words, and printed nothing itself.
    HandOver(Vec<String>),
}

pub(crate) fn did(command: &mut Command) -> Did {
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    match stdout.strip_prefix("HANDED-OVER[").and_then(|words| words.strip_suffix(']')) {
        Some(words) => Did::HandOver(words.split("][").map(str::to_owned).collect()),
        None => Did::Print(stdout),
    }
}

/// Asserts that the token of [`Machine::record`] is printed.
#[track_caller]
pub(crate) fn assert_served(command: &mut Command) {
    assert_eq!(did(command), Did::Print(format!("{TOKEN}\n")), "{command:?}");
}

/// Asserts that the command line is handed over, word for word.
#[track_caller]
pub(crate) fn assert_handed_over(command: &mut Command) {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    assert_eq!(did(command), Did::HandOver(words), "{command:?}");
}
