//! A world in memory: what a test scripts.

mod files;
mod watched;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use earthkey_record::clock::Clock as RecordClock;
use earthkey_record::digest::Digest;
use earthkey_record::digest::Key;
use earthkey_record::environment::Environment;
use earthkey_record::name::Arguments;
use earthkey_record::name::Name;
use earthkey_record::record::Record;
use url::Url;

pub use self::files::Kept;
pub use self::files::Locks;
pub use self::files::ScriptedFileSystem;
pub use self::watched::WatchedFileSystem;
use super::BoxFuture;
use super::Env;
use super::Host;
use super::Interaction;
use super::Notice;
use super::clock::Clock;
use super::http::Http;
use super::http::Request;
use super::http::Response;
use super::http::SendError;
use super::process::Owner;
use super::process::Peer;
use super::process::Process;
use super::random::Random;
use super::records::Records;

/// A whole scripted world; its parts stay at hand to be changed and looked at.
pub struct World {
    /// Time.
    pub clock: Arc<ScriptedClock>,
    /// Files.
    pub fs: Arc<ScriptedFileSystem>,
    /// The network.
    pub http: Arc<ScriptedHttp>,
    /// The person.
    pub person: Arc<ScriptedPerson>,
    /// Records.
    pub records: Arc<ScriptedRecords>,
    /// Variables.
    pub env: Env,
    /// Whose whoever connects is said to be.
    pub visitor: Arc<Mutex<Peer>>,
}

impl World {
    /// Makes a world with `HOME=/home/ada`, nobody at the terminal, and a server that answers by
    /// `answer`.
    pub fn new(answer: impl Fn(&Request) -> Result<Response, SendError> + Send + Sync + 'static) -> Self {
        Self {
            clock: Arc::new(ScriptedClock::at(1_800_000_000)),
            fs: Arc::new(ScriptedFileSystem::default()),
            http: Arc::new(ScriptedHttp::new(answer)),
            person: Arc::new(ScriptedPerson::default()),
            records: Arc::new(ScriptedRecords::default()),
            env: Env::new([("HOME", "/home/ada")]),
            visitor: Arc::new(Mutex::new(Peer::Unknown)),
        }
    }

    /// Returns the world as a host; `pid` tells processes of one test apart.
    pub fn host(&self, pid: u32) -> Host {
        Host {
            clock: self.clock.clone(),
            env: Arc::new(self.env.clone()),
            fs: self.fs.clone(),
            http: self.http.clone(),
            interaction: self.person.clone(),
            records: self.records.clone(),
            process: Arc::new(ScriptedProcess { pid, visitor: self.visitor.clone() }),
            random: Arc::new(ScriptedRandom(Mutex::new(u64::from(pid) << 32))),
        }
    }
}

/// A clock that moves only when it is told to, or when everybody who is left to run sleeps: then
/// to the moment at which the first of them wakes.
#[derive(Debug)]
pub struct ScriptedClock {
    state: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    wall: Duration,
    since_boot: Duration,
    /// When sleepers wake, each with a number of its own.
    wakes: BTreeSet<(Duration, u64)>,
    /// Counts whatever happens here.
    events: u64,
}

/// How often everybody else gets a turn in which nothing happens before the first sleeper wakes.
const TURNS: u32 = 16;

/// After how many such turns a sleeper wakes though another should wake before: nobody polls that
/// one.
const MAX_TURNS: u32 = 1000;

impl Times {
    fn advance(&mut self, duration: Duration) {
        self.wall += duration;
        self.since_boot += duration;
        self.events += 1;
    }
}

impl ScriptedClock {
    /// Makes a clock that stands at `now` Unix seconds, one hour after boot.
    pub fn at(now: u64) -> Self {
        let wall = Duration::from_secs(now);
        let since_boot = Duration::from_secs(3600);
        Self { state: Mutex::new(Times { wall, since_boot, wakes: BTreeSet::new(), events: 0 }) }
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        self.times().advance(duration);
    }

    /// Moves the wall clock alone, as a person or NTP does.
    pub fn set_wall(&self, now: u64) {
        self.times().wall = Duration::from_secs(now);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.state.lock().expect("no test panics while holding it")
    }
}

/// One sleep; forgotten when it is over or dropped.
struct Sleep<'a> {
    clock: &'a ScriptedClock,
    wake: (Duration, u64),
}

impl<'a> Sleep<'a> {
    fn new(clock: &'a ScriptedClock, duration: Duration) -> Self {
        let mut times = clock.times();
        times.events += 1;
        let wake = (times.since_boot + duration, times.events);
        times.wakes.insert(wake);
        Self { clock, wake }
    }

    async fn end(&self) {
        let (mut events, mut turns) = (0, 0);
        loop {
            tokio::task::yield_now().await;
            let mut times = self.clock.times();
            if times.since_boot >= self.wake.0 {
                return;
            }
            turns = if times.events == events { turns + 1 } else { 0 };
            events = times.events;
            let is_first = times.wakes.first() == Some(&self.wake);
            if (is_first && turns >= TURNS) || turns >= MAX_TURNS {
                let left = self.wake.0.saturating_sub(times.since_boot);
                times.advance(left);
                return;
            }
        }
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Ok(mut times) = self.clock.state.lock() {
            times.wakes.remove(&self.wake);
            times.events += 1;
        }
    }
}

impl Clock for ScriptedClock {
    fn now(&self) -> u64 {
        self.times().wall.as_secs()
    }

    fn since_boot(&self) -> Duration {
        self.times().since_boot
    }

    fn boot_id(&self) -> [u8; 16] {
        [7; 16]
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move { Sleep::new(self, duration).end().await })
    }
}

type Answer = dyn Fn(&Request) -> Result<Response, SendError> + Send + Sync;

/// A network that answers by a function and remembers what was asked.
pub struct ScriptedHttp {
    answer: Box<Answer>,
    requests: Mutex<Vec<Request>>,
}

impl ScriptedHttp {
    /// Makes a network that answers by `answer`.
    pub fn new(answer: impl Fn(&Request) -> Result<Response, SendError> + Send + Sync + 'static) -> Self {
        Self { answer: Box::new(answer), requests: Mutex::default() }
    }

    /// Returns every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics while holding it").clone()
    }
}

impl Http for ScriptedHttp {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, SendError>> {
        self.requests.lock().expect("no test panics while holding it").push(request.clone());
        Box::pin(async move {
            // Others get a chance to run while an answer is under way.
            tokio::task::yield_now().await;
            (self.answer)(&request)
        })
    }

    fn for_another_runtime(self: Arc<Self>) -> Arc<dyn Http> {
        self
    }
}

/// A person who answers prompts from a list and remembers what was said.
#[derive(Debug, Default)]
pub struct ScriptedPerson {
    answers: Mutex<VecDeque<String>>,
    said: Mutex<Vec<String>>,
    opened: Mutex<Vec<Url>>,
}

impl ScriptedPerson {
    /// Adds an answer to the next unanswered prompt.
    pub fn will_answer(&self, answer: &str) {
        self.answers.lock().expect("no test panics while holding it").push_back(answer.to_owned());
    }

    /// Returns everything that the person was told, as `Debug` shows it.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no test panics while holding it").clone()
    }

    /// Returns the pages that a browser was asked to open.
    pub fn opened(&self) -> Vec<Url> {
        self.opened.lock().expect("no test panics while holding it").clone()
    }

    fn next(&self) -> io::Result<String> {
        let next = self.answers.lock().expect("no test panics while holding it").pop_front();
        next.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Interaction for ScriptedPerson {
    fn can_ask(&self) -> bool {
        !self.answers.lock().expect("no test panics while holding it").is_empty()
    }

    fn tell(&self, notice: &Notice<'_>) {
        self.said.lock().expect("no test panics while holding it").push(format!("{notice:?}"));
    }

    fn open_browser(&self, url: &Url) -> io::Result<()> {
        self.opened.lock().expect("no test panics while holding it").push(url.clone());
        Ok(())
    }

    fn ask(&self, _: &str) -> BoxFuture<'_, io::Result<String>> {
        Box::pin(async { self.next() })
    }

    fn ask_hidden(&self, _: &str) -> BoxFuture<'_, io::Result<String>> {
        Box::pin(async { self.next() })
    }

    fn waiting(&self, _: &str) -> Box<dyn Send> {
        Box::new(())
    }
}

/// Records in memory. Dependencies are not looked at: files are scripted, too.
#[derive(Default)]
pub struct ScriptedRecords(Mutex<BTreeMap<String, Record>>);

impl ScriptedRecords {
    /// Removes all, as if what they depend on had changed.
    pub fn clear(&self) {
        self.0.lock().expect("no test panics while holding it").clear();
    }
}

impl Records for ScriptedRecords {
    fn find(
        &self,
        arguments: &Arguments<'_>,
        environment: &Environment,
        clock: &RecordClock,
    ) -> Option<Record> {
        let records = self.0.lock().expect("no test panics while holding it");
        let record = records.get(&Name::new(arguments, environment).file_name())?;
        (clock.now < record.expires_at).then(|| record.clone())
    }

    fn digest(&self, content: &[u8]) -> Option<Digest> {
        Some(Key::from_bytes([0; Key::SIZE]).file(content))
    }

    fn write(&self, arguments: &Arguments<'_>, environment: &Environment, record: Record) {
        let name = Name::new(arguments, environment).file_name();
        self.0.lock().expect("no test panics while holding it").insert(name, record);
    }

    fn remove_login(&self, login: &str) {
        self.0.lock().expect("no test panics while holding it").retain(|_, record| record.login != login);
    }
}

struct ScriptedProcess {
    pid: u32,
    visitor: Arc<Mutex<Peer>>,
}

impl Process for ScriptedProcess {
    fn owner(&self) -> Owner {
        Owner { host: "scripted".into(), boot: "07".repeat(16), namespace: 1, pid: self.pid, started: 1 }
    }

    fn is_dead(&self, owner: &Owner) -> bool {
        owner.pid == 0
    }

    fn current_directory(&self) -> io::Result<PathBuf> {
        Ok("/home/ada/work".into())
    }

    fn user_id(&self) -> u32 {
        files::USER
    }

    fn whose_is(&self, _: SocketAddr, _: SocketAddr) -> Peer {
        *self.visitor.lock().expect("no test panics while holding it")
    }

    fn hold_signals(&self) -> Box<dyn Send + Sync> {
        Box::new(())
    }
}

/// A counter spread over the bytes: different at each call, the same in each run.
struct ScriptedRandom(Mutex<u64>);

impl Random for ScriptedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut counter = self.0.lock().expect("no test panics while holding it");
        for chunk in bytes.chunks_mut(8) {
            *counter += 1;
            let spread = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            chunk.copy_from_slice(&spread[..chunk.len()]);
        }
    }
}
