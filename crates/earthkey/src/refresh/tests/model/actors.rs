//! Who is on the stage, and what each sees of the world.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use url::Url;

use super::files::Files;
use super::log::Event;
use super::schedule::Seat;
use super::trace::Object;
use crate::error::Error;
use crate::error::Result;
use crate::host::BoxFuture;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::Host;
use crate::host::Interaction;
use crate::host::Notice;
use crate::host::http::Http;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::oauth::token::TokenResponse;
use crate::refresh;
use crate::refresh::Access;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::refresh::tests::provider::Bank;
use crate::refresh::tests::provider::Cache;
use crate::refresh::tests::provider::Caller;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;
use crate::store::Keep;
use crate::store::keep::Held;
use crate::store::ledger::Remembered;
use crate::store::tests::PATH;
use crate::store::tests::file;
use crate::store::tests::token_in;

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Asks for a token.
    Caller,
    /// Asks for a new token.
    Forcer,
    /// Asks for a token, and dies when the schedule says so.
    Mortal,
    /// Logs out.
    Logout,
    /// Writes the home without asking anybody.
    Foreigner(Deed, Manner),
    /// One of us that breaks a rule.
    Wrong(Fault),
}

/// What a foreign program does to the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Puts another login into our slot.
    SignsIn,
    /// Changes another slot and writes ours back as it read it.
    WritesAnotherSlot,
    /// Writes a copy of the file from before the last refresh.
    RollsBack,
    /// Refreshes the login itself.
    Refreshes,
}

/// How it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// A new file takes the name of the old.
    Replace,
    /// The old file is removed, then a new one is made.
    RemoveAndCreate,
    /// The file is truncated, then written.
    InPlace,
}

/// Which rule is broken, to show that a promise can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Sends without the lease, and writes the home without looking at what it displaces.
    SendsWithoutLease,
    /// Takes a ledger that somebody left for litter.
    ForgetsTheLedger,
    /// Writes a record before the answer has landed, in the hope that it will.
    RecordsBeforeLanding,
    /// Makes a home anew that is gone when the answer comes.
    MakesTheHomeAgain,
    /// Sends a token once more when the answer has come.
    SendsTwice,
    /// Leaves a file behind.
    LeavesLitter,
    /// Panics.
    Panics,
}

/// One actor.
pub(super) struct Actor {
    pub(super) role: Role,
    pub(super) seat: Seat,
    pub(super) files: Files,
    pub(super) bank: Bank,
    pub(super) host: Host,
    pub(super) home: Home,
    pub(super) cache: Cache,
    /// The refresh token of a foreign program's own login.
    pub(super) own: String,
    /// The home as it was before the last refresh.
    pub(super) old_copy: Vec<u8>,
}

impl Actor {
    /// Returns the world as the actor sees it.
    pub(super) fn host(world: &World, bank: &Bank, files: &Files) -> Host {
        let seat = &files.seat;
        let pid = u32::try_from(seat.me).unwrap() + 1;
        let mut host = world.host(pid);
        host.fs = Arc::new(files.clone());
        host.clock = Arc::new(Time(seat.clone()));
        host.http = Arc::new(Wire { seat: seat.clone(), bank: bank.clone() });
        host.interaction = Arc::new(Ear { seat: seat.clone() });
        host
    }

    /// Does what the actor does.
    pub(super) fn act(&self) -> Result<String, String> {
        match self.role {
            Role::Caller | Role::Mortal => self.ask(false),
            Role::Forcer => self.ask(true),
            Role::Logout => self.log_out(),
            Role::Foreigner(deed, manner) => Ok(self.write(deed, manner)),
            Role::Wrong(fault) => self.go_wrong(fault),
        }
    }

    fn ask(&self, force: bool) -> Result<String, String> {
        let caller = Caller::on(self.host.clone()).sharing(&self.cache);
        let told = Told { caller, files: &self.files };
        let want = Want { force, ..Want::default() };
        let token = run(async {
            let keep = Keep::open(&self.host, &told.caller.home)?.expect("the directory is there");
            refresh::token(&self.host, &keep, &told, &want).await
        });
        token
            .map(|access| access.token.expose().to_owned())
            .map_err(|error| format!("{:?} {error:?}", error.kind()))
    }

    fn log_out(&self) -> Result<String, String> {
        let outcome = run(async {
            let keep = Keep::open(&self.host, &self.home)?.expect("the directory is there");
            keep.clear().await
        });
        if outcome.is_ok() {
            self.files.mark_home("logged out");
            self.seat.log(Event::LoggedOut);
        }
        outcome.map(|found| format!("{found}")).map_err(|error| format!("{error:?}"))
    }

    fn write(&self, deed: Deed, manner: Manner) -> String {
        let Some(new) = self.rewritten(deed) else { return "nothing to do".into() };
        let path = Path::new(PATH);
        match manner {
            Manner::Replace => self.files.put(&new),
            Manner::RemoveAndCreate => {
                let _ = self.files.remove(path);
                self.seat.set_urgent(true);
                self.files.put(&new);
            }
            Manner::InPlace => match self.files.truncate(path) {
                Ok(file) => {
                    self.seat.set_urgent(true);
                    file.write_at(0, &new).unwrap();
                }
                Err(_) => self.files.put(&new),
            },
        }
        self.seat.set_urgent(false);
        "written".into()
    }

    /// Returns the home as the foreign program is going to write it.
    fn rewritten(&self, deed: Deed) -> Option<Vec<u8>> {
        let old = self.files.read(Path::new(PATH), u64::MAX).ok();
        if deed == Deed::RollsBack {
            return Some(self.old_copy.clone());
        }
        let mut json = old.and_then(|old| serde_json::from_slice::<Value>(&old).ok());
        match deed {
            Deed::SignsIn => {
                let json = json.get_or_insert_with(|| json!({}));
                json["ada"] = json!({"refresh_token": self.own});
            }
            Deed::WritesAnotherSlot => json.as_mut()?["carol"] = json!({"refresh_token": "carols"}),
            Deed::Refreshes => {
                let token = json.as_ref()?.get("ada")?["refresh_token"].as_str()?.to_owned();
                let successor = send(&self.seat, &self.bank, &token).1?;
                json.as_mut()?["ada"] = json!({"refresh_token": successor});
            }
            Deed::RollsBack => {}
        }
        Some(json?.to_string().into_bytes())
    }

    fn go_wrong(&self, fault: Fault) -> Result<String, String> {
        let path = Path::new(PATH);
        let home = self.files.read(path, u64::MAX).map_err(|error| error.to_string())?;
        let send = || send(&self.seat, &self.bank, &token_in(&home)?).1;
        let keep = Keep::open(&self.host, &self.home).unwrap().unwrap();
        match fault {
            Fault::ForgetsTheLedger => self.files.remove(&keep.places().ledger).unwrap(),
            Fault::LeavesLitter => self.files.create_new(&keep.places().temporary("left"), b"r1.0").unwrap(),
            Fault::Panics => resume_unwind(Box::new("a bug")),
            Fault::SendsWithoutLease | Fault::SendsTwice => {
                let successor = send().ok_or("refused")?;
                if fault == Fault::SendsTwice {
                    send();
                }
                self.files.put(&file(&successor));
            }
            Fault::RecordsBeforeLanding => {
                let successor = send().ok_or("refused")?;
                let new = file(&successor);
                self.files.mark_home("record");
                self.seat.log(Event::Recorded { refresh_token: Some(successor), home: new.clone() });
                self.files.put(&new);
            }
            Fault::MakesTheHomeAgain => {
                let successor = send().ok_or("refused")?;
                if self.files.read(path, u64::MAX).map_or(true, |now| now == home) {
                    self.files.put(&file(&successor));
                }
            }
        }
        Ok("done".into())
    }
}

/// Polls a future whose every wait is a turn of the schedule.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return outcome;
        }
    }
}

/// Sends a refresh token to the provider, who answers at once.
fn send(seat: &Seat, bank: &Bank, token: &str) -> (Response, Option<String>) {
    seat.step();
    seat.touch("send", &[], &[Object::Provider]);
    seat.tell(|| format!("send {token}"));
    let response = bank.exchange(token);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    let successor = body["refresh_token"].as_str().map(str::to_owned);
    seat.log(Event::Sent { token: token.to_owned(), successor: successor.clone() });
    (response, successor)
}

/// A caller whose records are noted.
struct Told<'a> {
    caller: Caller,
    files: &'a Files,
}

impl Provider for Told<'_> {
    fn credential(&self) -> String {
        self.caller.credential()
    }

    fn login_command(&self) -> String {
        self.caller.login_command()
    }

    fn explain(&self, refusal: &Remembered, grant: Option<&Grant>) -> Option<Error> {
        self.caller.explain(refusal, grant)
    }

    fn at_hand(&self, contents: &Contents) -> Option<Access> {
        self.files.seat.step();
        self.files.seat.touch("look at records", &[Object::Records], &[]);
        self.caller.at_hand(contents)
    }

    fn request<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Request>> {
        Box::pin(async move {
            let request = Request::post(Url::parse("https://bank.test/token").unwrap());
            Ok(match grant {
                Grant::RefreshToken(token) => request.secret_field("refresh_token", token.expose()),
                _ => request,
            })
        })
    }

    fn refusal_key(&self, grant: &Grant) -> String {
        self.caller.refusal_key(grant)
    }

    fn on_rotation(&self) -> Option<String> {
        None
    }

    fn record(&self, answer: &TokenResponse, landed: &Held) -> Result<Access> {
        self.files.seat.step();
        self.files.mark_home("record");
        self.files.seat.touch("write record", &[], &[Object::Records]);
        self.files.seat.tell(|| "write record".into());
        let refresh_token = answer.refresh_token.as_ref().map(|token| token.expose().to_owned());
        self.files.seat.log(Event::Recorded { refresh_token, home: landed.file.to_vec() });
        self.caller.record(answer, landed)
    }
}

/// The clock as an actor sees it.
struct Time(Seat);

impl Clock for Time {
    fn now(&self) -> u64 {
        self.0.touch("look at the clock", &[Object::Clock], &[]);
        self.0.stage.clock.now()
    }

    fn since_boot(&self) -> Duration {
        self.0.touch("look at the clock", &[Object::Clock], &[]);
        self.0.stage.clock.since_boot()
    }

    fn boot_id(&self) -> [u8; 16] {
        self.0.stage.clock.boot_id()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.tell(|| format!("sleep {duration:?}"));
            self.0.touch("sleep", &[Object::Clock], &[]);
            self.0.sleep(duration);
        })
    }
}

/// The network as an actor sees it.
struct Wire {
    seat: Seat,
    bank: Bank,
}

impl Http for Wire {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, SendError>> {
        Box::pin(async move {
            let token = request.form_value("refresh_token").unwrap_or_default();
            Ok(send(&self.seat, &self.bank, token).0)
        })
    }

    fn for_another_runtime(self: Arc<Self>) -> Arc<dyn Http> {
        self
    }
}

/// Hears from an actor when its answer is durable.
struct Ear {
    seat: Seat,
}

impl Interaction for Ear {
    fn can_ask(&self) -> bool {
        false
    }

    fn tell(&self, notice: &Notice<'_>) {
        self.seat.tell(|| format!("- {notice:?}"));
        if matches!(notice, Notice::Story(story) if story.contains("the answer is durable")) {
            self.seat.touch("durable", &[], &[Object::Provider]);
            self.seat.log_durable();
        }
    }

    fn open_browser(&self, _: &Url) -> std::io::Result<()> {
        unreachable!("nobody signs in")
    }

    fn ask(&self, _: &str) -> BoxFuture<'_, std::io::Result<String>> {
        unreachable!("nobody is there")
    }

    fn ask_hidden(&self, _: &str) -> BoxFuture<'_, std::io::Result<String>> {
        unreachable!("nobody is there")
    }

    fn waiting(&self, _: &str) -> Box<dyn Send> {
        Box::new(())
    }
}
