//! What is printed, and how.

use std::fs::File;
use std::io;
use std::process::Stdio;

use earthkey_record::name::{Arguments, Form};
use earthkey_record::record::Record;
use earthkey_record::secret::Secret;

use crate::machine::{Did, LOGIN, Machine, PLAIN, TOKEN, assert_handed_over, assert_served, did};

const SANDBOX: &str = "http://127.0.0.1:1";

#[test]
fn a_header_is_one_line_each_and_is_no_token() {
    let machine = Machine::with_record();
    let header = &["header", LOGIN];
    assert_handed_over(&mut machine.front(header));
    let lines = ["Authorization: Bearer t", "x-goog-user-project: p"];
    let arguments = Arguments { form: Form::Header, ..PLAIN };
    let record =
        Record { headers: lines.map(Secret::new).to_vec(), token: Secret::new("t"), ..machine.record() };
    machine.keep(&arguments, &record);
    assert_eq!(did(&mut machine.front(header)), Did::Print(lines.join("\n") + "\n"));
    assert_served(&mut machine.token());
    machine.keep(&arguments, &Record { headers: Vec::new(), ..record });
    assert_handed_over(&mut machine.front(header));
}

#[test]
fn a_login_is_the_one_that_was_typed() {
    let machine = Machine::with_record();
    for login in ["openeo", "openeo/", "openeo/cdse ", "openeo/CDSE", "earthscope"] {
        assert_handed_over(&mut machine.front(&["token", login]));
    }
}

#[test]
fn scopes_and_audience_are_exact() {
    let machine = Machine::with_record();
    machine.keep(&Arguments { scopes: &["a", "b"], ..PLAIN }, &machine.record());
    machine.keep(&Arguments { audience: Some("x"), ..PLAIN }, &machine.record());
    for words in [["--scopes", "a"], ["--scopes", "a,b,c"], ["--scopes", "a b"], ["--audience", "y"]] {
        assert_handed_over(machine.token().args(words));
    }
    assert_handed_over(machine.token().args(["--scopes", "a,b", "--audience", "x"]));
    assert_served(machine.token().args(["--scopes", "b,a"]));
    assert_served(machine.token().args(["--audience", "x"]));
}

#[test]
fn the_option_for_a_sandbox_is_its_variable() {
    let machine = Machine::new();
    machine.keep_with(&[("EARTHKEY_SANDBOX", SANDBOX)], &PLAIN);
    assert_served(machine.token().env("EARTHKEY_SANDBOX", SANDBOX));
    assert_served(&mut machine.front(&["--sandbox", SANDBOX, "token", LOGIN]));
    assert_served(&mut machine.front(&["token", "--sandbox=http://127.0.0.1:1", LOGIN]));
    assert_served(machine.token().args(["--sandbox", SANDBOX]).env("EARTHKEY_SANDBOX", "http://127.0.0.1:2"));
    assert_handed_over(&mut machine.token());
    assert_handed_over(machine.token().args(["--sandbox", "http://127.0.0.1:2"]));
    assert_handed_over(
        machine.token().args(["--sandbox", "http://127.0.0.1:2"]).env("EARTHKEY_SANDBOX", SANDBOX),
    );
}

#[test]
fn a_token_of_the_real_provider_is_not_served_to_a_sandbox() {
    let machine = Machine::with_record();
    assert_handed_over(machine.token().args(["--sandbox", SANDBOX]));
    assert_handed_over(machine.token().env("EARTHKEY_SANDBOX", SANDBOX));
    assert_served(&mut machine.token());
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let machine = Machine::with_record();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = machine.token().stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_told() {
    let machine = Machine::with_record();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = machine.token().stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("error: the output cannot be written\ncaused by: No space left on device"),
        "{told}"
    );
    assert!(told.contains("\n\nhint: ") && !told.contains(TOKEN), "{told}");
}
