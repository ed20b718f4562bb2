//! A few actors in one world, run by one schedule or by all of them.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::actors::Actor;
use super::actors::Role;
use super::files::Files;
use super::log::Event;
use super::log::Log;
use super::promises::Promise;
use super::schedule::Cut;
use super::schedule::Plan;
use super::schedule::Seat;
use super::schedule::Stage;
use super::schedule::State;
use super::search::Schedule;
use super::search::Search;
use super::search::Seen;
use crate::host::fs::Medium;
use crate::host::scripted::Kept;
use crate::host::scripted::World;
use crate::refresh::tests::provider::Bank;
use crate::refresh::tests::provider::Cache;
use crate::store::tests::PATH;
use crate::store::tests::file;
use crate::store::tests::home;

/// Who meets in which world, and what is promised there.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) roles: Vec<Role>,
    /// Whether the provider accepts the token before the present one, too.
    pub(super) has_grace: bool,
    /// Endings of the files of which everybody is told that they have locked them.
    pub(super) lying: &'static [&'static str],
    /// Where the home seems to lie.
    pub(super) medium: Medium,
    /// Whether nobody looks at what an exchange of names brings out.
    pub(super) is_blind: bool,
    /// Whether there has been a refresh before.
    pub(super) is_warm: bool,
    /// Whether another slot is in the home.
    pub(super) is_shared: bool,
    /// Whether every order is run, also where the difference does not matter.
    pub(super) is_thorough: bool,
    /// How many switches away from an actor that could go on, crashes included.
    pub(super) bound: u32,
    /// How many of these a crash counts for.
    pub(super) crash_costs: u32,
    pub(super) promises: Vec<Promise>,
}

/// A world that the runs of one scenario begin with.
struct Beginning {
    world: World,
    bank: Bank,
    own: String,
    old_copy: Vec<u8>,
}

/// What happened in one run, and what a later caller found.
pub(super) struct Run {
    pub(super) roles: Vec<Role>,
    pub(super) is_shared: bool,
    pub(super) world: World,
    pub(super) bank: Bank,
    pub(super) events: Vec<(usize, Event)>,
    /// What the later caller got.
    pub(super) next: Result<String, String>,
    story: String,
}

/// What came of every schedule.
#[derive(Debug)]
pub(super) struct Explored {
    /// Schedules that were run to their end.
    pub(super) schedules: usize,
    /// Schedules that were left where they came upon a situation that had been seen.
    pub(super) repeated: usize,
    /// The situations in which they ended.
    pub(super) ends: BTreeSet<u64>,
    /// Whatever was broken first, with the schedule that breaks it.
    pub(super) broken: Option<Broken>,
}

/// A promise that a schedule breaks.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) promise: &'static str,
    pub(super) schedule: Schedule,
    pub(super) what: String,
}

impl Scenario {
    /// Makes a scenario with a provider without grace, after a first refresh.
    pub(super) fn new(roles: &[Role], bound: u32, promises: &[Promise]) -> Self {
        Self {
            roles: roles.to_vec(),
            has_grace: false,
            lying: &[],
            medium: Medium::Local,
            is_blind: false,
            is_warm: true,
            is_shared: true,
            is_thorough: false,
            bound,
            crash_costs: 1,
            promises: promises.to_vec(),
        }
    }

    /// Runs every schedule until one breaks a promise.
    pub(super) fn explore(&self) -> Explored {
        let beginning = self.begin();
        let mut seen = Seen::new(self.is_thorough);
        let mut search = Search::new(self.is_thorough);
        let mut explored = Explored { schedules: 0, repeated: 0, ends: BTreeSet::new(), broken: None };
        let mut next = Some(Schedule::default());
        while let Some(schedule) = next {
            let Self { bound, crash_costs, .. } = *self;
            let plan = Plan { schedule, bound, crash_costs, seen, log: Log::default() };
            let (mut state, run) = self.perform(&beginning, plan);
            seen = std::mem::take(&mut state.seen);
            search.add(std::mem::take(&mut state.decisions), &state.trace.touches, state.was_seen);
            match run {
                None => explored.repeated += 1,
                Some(run) => {
                    explored.schedules += 1;
                    explored.ends.insert(state.trace.signature(&()));
                    explored.broken = self.broken(&run, &search.schedule());
                }
            }
            if explored.broken.is_some() {
                break;
            }
            next = search.next();
        }
        explored
    }

    /// Runs one schedule and returns its story with the promise that it breaks, if it breaks one.
    pub(super) fn replay(&self, schedule: &Schedule) -> (String, Option<Broken>) {
        let plan = Plan {
            schedule: schedule.clone(),
            bound: u32::MAX,
            crash_costs: 0,
            log: Log::with_story(),
            seen: Seen::default(),
        };
        let (_, run) = self.perform(&self.begin(), plan);
        let run = run.expect("nothing was seen before");
        let broken = self.broken(&run, schedule);
        (run.story, broken)
    }

    fn broken(&self, run: &Run, schedule: &Schedule) -> Option<Broken> {
        self.promises.iter().find_map(|(promise, check)| {
            let what = check(run).err()?;
            Some(Broken { promise, schedule: schedule.clone(), what })
        })
    }

    fn begin(&self) -> Beginning {
        let bank = if self.has_grace { Bank::with_grace() } else { Bank::default() };
        let world = bank.world();
        let first = bank.sign_in();
        let only = format!(r#"{{"ada":{{"refresh_token":"{first}"}}}}"#).into_bytes();
        let old_copy = if self.is_shared { file(&first) } else { only };
        world.fs.put(PATH, &old_copy);
        let beginning = Beginning { own: bank.sign_in(), old_copy, world, bank };
        if self.is_warm {
            let Beginning { world, bank, .. } = &beginning;
            let roles = &[Role::Caller];
            let medium = self.medium;
            let play =
                Play { beginning: &beginning, world, bank, roles, lying: &[], medium, is_blind: false };
            play.run(0, Plan::default());
        }
        beginning
    }

    /// Runs one schedule, then one more caller an hour later; no run where all that follows was seen.
    fn perform(&self, beginning: &Beginning, mut plan: Plan) -> (State, Option<Run>) {
        let bank = beginning.bank.fork();
        let fs = Arc::new(beginning.world.fs.after_power_loss(Kept::All));
        let world = World { fs, ..bank.world() };
        let Self { roles, lying, medium, is_blind, .. } = self;
        let (medium, is_blind) = (*medium, *is_blind);
        let play = Play { beginning, world: &world, bank: &bank, roles, lying, medium, is_blind };
        plan.log.see_home(roles.len(), world.fs.get(PATH));
        let mut state = play.run(0, plan);
        if state.was_seen {
            return (state, None);
        }
        let log = std::mem::take(&mut state.log);
        world.clock.advance(Duration::from_secs(3600));
        // The others have ended, and keep their letters.
        let roles = [&*self.roles, &[Role::Caller]].concat();
        let later = Play { roles: &roles, lying: &[], is_blind: false, ..play };
        let log = later.run(self.roles.len(), Plan { log, ..Plan::default() }).log;
        let next = log.events.iter().rev().find_map(|(_, event)| match event {
            Event::Ended(outcome) => Some(outcome.clone()),
            _ => None,
        });
        let next = next.unwrap_or_else(|| Err("nobody came to an end".into()));
        let story = log.story();
        let is_shared = self.is_shared;
        (state, Some(Run { roles, is_shared, world, bank, events: log.events, next, story }))
    }
}

/// Some actors in one world.
#[derive(Clone, Copy)]
struct Play<'a> {
    beginning: &'a Beginning,
    world: &'a World,
    bank: &'a Bank,
    roles: &'a [Role],
    lying: &'static [&'static str],
    medium: Medium,
    is_blind: bool,
}

impl Play<'_> {
    /// Runs the actors from `first` on until all of them have ended.
    fn run(&self, first: usize, plan: Plan) -> State {
        let may_crash = self.roles.iter().map(|role| *role == Role::Mortal).collect();
        let stage = Stage::new(&self.world.clock, first, may_crash, plan);
        let cache = Cache::default();
        std::thread::scope(|scope| {
            for (me, role) in self.roles.iter().enumerate().skip(first) {
                let seat = Seat { stage: stage.clone(), me };
                let mut files = Files::new(self.world.fs.as_ref().clone(), seat, self.lying);
                files.is_blind = self.is_blind;
                files.medium = self.medium;
                let actor = Actor {
                    role: *role,
                    seat: files.seat.clone(),
                    host: Actor::host(self.world, self.bank, &files),
                    files,
                    bank: self.bank.clone(),
                    home: home(),
                    cache: cache.clone(),
                    own: self.beginning.own.clone(),
                    old_copy: self.beginning.old_copy.clone(),
                };
                scope.spawn(move || appear(actor));
            }
        });
        Stage::into_state(stage)
    }
}

/// Runs one actor from its first turn to its end.
fn appear(actor: Actor) {
    let seat = actor.files.seat.clone();
    if !seat.begin() {
        return;
    }
    match catch_unwind(AssertUnwindSafe(|| actor.act())) {
        Ok(outcome) => seat.log(Event::Ended(outcome)),
        Err(thrown) => match thrown.downcast_ref::<Cut>() {
            Some(Cut::Crash) => {}
            Some(Cut::Over) => return,
            None => {
                let message = thrown.downcast_ref::<String>().cloned();
                let message =
                    message.or_else(|| thrown.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                seat.log(Event::Panicked(message.unwrap_or_default()));
            }
        },
    }
    drop(actor);
    seat.end();
}
