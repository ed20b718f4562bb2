//! Being asked to stop: never while an answer is not durable, and with the terminal as it was.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use earthkey::error::Error;
use earthkey::host::real::RealProcess;
use rustix::process::getpgrp;
use rustix::termios::OptionalActions;
use rustix::termios::Termios;
use rustix::termios::tcgetattr;
use rustix::termios::tcgetpgrp;
use rustix::termios::tcsetattr;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::failure::Failure;
use crate::terminal::write;

/// How the terminal was set when the program started: a hidden prompt that is interrupted must
/// not leave it without echo.
pub(crate) struct TerminalState(Option<Termios>);

impl TerminalState {
    pub(crate) fn remember() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }

    fn restore(&self) {
        // A job in the background would be stopped for touching a terminal that is another's now.
        let is_ours = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
        if let Some(termios) = self.0.as_ref().filter(|_| is_ours) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, termios);
        }
    }
}

/// Runs a command until it ends or SIGINT, SIGTERM or SIGHUP comes.
pub(crate) async fn until_asked_to_stop(
    process: &RealProcess,
    terminal: TerminalState,
    command: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Error::internal("no signal can be awaited").caused_by(error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut command = std::pin::pin!(command);
    tokio::select! {
        ended = &mut command => {
            // A hidden prompt that nobody answered in time still waits in the background.
            terminal.restore();
            return ended;
        }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    // A grant is on its way to be spent: what comes back is kept first, and whoever pressed Ctrl-C is not
    // left to wonder. No handler of signals runs here, so that anything may be done.
    if process.holds_signals() {
        write("interrupted: the provider's answer is on its way and is kept first; then this ends\n");
    }
    while process.holds_signals() {
        tokio::select! {
            ended = &mut command => return ended,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    terminal.restore();
    Err(Error::interrupted().into())
}
