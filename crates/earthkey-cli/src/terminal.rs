//! The person at the terminal: words on standard error, prompts, the browser.

use std::collections::BTreeSet;
use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use earthkey::error::printable;
use earthkey::host::BoxFuture;
use earthkey::host::Env;
use earthkey::host::Interaction;
use earthkey::host::Notice;
use earthkey::host::http::is_confidential;
use earthkey_record::variables::FRONT_VERSION;
use indicatif::ProgressBar;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use rustix::process::Signal;
use url::Url;

use crate::args::Arguments;
use crate::output::Output;
use crate::output::Paint;
use crate::output::duration;

/// Bytes of an answer that are read at most.
const MAX_ANSWER: u64 = 16 * 1024;

/// The person at the terminal.
pub(crate) struct Terminal {
    can_ask: bool,
    /// Whether standard error is a terminal that can be redrawn.
    is_live: bool,
    verbose: u8,
    browser: Option<String>,
    paint: Paint,
    /// Whoever looks at a file twice warns of it twice; a person is told once.
    warnings: Mutex<BTreeSet<String>>,
    /// Likewise, but until something is asked: what an answer leads to may be said again.
    lines: Mutex<BTreeSet<String>>,
}

impl Terminal {
    pub(crate) fn new(env: &Env, arguments: &Arguments, output: &Output) -> Self {
        Self {
            can_ask: !arguments.global.no_input && io::stdin().is_terminal(),
            is_live: io::stderr().is_terminal() && env.text("TERM") != Some("dumb"),
            verbose: arguments.global.verbose,
            browser: env.text("BROWSER").map(str::to_owned),
            paint: output.stderr,
            warnings: Mutex::default(),
            lines: Mutex::default(),
        }
    }

    fn device(&self, uri: &Url, complete: Option<&Url>, user_code: &str, expires_in: u64) -> String {
        let mut text = String::new();
        let page = complete.unwrap_or(uri);
        if self.is_live
            && let Ok(code) = QrCode::new(page.as_str())
        {
            for line in code.render::<Dense1x2>().build().lines() {
                text.push_str(&self.paint.black_on_white(line));
                text.push('\n');
            }
        }
        let task = if complete.is_some() { "confirm that it shows" } else { "enter" };
        let (page, code) = (self.paint.bold(page.as_str()), self.paint.bold(user_code));
        text + &format!("Visit {page} within {}\nand {task} the code {code}\n", duration(expires_in))
    }
}

/// Returns whether something has not been told yet.
fn is_news(told: &Mutex<BTreeSet<String>>, text: &str) -> bool {
    told.lock().is_ok_and(|mut told| told.insert(text.to_owned()))
}

impl Interaction for Terminal {
    fn can_ask(&self) -> bool {
        self.can_ask
    }

    fn tell(&self, notice: &Notice<'_>) {
        let text = match notice {
            Notice::Request { client_id, scopes } => {
                let scopes = if scopes.is_empty() { "no scopes".to_owned() } else { scopes.join(" ") };
                format!("The client {} asks for {}\n", printable(client_id, 200), printable(&scopes, 1000))
            }
            Notice::Visit { url, opened: true } => {
                format!("A browser is being opened. If none comes up, visit\n{url}\n")
            }
            Notice::Visit { url, opened: false } => format!("Visit\n{url}\n"),
            Notice::Device { verification_uri, verification_uri_complete, user_code, expires_in } => {
                self.device(verification_uri, *verification_uri_complete, user_code, *expires_in)
            }
            Notice::Line(line) if is_news(&self.lines, line) => format!("{line}\n"),
            Notice::Warning(text) if is_news(&self.warnings, text) => {
                format!("{}: {text}\n", self.paint.yellow("warning"))
            }
            Notice::Story(text) if self.verbose >= 1 => format!("{}\n", self.paint.dim(text)),
            Notice::Wire(text) if self.verbose >= 3 => format!("{}\n", self.paint.dim(&text.to_string())),
            _ => return,
        };
        write(&text);
    }

    fn open_browser(&self, url: &Url) -> io::Result<()> {
        open_browser(url, self.browser.as_deref())
    }

    fn ask(&self, question: &str) -> BoxFuture<'_, io::Result<String>> {
        if let Ok(mut lines) = self.lines.lock() {
            lines.clear();
        }
        write(question);
        Box::pin(async {
            let read = || {
                let mut line = String::new();
                let read = io::Read::take(io::stdin().lock(), MAX_ANSWER).read_line(&mut line)?;
                if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
            };
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
        })
    }

    fn ask_hidden(&self, question: &str) -> BoxFuture<'_, io::Result<String>> {
        let question = question.to_owned();
        Box::pin(async move {
            let read = move || rpassword::prompt_password(question);
            let answer = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
            if answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                // A hidden prompt takes Ctrl-C for a key; it means here what it means elsewhere.
                rustix::process::kill_process(rustix::process::getpid(), Signal::INT)?;
                std::future::pending::<()>().await;
            }
            answer
        })
    }

    fn waiting(&self, what: &str) -> Box<dyn Send> {
        if !self.is_live {
            return Box::new(());
        }
        let spinner = ProgressBar::new_spinner();
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Box::new(Spinner(spinner))
    }
}

/// Writes words for people, at once.
pub(crate) fn write(text: &str) {
    // With nobody to read it there is nobody to tell that it could not be written.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether `url` is a listener of our own, which some providers know by its name alone. It is of this
/// machine: both of its addresses are bound before the name is used.
fn is_start_page(url: &Url) -> bool {
    url.scheme() == "http" && url.host_str() == Some("localhost") && url.path().starts_with("/start/")
}

/// A spinner that leaves nothing behind.
struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Starts `$BROWSER` or the platform's opener, detached, and waits for neither.
fn open_browser(url: &Url, browser: Option<&str>) -> io::Result<()> {
    if !is_confidential(url) && !is_start_page(url) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only https pages are opened"));
    }
    let platform = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let choices = browser.unwrap_or(platform);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for choice in choices.split(':').filter(|choice| !choice.is_empty()) {
        let mut words = choice.split_whitespace();
        let Some(program) = words.next() else { continue };
        let mut command = Command::new(program);
        let mut named = false;
        for word in words {
            named |= word.contains("%s");
            command.arg(word.replace("%s", url.as_str()));
        }
        if !named {
            command.arg(url.as_str());
        }
        command
            .env_remove(FRONT_VERSION)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at our prompt is not meant for the browser.
            .process_group(0);
        match command.spawn() {
            Ok(mut child) => {
                std::thread::spawn(move || child.wait());
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
