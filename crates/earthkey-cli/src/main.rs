//! The program `earthkey-cli`: answers every command alone. `earthkey` is the small program in
//! front of it.

mod args;
mod commands;
mod failure;
mod output;
mod signals;
mod terminal;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use earthkey::earthkey::Earthkey;
use earthkey::error::Error;
use earthkey::error::ErrorKind;
use earthkey::host::Env;
use earthkey::host::Host;
use earthkey::host::real::RealClock;
use earthkey::host::real::RealFileSystem;
use earthkey::host::real::RealHttp;
use earthkey::host::real::RealProcess;
use earthkey::host::real::RealRandom;
use earthkey::host::records::RealRecords;
use earthkey_front::answer;
use earthkey_front::request::Request;
use earthkey_record::guard;
use earthkey_record::guard::ForeignRights;
use earthkey_record::variables::FRONT_VERSION;

use crate::args::Arguments;
use crate::args::Command;
use crate::failure::Failure;
use crate::output::Color;
use crate::output::Output;
use crate::terminal::Terminal;

/// What this program is called when nobody is in front of it.
const NAME: &str = "earthkey-cli";

fn main() -> ExitCode {
    match answer_quickly() {
        Some(Ok(())) => return ExitCode::SUCCESS,
        // Without options there is no other way for an error to look.
        Some(Err(error)) => return Failure::from(error).report(&Output::new(Color::Auto, false)),
        None => {}
    }
    let terminal_state = signals::TerminalState::remember();
    let arguments = Arguments::parse();
    let output = Output::new(arguments.global.color, arguments.global.json);
    let ended = prepare().and_then(|()| run(arguments, &output, terminal_state));
    match ended {
        Ok(code) => code,
        Err(failure) => failure.report(&output),
    }
}

/// Answers from a record before anything is built that only other commands need; `None` where it takes
/// more than that.
fn answer_quickly() -> Option<io::Result<()>> {
    let request = Request::read(NAME, std::env::args_os())?;
    // Who may not be answered is told so on the long way.
    guard::protect().ok()?;
    let record = answer::find(&request)?;
    Some(answer::print(&record, request.form))
}

/// Sees to this process before it touches a secret.
fn prepare() -> Result<(), Failure> {
    guard::protect().map_err(|refusal| Error::internal(refusal.to_string()).hint(ForeignRights::HINT))?;
    match std::env::var(FRONT_VERSION) {
        Ok(front) if front != env!("CARGO_PKG_VERSION") => Err(Error::internal(format!(
            "`earthkey` is of version {front} and `earthkey-cli` beside it of version {}",
            env!("CARGO_PKG_VERSION")
        ))
        .hint("install earthkey again; both programs of one version belong in one folder")
        .into()),
        _ => Ok(()),
    }
}

fn run(
    arguments: Arguments,
    output: &Output,
    terminal_state: signals::TerminalState,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the runtime cannot be started").caused_by(error))?;
    let mut env = Env::of_process();
    if let Some(url) = &arguments.global.sandbox {
        env.set("EARTHKEY_SANDBOX", url);
    }
    let sandbox = env.text("EARTHKEY_SANDBOX").map(str::to_owned);
    let named_by = if arguments.global.sandbox.is_some() { "--sandbox" } else { "EARTHKEY_SANDBOX" };
    let process = RealProcess::default();
    let host = host(env, &arguments, output, process.clone());
    let is_sandbox = matches!(arguments.command, Command::Sandbox(_));
    let code = runtime.block_on(signals::until_asked_to_stop(
        &process,
        terminal_state,
        dispatch(Earthkey::in_foreground(host), arguments, output),
    ));
    // Whatever still reads standard input in the background is not waited for.
    runtime.shutdown_background();
    match code {
        // A sandbox runs until it is told to stop; that is its end, not a fault.
        Err(Failure::Error(error)) if is_sandbox && error.kind() == ErrorKind::Interrupted => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Error(error)) if is_nobody_there(&error) => Err(match sandbox {
            Some(url) if !is_nobody_elsewhere(&error, url.as_str()) => error.hint(format!(
                "the sandbox at `{url}`, named by `{named_by}`, plays every system; is it running? \
                 `earthkey sandbox` starts one and says where it is"
            )),
            _ => *error,
        }
        .into()),
        code => code,
    }
}

/// Returns whether another address than the sandbox's is named where nothing listened.
fn is_nobody_elsewhere(error: &Error, sandbox: &str) -> bool {
    let sandbox = sandbox.trim_end_matches('/');
    error.causes().iter().any(|cause| cause.starts_with("http://") && !cause.starts_with(sandbox))
}

/// Returns whether nothing listened where something was sent to.
fn is_nobody_there(error: &Error) -> bool {
    let is_refused = |cause: &String| cause.contains("Connection refused");
    error.kind() == ErrorKind::Network && error.causes().iter().any(is_refused)
}

fn host(env: Env, arguments: &Arguments, output: &Output, process: RealProcess) -> Host {
    let terminal = Arc::new(Terminal::new(&env, arguments, output));
    Host {
        clock: Arc::new(RealClock),
        fs: Arc::new(RealFileSystem),
        http: Arc::new(RealHttp::new(terminal.clone())),
        interaction: terminal,
        process: Arc::new(process),
        records: Arc::new(RealRecords::new(env.cache_directory().ok())),
        random: Arc::new(RealRandom),
        env: Arc::new(env),
    }
}

async fn dispatch(earthkey: Earthkey, arguments: Arguments, output: &Output) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Login(command) => {
            commands::login::run(&earthkey, *command, arguments.global.no_input, output).await
        }
        Command::Token(command) => commands::token::token(&earthkey, command, output).await,
        Command::Header(command) => commands::token::header(&earthkey, command, output).await,
        Command::Status(command) => commands::status::run(&earthkey, command, output).await,
        Command::Whoami(command) => commands::check::whoami(&earthkey, command, output).await,
        Command::Check(command) => commands::check::check(&earthkey, command, output).await,
        Command::Logout(command) => commands::logout::run(&earthkey, command, output).await,
        Command::Paths => commands::paths::run(&earthkey, output),
        Command::Sandbox(command) => commands::sandbox::run(command, output).await,
        Command::Demo => commands::demo::run(output).await,
        Command::Completions(command) => commands::completions::run(&command, output),
    }
}
