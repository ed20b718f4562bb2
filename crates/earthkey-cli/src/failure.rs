//! Errors as people see them: the one place where they become texts and exit codes.

use std::io;
use std::io::Write;
use std::process::ExitCode;

use earthkey::error::Error;
use earthkey::error::ErrorKind;

use crate::output::Output;

/// What ends a command early.
pub(crate) enum Failure {
    /// Something went wrong.
    Error(Box<Error>),
    /// Whoever read our output has gone, which is their right.
    NobodyReads,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Error::internal("the output cannot be written")
                .caused_by(error)
                .hint("look at where standard output leads")
                .into(),
        }
    }
}

impl Failure {
    /// Writes what there is to say and returns the exit code.
    pub(crate) fn report(self, output: &Output) -> ExitCode {
        match self {
            Self::NobodyReads => ExitCode::SUCCESS,
            Self::Error(error) => {
                // At once, so that the lines of several processes do not mix.
                let _ = io::stderr().write_all(text(&error, output).as_bytes());
                ExitCode::from(exit_code(error.kind()))
            }
        }
    }
}

/// Returns the exit code of a kind of error.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => 2,
        ErrorKind::LoginRequired => 3,
        ErrorKind::Refused => 4,
        ErrorKind::Network => 5,
        ErrorKind::Configuration => 6,
        ErrorKind::Store => 7,
        ErrorKind::Interrupted => 130,
        _ => 1,
    }
}

fn text(error: &Error, output: &Output) -> String {
    let mut lines = vec![format!("{}: {error}", output.stderr.red("error"))];
    lines.extend(error.causes().iter().map(|cause| format!("caused by: {cause}")));
    lines.extend(error.credential().map(|credential| format!("credential: {credential}")));
    if !error.hints().is_empty() {
        lines.push(String::new());
    }
    lines.extend(error.hints().iter().map(|hint| format!("{}: {hint}", output.stderr.green("hint"))));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Color;

    #[test]
    fn an_error_says_what_why_which_and_what_next() {
        let error = Error::refused("the provider does not accept the refresh token any more")
            .caused_by("invalid_grant: Unknown or invalid refresh token.")
            .with_credential("`earthscope` from ~/.earthscope/default/tokens.json")
            .hint("sign in: `earthkey login earthscope`");
        insta::assert_snapshot!(text(&error, &Output::new(Color::Never, false)), @r"
        error: the provider does not accept the refresh token any more
        caused by: invalid_grant: Unknown or invalid refresh token.
        credential: `earthscope` from ~/.earthscope/default/tokens.json

        hint: sign in: `earthkey login earthscope`
        ");
    }

    #[test]
    fn every_kind_has_the_exit_code_that_help_promises() {
        let kinds = [
            (ErrorKind::Internal, 1),
            (ErrorKind::Usage, 2),
            (ErrorKind::LoginRequired, 3),
            (ErrorKind::Refused, 4),
            (ErrorKind::Network, 5),
            (ErrorKind::Configuration, 6),
            (ErrorKind::Store, 7),
            (ErrorKind::Interrupted, 130),
        ];
        for (kind, code) in kinds {
            assert_eq!(exit_code(kind), code);
        }
    }
}
