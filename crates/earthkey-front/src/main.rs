//! The program `earthkey`: answers `token` and `header` from a record that still holds, and replaces itself by
//! `earthkey-cli`, which lies in the same folder, for everything else.
//!
//! It links no HTTP, no TLS and no argument parser, so it starts as fast as a program can.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use earthkey_front::answer;
use earthkey_front::request::Request;
use earthkey_record::guard::{self, ForeignRights};
use earthkey_record::variables::FRONT_VERSION;

/// What the program is called. Under another name it speaks another program's words.
const NAME: &str = "earthkey";

const CLI: &str = "earthkey-cli";

fn main() -> ExitCode {
    match protect().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With nobody to read it there is nobody to tell that it could not be written.
            let _ = failure.write();
            ExitCode::FAILURE
        }
    }
}

/// Returns once an answer was given; whoever it is handed over to takes this process.
fn run() -> Result<(), Failure> {
    let Some(request) = Request::read(NAME, env::args_os()) else { return hand_over() };
    let Some(record) = answer::find(&request) else { return hand_over() };
    answer::print(&record, request.form).map_err(|cause| Failure {
        what: "the output cannot be written".to_owned(),
        cause: Some(cause),
        hint: "see where standard output leads, and make room there".to_owned(),
    })
}

fn hand_over() -> Result<(), Failure> {
    Err(replace_by(&sibling()?))
}

fn protect() -> Result<(), Failure> {
    guard::protect().map_err(|refusal| Failure {
        what: refusal.to_string(),
        cause: None,
        hint: ForeignRights::HINT.to_owned(),
    })
}

/// Returns the path of the program to hand over to: beside this one, never from `PATH`.
fn sibling() -> Result<PathBuf, Failure> {
    let exe = env::current_exe().and_then(|path| path.canonicalize()).map_err(|cause| Failure {
        what: "cannot find out where earthkey is installed".to_owned(),
        cause: Some(cause),
        hint: format!("run `{CLI}` itself, with the same arguments"),
    })?;
    Ok(exe.with_file_name(CLI))
}

/// Returns only if it fails.
fn replace_by(cli: &Path) -> Failure {
    let mut arguments = env::args_os();
    let cause = Command::new(cli)
        // The name counts: a link such as `es` to this program speaks another program's words.
        .arg0(arguments.next().unwrap_or_else(|| OsString::from("earthkey")))
        .args(arguments)
        .env(FRONT_VERSION, env!("CARGO_PKG_VERSION"))
        .exec();
    let folder = cli.parent().unwrap_or(cli).display();
    if cause.kind() == io::ErrorKind::NotFound && !cli.exists() {
        return Failure {
            what: format!("{CLI} is not beside earthkey in {folder}"),
            cause: None,
            hint: format!(
                "install earthkey again; `earthkey` and `{CLI}` of one version belong in one folder"
            ),
        };
    }
    Failure {
        what: format!("cannot run {}", cli.display()),
        cause: Some(cause),
        hint: format!(
            "install earthkey again, or see what is wrong there: ls -l '{}'",
            cli.display().to_string().replace('\'', r"'\''")
        ),
    }
}

/// What failed, why, and what to do next.
struct Failure {
    what: String,
    cause: Option<io::Error>,
    hint: String,
}

impl Failure {
    fn write(&self) -> io::Result<()> {
        let cause = self.cause.as_ref().map(|cause| format!("caused by: {cause}\n")).unwrap_or_default();
        // At once, so that the lines of several processes do not mix.
        let text = format!("error: {}\n{cause}\nhint: {}\n", self.what, self.hint);
        io::stderr().write_all(text.as_bytes())
    }
}
