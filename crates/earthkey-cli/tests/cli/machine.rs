//! A person's machine: a home, a sandbox, and the program.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use earthkey_sandbox::Control;
use earthkey_sandbox::Options;
use earthkey_sandbox::Realm;
use earthkey_sandbox::Sandbox;
use earthkey_sandbox::robot::Person;
use earthkey_sandbox::robot::Visit;
use rustix::process::Pid;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::oneshot;
use url::Url;

use crate::leaks;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_earthkey-cli");

/// After how long something that never ends is given up. Nothing is asserted of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home, a sandbox and the program, which knows of nothing else.
pub(crate) struct Machine {
    home: TempDir,
    sandbox: SandboxThread,
    variables: Vec<(&'static str, String)>,
    secrets: Mutex<BTreeSet<String>>,
}

/// A file or directory of a home: its permissions, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: u32,
    pub(crate) bytes: Option<Vec<u8>>,
}

impl Machine {
    /// Returns a machine with a sandbox that `EARTHKEY_SANDBOX` names.
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let sandbox = SandboxThread::start(options);
        let variables = vec![("EARTHKEY_SANDBOX", sandbox.url.clone())];
        let home = tempfile::Builder::new().prefix("earthkey-test-").tempdir().unwrap();
        Self { home, sandbox, variables, secrets: Mutex::default() }
    }

    /// Returns a machine whose program is not told of the sandbox beside it.
    pub(crate) fn without_sandbox() -> Self {
        let mut machine = Self::new();
        machine.variables.clear();
        machine
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    pub(crate) fn url(&self) -> &str {
        &self.sandbox.url
    }

    pub(crate) fn control(&self) -> &Control {
        &self.sandbox.control
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Counts the token requests of a grant type that reached a realm.
    pub(crate) fn token_requests(&self, realm: Realm, grant_type: &str) -> usize {
        let requests = self.control().requests(Some(token_path(realm)));
        requests.iter().filter(|request| request.grant_type.as_deref() == Some(grant_type)).count()
    }

    /// Returns the program with this home and nothing else of an environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// Returns a program that starts ours: `wrapper`, then our program, then its arguments.
    pub(crate) fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut words = wrapper.iter().copied().chain([PROGRAM]).chain(arguments.iter().copied());
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(self.command(arguments)).end()
    }

    /// Runs the program to its end, with something on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut running = self.start(command);
        // Whoever does not read it has its reasons.
        let _ = running.child.stdin.take().unwrap().write_all(input.as_bytes());
        running.end()
    }

    /// Runs the program, which must fail, and returns what it says of it.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> String {
        self.run(arguments).fails(code)
    }

    /// Runs the program, which must succeed, and returns its data.
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        self.run(arguments).succeeds().stdout.trim_end().to_owned()
    }

    /// Runs the program, which must succeed, and returns its data as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.prints(arguments)).unwrap()
    }

    pub(crate) fn start(&self, command: Command) -> Running<'_> {
        self.start_with(command, Stdio::piped())
    }

    pub(crate) fn start_with(&self, mut command: Command, stdout: Stdio) -> Running<'_> {
        let prints_tokens = command.get_args().any(|word| word == "token" || word == "header");
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(Stream::of).unwrap_or_default();
        let stderr = Stream::of(child.stderr.take().unwrap());
        Running { machine: self, child, stdout, stderr, prints_tokens }
    }

    /// Signs in by the device flow, with somebody who enters the code.
    pub(crate) fn sign_in(&self, login: &str, person: &Person) -> Ended {
        self.sign_in_with(&["login", login, "--flow", "device"], person)
    }

    /// Signs in by whatever prints a page to visit.
    pub(crate) fn sign_in_with(&self, arguments: &[&str], person: &Person) -> Ended {
        let running = self.start(self.command(arguments));
        visit(person, &running.page());
        running.end()
    }

    /// Signs in with the credentials of a client, which takes one request and nobody's time.
    pub(crate) fn sign_in_service(&self, login: &str) -> Ended {
        let client = ["--client-id", "sandbox-confidential", "--client-secret-stdin"];
        let arguments = [&["login", login, "--flow", "client-credentials"], &client[..]].concat();
        self.run_with_input(&arguments, "sandbox-secret\n")
    }

    pub(crate) fn path(&self, place: &str) -> PathBuf {
        self.home().join(place)
    }

    pub(crate) fn read(&self, place: &str) -> String {
        fs::read_to_string(self.path(place)).unwrap()
    }

    /// Writes a file as a client of this person would, for its owner alone.
    pub(crate) fn write(&self, place: &str, text: &str) {
        let path = self.path(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Returns every file and directory of the home.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Entry> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.home().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                // What another process removed meanwhile is not there.
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                let bytes = if metadata.is_file() { fs::read(&path).ok() } else { None };
                if metadata.is_dir() {
                    directories.push(path.clone());
                }
                let name = path.strip_prefix(self.home()).unwrap().to_owned();
                files.insert(name, Entry { mode: metadata.permissions().mode() & 0o7777, bytes });
            }
        }
        files
    }

    /// Returns every file that holds anything. Files that are only locked stay, and are empty.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let held = self.files().into_iter().filter_map(|(path, entry)| Some((path, entry.bytes?)));
        held.filter(|(_, bytes)| !bytes.is_empty()).collect()
    }

    /// Makes a text the same on every machine.
    pub(crate) fn filtered(&self, text: &str) -> String {
        let text = text.replace(self.url(), "http://SANDBOX").replace(self.home().to_str().unwrap(), "HOME");
        // A second may have passed, and a whole hour is one of 59 minutes.
        let text = text.replace("59 min", "60 min");
        let mut parts = text.split("127.0.0.1:");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            text + "127.0.0.1:PORT" + part.trim_start_matches(|c: char| c.is_ascii_digit())
        })
    }

    /// Looks for secrets of this home in what a program wrote. Once known, a secret stays one.
    fn check_leaks(&self, ended: &Ended, prints_tokens: bool) {
        let mut secrets = self.secrets.lock().unwrap();
        for bytes in self.contents().values() {
            secrets.extend(leaks::secrets_in(bytes));
        }
        let is_allowed = |secret: &str| prints_tokens && leaks::is_access_token(secret);
        leaks::check("standard error", &ended.stderr, &secrets, |_| false);
        leaks::check("standard output", &ended.stdout, &secrets, is_allowed);
    }
}

/// Returns the path of a realm's token endpoint.
pub(crate) fn token_path(realm: Realm) -> &'static str {
    match realm {
        Realm::Oidc => "/oidc/token",
        Realm::Openeo => "/openeo-id/token",
        Realm::Earthscope => "/oauth/token",
        Realm::Google => "/google/oauth2.googleapis.com/token",
    }
}

/// Lets somebody visit a page, fill in its forms and go wherever it leads.
pub(crate) fn visit(person: &Person, page: &Url) -> Visit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(person.visit(page.as_str())).unwrap()
}

/// Waits until something has come about.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} never comes about");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program that runs.
pub(crate) struct Running<'m> {
    machine: &'m Machine,
    pub(crate) child: Child,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
    prints_tokens: bool,
}

impl<'m> Running<'m> {
    /// Takes over a program whose output goes to a terminal, as its standard error.
    pub(crate) fn on_terminal(machine: &'m Machine, child: Child, screen: Stream) -> Self {
        Self { machine, child, stdout: Stream::default(), stderr: screen, prints_tokens: false }
    }

    /// Waits for the page that a person is asked to visit.
    pub(crate) fn page(&self) -> Url {
        self.stderr.wait_for("a page to visit", page_in)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and judges what no run may do.
    pub(crate) fn end(mut self) -> Ended {
        let status = self.wait();
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        // What a terminal makes of the end of a line is taken back.
        let ended = Ended { status, stderr: stderr.replace("\r\n", "\n"), stdout };
        assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
        self.machine.check_leaks(&ended, self.prints_tokens);
        let text = self.machine.filtered(&ended.stderr);
        Ended { stderr: text, ..ended }
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("the program never ends; so far:\n{}", self.stderr.so_far());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Finds the page that a text asks to visit; the last word may not have come as a whole.
fn page_in(text: &str) -> Option<Url> {
    let (whole, _) = text.rsplit_once(char::is_whitespace)?;
    let words = whole.split_whitespace().filter(|word| word.starts_with("http://127.0.0.1:"));
    words.filter_map(|word| Url::parse(word).ok()).find(|url| url.query().is_some())
}

/// A program that has ended. What it wrote to standard error is the same on every machine.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        assert_eq!(self.status.signal(), None, "{self:#?}");
        self.status.code().unwrap()
    }

    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code(), 0, "{self:#?}");
        self
    }

    /// Returns what a program says that fails as it should: what failed, and what to do next.
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code(), code, "{self:#?}");
        assert_eq!(self.stdout, "", "standard output is for data alone: {self:#?}");
        let start = self.stderr.find("error: ").unwrap_or_else(|| panic!("no error is told: {self:#?}"));
        let error = self.stderr[start..].trim_end().to_owned();
        assert!(!error.lines().next().unwrap().ends_with('.'), "{error}");
        let interrupted = code == 130;
        assert!(interrupted || error.contains("\n\nhint: "), "what next? {error}");
        error
    }
}

/// What a program writes, as it comes.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    written: Arc<(Mutex<Written>, Condvar)>,
    reader: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(crate) fn of(mut source: impl Read + Send + 'static) -> Self {
        let stream = Self::default();
        let written = stream.written.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                // A terminal that nobody writes to any more answers with an error.
                let read = source.read(&mut buffer).unwrap_or(0);
                let mut text = written.0.lock().unwrap();
                text.bytes.extend_from_slice(&buffer[..read]);
                text.ended = read == 0;
                written.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        *stream.reader.lock().unwrap() = Some(reader);
        stream
    }

    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.written.0.lock().unwrap().bytes).into_owned()
    }

    /// Waits until what was written so far has something.
    pub(crate) fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let start = Instant::now();
        let mut written = self.written.0.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&written.bytes).into_owned();
            if let Some(found) = find(&text) {
                return found;
            }
            assert!(!written.ended && start.elapsed() < PATIENCE, "{what} never came; so far:\n{text}");
            (written, _) = self.written.1.wait_timeout(written, Duration::from_secs(1)).unwrap();
        }
    }

    /// Returns everything, once nobody writes any more.
    fn rest(&self) -> String {
        if let Some(reader) = self.reader.lock().unwrap().take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}

/// A sandbox with a thread and a runtime of its own.
struct SandboxThread {
    url: String,
    control: Control,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SandboxThread {
    fn start(options: Options) -> Self {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sandbox = Sandbox::start(options).await.unwrap();
                ready.send((sandbox.url().to_owned(), sandbox.control())).unwrap();
                let _ = stopped.await;
            });
        });
        let (url, control) = is_ready.recv().unwrap();
        Self { url, control, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for SandboxThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
