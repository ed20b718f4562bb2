//! A lock-free foreign program at every step of a refresh.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::provider::Bank;
use super::provider::Caller;
use super::provider::litter;
use crate::error::ErrorKind;
use crate::host::BoxFuture;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::fs::File;
use crate::host::scripted::ScriptedClock;
use crate::host::scripted::ScriptedFileSystem;
use crate::host::scripted::WatchedFileSystem;
use crate::host::scripted::World;
use crate::store::tests::PATH;
use crate::store::tests::file;
use crate::store::tests::token_in;

/// What the foreign program does to the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Puts another login into our slot.
    SignsIn,
    /// Changes another slot and writes ours back as it read it.
    WritesAnotherSlot,
    /// Writes a copy of the file from before the last refresh.
    RollsBack,
    /// Removes the file.
    SignsOut,
    /// Removes our slot from the file.
    RemovesTheSlot,
}

/// How it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// A new file takes the name of the old.
    Replace,
    /// The old file is removed, then a new one is made.
    RemoveAndCreate,
    /// The file is truncated, then written.
    InPlace,
}

const DEEDS: [Deed; 5] =
    [Deed::SignsIn, Deed::WritesAnotherSlot, Deed::RollsBack, Deed::SignsOut, Deed::RemovesTheSlot];
const MANNERS: [Manner; 3] = [Manner::Replace, Manner::RemoveAndCreate, Manner::InPlace];

/// One foreign program: it reads at one call of ours and has written by a later one, or by the
/// time that we sleep.
struct Foreigner {
    fs: ScriptedFileSystem,
    deed: Deed,
    manner: Manner,
    reads_at: usize,
    pause: usize,
    /// The refresh token of its own login.
    own: String,
    old_copy: Vec<u8>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    calls: Vec<String>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Waits,
    HasRead {
        new: Option<Vec<u8>>,
        file: Option<Box<dyn File>>,
    },
    Done,
}

impl Foreigner {
    /// Lets the program act before a call of ours.
    fn before(&self, call: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending =
            if path == Path::new(PATH) { "home" } else { name.rsplit('.').next().unwrap_or_default() };
        let mut progress = self.progress.lock().unwrap();
        progress.calls.push(format!("{call} {ending}"));
        let number = progress.calls.len() - 1;
        if number >= self.reads_at && matches!(progress.stage, Stage::Waits) {
            progress.stage = self.read();
        }
        if number >= self.reads_at + self.pause {
            self.write(&mut progress);
        }
    }

    fn read(&self) -> Stage {
        let Some(old) = self.fs.get(PATH) else { return Stage::Done };
        let Ok(mut json) = serde_json::from_slice::<Value>(&old) else { return Stage::Done };
        let new = match self.deed {
            Deed::SignsIn => {
                json["ada"] = json!({"refresh_token": self.own});
                Some(json.to_string().into_bytes())
            }
            Deed::WritesAnotherSlot => {
                json["carol"] = json!({"refresh_token": "carols"});
                Some(json.to_string().into_bytes())
            }
            Deed::RemovesTheSlot => {
                json.as_object_mut().unwrap().remove("ada");
                Some(json.to_string().into_bytes())
            }
            Deed::RollsBack => Some(self.old_copy.clone()),
            Deed::SignsOut => None,
        };
        let file = match self.manner {
            Manner::RemoveAndCreate if new.is_some() => {
                self.fs.remove(Path::new(PATH)).unwrap();
                None
            }
            Manner::InPlace if new.is_some() => {
                let file = self.fs.open(Path::new(PATH), false).unwrap();
                file.set_len(0).unwrap();
                Some(file)
            }
            _ => None,
        };
        Stage::HasRead { new, file }
    }

    fn write(&self, progress: &mut Progress) {
        if !matches!(progress.stage, Stage::HasRead { .. }) {
            return;
        }
        let Stage::HasRead { new, file } = std::mem::replace(&mut progress.stage, Stage::Done) else {
            return;
        };
        match (new, file) {
            (Some(new), Some(file)) => {
                file.write_at(0, &new).unwrap();
                file.sync().unwrap();
            }
            (Some(new), None) => self.fs.put(PATH, &new),
            (None, _) => {
                let _ = self.fs.remove(Path::new(PATH));
            }
        }
    }

    /// Ends what it began, or does all of it now.
    fn end(&self) {
        let mut progress = self.progress.lock().unwrap();
        if matches!(progress.stage, Stage::Waits) {
            progress.stage = self.read();
        }
        self.write(&mut progress);
    }
}

/// A clock under which the foreign program ends what it began: it takes microseconds.
struct SharedClock {
    clock: Arc<ScriptedClock>,
    foreigner: Arc<Foreigner>,
}

impl Clock for SharedClock {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn since_boot(&self) -> Duration {
        self.clock.since_boot()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.clock.boot_id()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.foreigner.write(&mut self.foreigner.progress.lock().unwrap());
        self.clock.sleep(duration)
    }
}

/// One refresh with a foreign program beside it, and what a later caller finds.
struct Trial {
    world: World,
    bank: Bank,
    foreigner: Arc<Foreigner>,
    outcome: crate::error::Result<String>,
    next: crate::error::Result<String>,
}

async fn run(can_exchange: bool, deed: Deed, manner: Manner, reads_at: usize, pause: usize) -> Trial {
    let bank = Bank::default();
    let world = bank.world();
    if !can_exchange {
        world.fs.without_exchange();
    }
    let first = bank.sign_in();
    world.fs.put(PATH, &file(&first));
    Caller::new(&world, 1).token().await.unwrap();
    let foreigner = Arc::new(Foreigner {
        fs: world.fs.as_ref().clone(),
        deed,
        manner,
        reads_at,
        pause,
        own: bank.sign_in(),
        old_copy: file(&first),
        progress: Mutex::default(),
    });
    let mut host = world.host(2);
    let before = foreigner.clone();
    host.fs = Arc::new(WatchedFileSystem::new(&world.fs, move |call, path| before.before(call, path)));
    host.clock = Arc::new(SharedClock { clock: world.clock.clone(), foreigner: foreigner.clone() });
    let token = |access: crate::refresh::Access| access.token.expose().to_owned();
    let outcome = Caller::on(host).token().await.map(token);
    // Whatever it has not done yet it does now.
    foreigner.end();
    world.clock.advance(Duration::from_secs(3600));
    let next = Caller::new(&world, 3).token().await.map(token);
    Trial { world, bank, foreigner, outcome, next }
}

impl Trial {
    /// Returns the promise that is broken, if one is.
    fn broken(&self) -> Option<String> {
        let Self { world, bank, foreigner, outcome, next } = self;
        let fails = |what: &str| Some(format!("{what}: {outcome:?}, then {next:?}"));
        if !bank.reused().is_empty() {
            return fails("a spent token was sent");
        }
        let home = world.fs.get(PATH);
        let token = home.as_deref().and_then(token_in);
        let text = String::from_utf8(home.clone().unwrap_or_default()).unwrap();
        if !litter(world).is_empty() {
            return fails("something is left over");
        }
        match foreigner.deed {
            Deed::SignsIn => {
                if !next.as_ref().is_ok_and(|token| token.starts_with("a2.")) {
                    return fails("the foreign login is lost");
                }
            }
            Deed::WritesAnotherSlot | Deed::RollsBack => {
                if !next.as_ref().is_ok_and(|token| token.starts_with("a1.")) {
                    return fails("the login is lost");
                }
                if !outcome.as_ref().is_ok_and(|token| token.starts_with("a1.")) {
                    return fails("no token, though the login lives");
                }
                if foreigner.deed == Deed::WritesAnotherSlot && !text.contains("carols") {
                    return fails("another slot is lost");
                }
            }
            Deed::SignsOut => {
                return if home.is_some() { fails("the home is back after a logout") } else { self.is_out() };
            }
            Deed::RemovesTheSlot => {
                return if token.is_some() {
                    fails("the slot is back after a logout")
                } else if text.contains("bobs") {
                    self.is_out()
                } else {
                    fails("another slot is lost")
                };
            }
        }
        if !token.is_some_and(|token| bank.accepts(&token)) {
            return fails("the home does not hold the present token");
        }
        if text.contains("bobs") { None } else { fails("another slot is lost") }
    }

    fn is_out(&self) -> Option<String> {
        match &self.next {
            Err(error) if error.kind() == ErrorKind::LoginRequired => None,
            other => Some(format!("no logout: {other:?}")),
        }
    }
}

/// Runs every trial and returns the promises that were broken, with the calls of ours before which
/// the foreign program began and ended.
async fn broken(can_exchange: bool) -> Vec<String> {
    let mut broken = Vec::new();
    for deed in DEEDS {
        // To remove a file there is one manner only.
        let manners = if deed == Deed::SignsOut { &MANNERS[..1] } else { &MANNERS[..] };
        for manner in manners.iter().copied() {
            for pause in 0..5 {
                let mut reads_at = 0;
                loop {
                    let trial = run(can_exchange, deed, manner, reads_at, pause).await;
                    let calls = &trial.foreigner.progress.lock().unwrap().calls;
                    if let Some(what) = trial.broken() {
                        let at = |number| calls.get(number).map_or("the end", String::as_str);
                        let (from, to) = (at(reads_at), at(reads_at + pause));
                        broken.push(format!("{deed:?} by {manner:?}, from {from} to {to}: {what}"));
                    }
                    if reads_at > calls.len() {
                        assert!(reads_at > 30, "only {reads_at} calls");
                        break;
                    }
                    reads_at += 1;
                }
            }
        }
    }
    broken
}

#[tokio::test]
async fn nothing_is_lost_whenever_another_program_writes() {
    let broken = broken(true).await;
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

#[tokio::test]
async fn without_exchange_only_the_rename_itself_can_lose_what_another_program_writes() {
    let broken = broken(false).await;
    let (inherent, broken): (Vec<_>, Vec<_>) =
        broken.into_iter().partition(|what| what.contains("rename home"));
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
    assert!(!inherent.is_empty(), "this test no longer sees what cannot be helped");
}
