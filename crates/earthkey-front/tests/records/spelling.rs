//! Which command lines are answered, and which are for the program behind.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;

use earthkey_record::name::Arguments;

use crate::machine::{LOGIN, Machine, PLAIN, assert_handed_over, assert_served};

#[test]
fn every_spelling_of_the_known_options_is_answered() {
    let machine = Machine::with_record();
    let arguments = Arguments { scopes: &["a", "b"], audience: Some("x=y"), ..PLAIN };
    machine.keep(&arguments, &machine.record());
    for words in [
        &["token", LOGIN][..],
        &["token", LOGIN, "--min-ttl", "60"],
        &["token", "--min-ttl=60", LOGIN],
        &["token", LOGIN, "--scopes", "a,b", "--audience", "x=y"],
        &["token", "--audience=x=y", "--scopes=b,a", LOGIN],
        &["token", "--scopes", "b,a,b", LOGIN, "--audience", "x=y", "--min-ttl", "0"],
    ] {
        assert_served(&mut machine.front(words));
    }
}

#[test]
fn everything_else_is_handed_over() {
    let machine = Machine::with_record();
    // Whoever read less strictly would find these.
    let odd = [
        Arguments { login: None, ..PLAIN },
        Arguments { login: Some(""), ..PLAIN },
        Arguments { login: Some("-v"), ..PLAIN },
        Arguments { login: Some("--"), ..PLAIN },
        Arguments { login: Some("/home\nslot"), ..PLAIN },
        Arguments { scopes: &[""], ..PLAIN },
        Arguments { scopes: &["a"], ..PLAIN },
        Arguments { scopes: &["b"], ..PLAIN },
        Arguments { scopes: &["-a"], ..PLAIN },
        Arguments { audience: Some(""), ..PLAIN },
        Arguments { audience: Some("x"), ..PLAIN },
        Arguments { audience: Some("--min-ttl"), ..PLAIN },
    ];
    for arguments in odd {
        machine.keep(&arguments, &machine.record());
    }
    for url in ["", "-v", "http://127.0.0.1:2"] {
        machine.keep_with(&[("EARTHKEY_SANDBOX", url)], &PLAIN);
    }
    for words in [
        // What the front does not do.
        &["token", LOGIN, "--json"][..],
        &["--json", "token", LOGIN],
        &["token", LOGIN, "--refresh"],
        &["token", LOGIN, "-v"],
        &["-vvv", "token", LOGIN],
        &["token", LOGIN, "--verbose"],
        &["token", LOGIN, "--no-input"],
        &["token", LOGIN, "--color", "never"],
        &["token", LOGIN, "--color=never"],
        &["token", LOGIN, "--help"],
        &["token", "-h"],
        &["--version"],
        &["status", LOGIN],
        &["check", LOGIN],
        // The default login is for who knows all of them.
        &["token"],
        &["header"],
        &["token", "--min-ttl", "1"],
        // What is wrong is told by who knows the whole grammar.
        &["token", LOGIN, "--unknown"],
        &["token", LOGIN, "--unknown=1"],
        &["token", LOGIN, "--min", "1"],
        &["token", LOGIN, "openeo/other"],
        &["token", LOGIN, LOGIN],
        &["token", "token", LOGIN],
        &["token", ""],
        &["token", "-v"],
        &["token", "--", LOGIN],
        &["token", "--", "--"],
        &["token", "/home\nslot"],
        &["Token", LOGIN],
        &["tok", LOGIN],
        &["", LOGIN],
        &[LOGIN, "token"],
        &["--min-ttl", "1", "token", LOGIN],
        &["--audience", "x", "token", LOGIN],
        &["--scopes=a", "token", LOGIN],
        &["token=x", LOGIN],
        &["token", LOGIN, "--min-ttl"],
        &["token", LOGIN, "--min-ttl="],
        &["token", LOGIN, "--min-ttl", ""],
        &["token", LOGIN, "--min-ttl", "soon"],
        &["token", LOGIN, "--min-ttl", "-1"],
        &["token", LOGIN, "--min-ttl=-1"],
        &["token", LOGIN, "--min-ttl", "1.5"],
        &["token", LOGIN, "--min-ttl", "18446744073709551616"],
        &["token", LOGIN, "--min-ttl", "1", "--min-ttl", "1"],
        &["token", LOGIN, "--scopes"],
        &["token", LOGIN, "--scopes", ""],
        &["token", LOGIN, "--scopes", "-a"],
        &["token", LOGIN, "--scopes", "a", "--scopes", "b"],
        &["token", LOGIN, "--audience="],
        &["token", LOGIN, "--audience", "--min-ttl"],
        &["token", LOGIN, "--sandbox"],
        &["token", LOGIN, "--sandbox", ""],
        &["token", LOGIN, "--sandbox", "-v"],
        &["--sandbox", "http://127.0.0.1:1", "token", LOGIN, "--sandbox", "http://127.0.0.1:2"],
        &["-token", LOGIN],
    ] {
        assert_handed_over(&mut machine.front(words));
    }
    assert_handed_over(machine.token().arg("--json"));
    // So the record was there all the time.
    assert_served(&mut machine.token());
}

#[test]
fn words_that_are_no_text_are_handed_over() {
    let machine = Machine::with_record();
    let word = OsStr::from_bytes(b"\xff");
    for command in [&mut machine.front(&["token"]), &mut machine.token(), machine.token().arg("--audience")] {
        let output = command.arg(word).output().unwrap();
        assert!(output.stdout.starts_with(b"HANDED-OVER[token]"), "{output:?}");
        assert!(output.stdout.ends_with(b"[\xff]"), "{output:?}");
    }
}

#[test]
fn under_another_name_it_speaks_another_programs_words() {
    let machine = Machine::with_record();
    for name in ["earthkey", "/somewhere/earthkey", "./earthkey"] {
        assert_served(machine.token().arg0(name));
    }
    for name in ["es", "openeo-auth", "earthengine", "/somewhere/es", "earthkey-cli", "Earthkey", "", "/"] {
        assert_handed_over(machine.token().arg0(name));
    }
}
