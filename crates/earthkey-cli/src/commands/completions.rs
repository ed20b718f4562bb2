//! `earthkey completions`.

use std::process::ExitCode;

use clap::Args;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::Failure;
use crate::output::Output;

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  earthkey completions bash >~/.local/share/bash-completion/completions/earthkey
  earthkey completions zsh >~/.zfunc/_earthkey
  earthkey completions fish >~/.config/fish/completions/earthkey.fish")]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &CompletionsArguments, output: &Output) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "earthkey", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
