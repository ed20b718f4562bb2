//! A terminal with somebody at it.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use rustix::pty::OpenptFlags;
use rustix::pty::grantpt;
use rustix::pty::openpt;
use rustix::pty::ptsname;
use rustix::pty::unlockpt;
use rustix::termios::LocalModes;
use rustix::termios::tcgetattr;

use crate::machine::Machine;
use crate::machine::Running;
use crate::machine::Stream;
use crate::machine::eventually;

/// A program on a terminal of its own.
pub(crate) struct AtTerminal<'m> {
    pub(crate) running: Running<'m>,
    pub(crate) keyboard: Keyboard,
}

/// The end of the terminal that somebody sits at.
pub(crate) struct Keyboard(File);

impl<'m> AtTerminal<'m> {
    /// Starts the program with a terminal as its standard streams and as what controls it.
    pub(crate) fn start(machine: &'m Machine, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(path.as_bytes()).to_owned();
        let terminal = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // A new session, whose terminal it is: only so does Ctrl-C reach the program.
        let mut command = machine.wrapped(&["setsid", "--ctty"], arguments);
        command
            .env("TERM", "dumb")
            .env("NO_COLOR", "1")
            .stdin(terminal())
            .stdout(terminal())
            .stderr(terminal());
        let child = command.spawn().unwrap();
        // Once ours are closed, the last of the program closes the terminal.
        drop(command);
        let keyboard = File::from(master);
        let screen = Stream::of(keyboard.try_clone().unwrap());
        Self { running: Running::on_terminal(machine, child, screen), keyboard: Keyboard(keyboard) }
    }

    /// Waits for a question.
    pub(crate) fn wait_for(&self, question: &str) {
        self.running.stderr.wait_for(question, |text| text.contains(question).then_some(()));
    }
}

impl Keyboard {
    pub(crate) fn types(&mut self, keys: &str) {
        self.0.write_all(keys.as_bytes()).unwrap();
    }

    /// Returns whether what is typed shows.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.0).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits until what is typed does not show.
    pub(crate) fn wait_for_silence(&self) {
        eventually("a hidden prompt", || (!self.echoes()).then_some(()));
    }
}
