//! The answer that a record gives.

use std::io::{self, Write as _};

use earthkey_record::clock::Clock;
use earthkey_record::directories;
use earthkey_record::environment::Environment;
use earthkey_record::name::{Arguments, Form, Name};
use earthkey_record::record::Record;
use earthkey_record::secret::Secret;
use earthkey_record::store::Cache;
use earthkey_record::verify::{Freshness, Verdict, check};

use crate::request::Request;

/// Returns the record that answers a request; `None` if there is none that still holds.
pub fn find(request: &Request) -> Option<Record> {
    let mut environment = Environment::of_process();
    if let Some(url) = &request.sandbox {
        environment.set("EARTHKEY_SANDBOX", url);
    }
    let scopes: Vec<&str> = request.scopes.iter().flat_map(|scopes| scopes.split(',')).collect();
    let arguments = Arguments {
        login: Some(&request.login),
        scopes: &scopes,
        audience: request.audience.as_deref(),
        form: request.form,
    };
    // A relative directory would be another one in each working directory.
    let directory = directories::cache_dir(&environment).filter(|directory| directory.is_absolute())?;
    let cache = Cache::open(&directory)?;
    let record = cache.read(&Name::new(&arguments, &environment))?;
    let want = Freshness { min_ttl: request.min_ttl };
    let verdict = check(&record, cache.key(), &environment, &Clock::of_system(), want);
    (verdict == Verdict::Valid && !lines(&record, request.form).is_empty()).then_some(record)
}

/// Prints the answer at once, so that a reader never sees a part of a token.
///
/// Whoever has read enough and gone is no failure.
pub fn print(record: &Record, form: Form) -> io::Result<()> {
    let mut text = String::with_capacity(4096);
    for line in lines(record, form) {
        text.push_str(line.expose());
        text.push('\n');
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn lines(record: &Record, form: Form) -> &[Secret] {
    match form {
        Form::Token => std::slice::from_ref(&record.token),
        Form::Header => &record.headers,
    }
}
