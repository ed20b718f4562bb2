//! Whose turn it is: one actor at a time, each on a thread of its own, and every schedule once.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use super::log::Event;
use super::log::Log;
use super::search::Choice;
use super::search::Decision;
use super::search::Schedule;
use super::search::Seen;
use super::trace::Object;
use super::trace::Trace;
use crate::host::Clock;
use crate::host::scripted::ScriptedClock;

/// After how many points a schedule counts as endless.
const MAX_POINTS: usize = 200_000;

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Ready,
    Asleep(Duration),
    Done,
}

/// Why an actor gives others a chance.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// It is about to do something that others may see.
    Step,
    Sleep(Duration),
    End,
}

/// What is thrown through an actor to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The actor dies here; others go on.
    Crash,
    /// What follows was seen already, or does not end.
    Over,
}

/// What is to be run, and what is known from earlier runs.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) schedule: Schedule,
    /// How many switches away from an actor that could go on.
    pub(super) bound: u32,
    /// How many of these a crash counts for.
    pub(super) crash_costs: u32,
    pub(super) seen: Seen,
    pub(super) log: Log,
}

/// One run of one schedule.
pub(super) struct Stage {
    state: Mutex<State>,
    turns: Vec<Condvar>,
    pub(super) clock: Arc<ScriptedClock>,
}

/// The part of a [`Stage`] that only one at a time touches.
pub(super) struct State {
    schedule: Schedule,
    bound: u32,
    crash_costs: u32,
    pub(super) seen: Seen,
    actors: Vec<Status>,
    /// Who must end what it began before any time passes.
    is_urgent: Vec<bool>,
    may_crash: Vec<bool>,
    has_begun: Vec<bool>,
    turn: Option<usize>,
    point: usize,
    switches: u32,
    has_crashed: bool,
    is_over: bool,
    pub(super) trace: Trace,
    pub(super) was_seen: bool,
    pub(super) decisions: Vec<Decision>,
    pub(super) log: Log,
}

impl Stage {
    /// Makes a stage for the actors from `first` on, and gives the first turn.
    pub(super) fn new(
        clock: &Arc<ScriptedClock>,
        first: usize,
        may_crash: Vec<bool>,
        plan: Plan,
    ) -> Arc<Self> {
        let number = may_crash.len();
        let status = |actor| if actor < first { Status::Done } else { Status::Ready };
        let mut state = State {
            schedule: plan.schedule,
            bound: plan.bound,
            crash_costs: plan.crash_costs,
            seen: plan.seen,
            log: plan.log,
            actors: (0..number).map(status).collect(),
            is_urgent: vec![false; number],
            may_crash,
            has_begun: vec![false; number],
            turn: None,
            point: 0,
            switches: 0,
            has_crashed: false,
            is_over: false,
            trace: Trace::new(number),
            was_seen: false,
            decisions: Vec::new(),
        };
        state.turn = state.choose(None, state.woken(), clock);
        let turns = (0..number).map(|_| Condvar::new()).collect();
        Arc::new(Self { state: Mutex::new(state), turns, clock: clock.clone() })
    }

    /// Returns what is left when every actor has ended.
    pub(super) fn into_state(self: Arc<Self>) -> State {
        Arc::into_inner(self).expect("every actor has ended").state.into_inner().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// Decides who goes on after `me`; `None` when nobody does.
    fn decide(&mut self, me: usize, why: Why, clock: &ScriptedClock) -> Option<usize> {
        self.point += 1;
        if self.point > MAX_POINTS {
            self.log.push(me, Event::Endless);
            self.is_over = true;
            return None;
        }
        let is_step = matches!(why, Why::Step);
        match why {
            Why::Step => {}
            Why::Sleep(duration) => self.actors[me] = Status::Asleep(clock.since_boot() + duration),
            Why::End => self.actors[me] = Status::Done,
        }
        let ready: Vec<usize> =
            (0..self.actors.len()).filter(|actor| self.actors[*actor] == Status::Ready).collect();
        let is_urgent = ready.iter().any(|actor| self.is_urgent[*actor]);
        let mut options = Vec::new();
        if is_step {
            options.push((Choice::Run(me), 0));
        }
        let others = ready.iter().filter(|actor| !(is_step && **actor == me));
        options.extend(others.map(|actor| (Choice::Run(*actor), u32::from(is_step))));
        if ready.is_empty() {
            self.wake_first(clock)?;
            return self.choose(None, self.woken(), clock);
        }
        if self.first_wake().is_some() && !is_urgent {
            // Who has not begun yet is not kept waiting.
            let is_kept = is_step || ready.iter().any(|actor| self.has_begun[*actor]);
            options.push((Choice::Wait, u32::from(is_kept)));
        }
        if is_step && self.may_crash[me] && !self.has_crashed {
            options.push((Choice::Crash, self.crash_costs));
        }
        self.choose(is_step.then_some(me), options, clock)
    }

    fn woken(&self) -> Vec<(Choice, u32)> {
        let actors = self.actors.iter().enumerate();
        actors
            .filter(|(_, status)| **status == Status::Ready)
            .map(|(actor, _)| (Choice::Run(actor), 0))
            .collect()
    }

    /// Chooses among what may happen, and makes it happen.
    fn choose(
        &mut self,
        me: Option<usize>,
        mut options: Vec<(Choice, u32)>,
        clock: &ScriptedClock,
    ) -> Option<usize> {
        let left = self.bound - self.switches;
        options.retain(|(_, cost)| *cost <= left);
        let planned =
            self.schedule.0.iter().find(|(point, _)| *point == self.point).map(|(_, choice)| *choice);
        let taken = match planned {
            Some(planned) => {
                let taken = options.iter().position(|(choice, _)| *choice == planned);
                taken.unwrap_or_else(|| panic!("the schedule does not fit at {}: {options:?}", self.point))
            }
            None => 0,
        };
        // From here on nothing is planned.
        let is_new = self.schedule.0.last().is_none_or(|(point, _)| *point < self.point);
        let present = (me, &self.actors, &self.has_begun, clock.since_boot());
        if is_new && !self.seen.is_news(self.trace.signature(&present), left) {
            self.was_seen = true;
            self.is_over = true;
            return None;
        }
        if options.len() > 1 {
            let from = self.trace.touches.len();
            self.decisions.push(Decision::new(self.point, me, options.clone(), taken, from));
        }
        let (choice, cost) = options[taken];
        self.switches += cost;
        match choice {
            Choice::Run(actor) => {
                self.actors[actor] = Status::Ready;
                self.has_begun[actor] = true;
                Some(actor)
            }
            Choice::Wait => self.wake_first(clock),
            Choice::Crash => {
                self.has_crashed = true;
                me
            }
        }
    }

    fn first_wake(&self) -> Option<Duration> {
        let wakes = self.actors.iter().filter_map(|status| match status {
            Status::Asleep(wake) => Some(*wake),
            _ => None,
        });
        wakes.min()
    }

    /// Lets time pass until the first sleeper wakes, and returns who that is.
    fn wake_first(&mut self, clock: &ScriptedClock) -> Option<usize> {
        let wake = self.first_wake()?;
        clock.advance(wake.saturating_sub(clock.since_boot()));
        let mut first = None;
        for (actor, status) in self.actors.iter_mut().enumerate() {
            if *status == Status::Asleep(wake) {
                *status = Status::Ready;
                first = first.or(Some(actor));
            }
        }
        self.trace.pass(first?, wake);
        first
    }
}

/// An actor's place on the stage.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) stage: Arc<Stage>,
    pub(super) me: usize,
}

impl Seat {
    /// Lets others go first, or dies.
    pub(super) fn step(&self) {
        self.give_way(Why::Step);
    }

    /// Lets others go on for a while.
    pub(super) fn sleep(&self, duration: Duration) {
        self.give_way(Why::Sleep(duration));
    }

    /// Notes what this actor does now, and what of the world it looks at and changes by that.
    pub(super) fn touch(&self, what: &'static str, reads: &[Object], writes: &[Object]) {
        let mut state = self.stage.state();
        // What those let go of who are cut short is no part of the run.
        if !state.is_over {
            state.trace.touch(self.me, what, reads, writes);
        }
    }

    /// Adds to the log.
    pub(super) fn log(&self, event: Event) {
        self.stage.state().log.push(self.me, event);
    }

    /// Adds to the log that what this actor sent last has an answer that is durable.
    pub(super) fn log_durable(&self) {
        let mut state = self.stage.state();
        let token = state.log.sent_last_by(self.me).expect("who has an answer has sent something");
        state.log.push(self.me, Event::Durable { token });
    }

    /// Adds a step to the story, if anybody is to read it.
    pub(super) fn tell(&self, story: impl FnOnce() -> String) {
        let mut state = self.stage.state();
        let point = state.point;
        state.log.tell(self.me, point, story);
    }

    /// Notes what the home holds, if that is new.
    pub(super) fn see_home(&self, home: Option<Vec<u8>>) {
        self.stage.state().log.see_home(self.me, home);
    }

    /// Makes no time pass until this is taken back.
    pub(super) fn set_urgent(&self, is_urgent: bool) {
        self.stage.state().is_urgent[self.me] = is_urgent;
    }

    /// Waits for the first turn; `false` when there will be none.
    pub(super) fn begin(&self) -> bool {
        let state = self.wait(self.stage.state());
        !state.is_over
    }

    /// Gives the turn away for good.
    pub(super) fn end(&self) {
        let mut state = self.stage.state();
        if state.is_over {
            return;
        }
        state.turn = state.decide(self.me, Why::End, &self.stage.clock);
        self.hand_over(&state);
    }

    fn give_way(&self, why: Why) {
        // Whoever dies does nothing more that others could get in between of.
        if std::thread::panicking() {
            return;
        }
        let mut state = self.stage.state();
        let had_crashed = state.has_crashed;
        state.turn = state.decide(self.me, why, &self.stage.clock);
        if state.has_crashed && !had_crashed {
            state.trace.touch(self.me, "crash", &[], &[Object::Provider]);
            state.log.push(self.me, Event::Crashed);
            drop(state);
            resume_unwind(Box::new(Cut::Crash));
        }
        if state.turn != Some(self.me) {
            self.hand_over(&state);
            state = self.wait(state);
        }
        if state.is_over {
            drop(state);
            resume_unwind(Box::new(Cut::Over));
        }
    }

    fn hand_over(&self, state: &State) {
        if state.is_over {
            self.stage.turns.iter().for_each(Condvar::notify_one);
        } else if let Some(next) = state.turn {
            self.stage.turns[next].notify_one();
        }
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let is_not_mine = |state: &mut State| !state.is_over && state.turn != Some(self.me);
        self.stage.turns[self.me].wait_while(state, is_not_mine).unwrap()
    }
}
