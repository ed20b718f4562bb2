//! What is promised, whatever the schedule.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::actors::Deed;
use super::actors::Role;
use super::log::Event;
use super::scenario::Run;
use crate::refresh::tests::provider::litter;
use crate::store::Keep;
use crate::store::tests::PATH;
use crate::store::tests::home;
use crate::store::tests::token_in;

/// A promise, by its name.
pub(super) type Promise = (&'static str, fn(&Run) -> Result<(), String>);

macro_rules! promise {
    ($name:ident) => {
        (stringify!($name), $name as fn(&Run) -> Result<(), String>)
    };
}

/// What holds whoever is there, while locks are locks.
pub(super) const ALWAYS: [Promise; 9] = [
    promise!(everybody_comes_to_an_end),
    promise!(no_spent_token_sent),
    promise!(no_answer_lost_once_durable),
    promise!(no_record_without_its_home),
    promise!(no_resurrection_after_logout),
    promise!(no_foreign_writing_lost),
    promise!(a_login_that_lives_is_served),
    promise!(nobody_sends_a_token_twice),
    promise!(nothing_is_left_over),
];

/// What a provider makes of it when the lease excludes nobody cannot be promised. If it gives no
/// grace, a second sending ends the login; what holds even so is this.
pub(super) const WITHOUT_LEASE: [Promise; 4] = [
    promise!(everybody_comes_to_an_end),
    promise!(no_record_without_its_home),
    promise!(no_resurrection_in_the_end),
    promise!(nobody_sends_a_token_twice),
];

/// With grace the login lives on, though some caller may be told of an error.
pub(super) const WITHOUT_LEASE_BUT_GRACE: [Promise; 2] =
    [promise!(no_answer_lost_once_durable), promise!(the_next_caller_is_served)];

/// When the lock of the home excludes nobody, we are to each other what foreign programs are: the
/// home is right in the end, though not at every moment, and a logout may end with an error.
pub(super) const WITHOUT_FILE_LOCK: [Promise; 7] = [
    promise!(everybody_comes_to_an_end),
    promise!(no_spent_token_sent),
    promise!(no_answer_lost_once_durable),
    promise!(no_record_without_its_home),
    promise!(no_resurrection_in_the_end),
    promise!(no_foreign_writing_lost),
    promise!(nobody_sends_a_token_twice),
];

/// What holds where two of us want the same and nobody else is there.
pub(super) const ONE_REQUEST: Promise = promise!(one_request_serves_all);

fn everybody_comes_to_an_end(run: &Run) -> Result<(), String> {
    let stuck = |event: &Event| matches!(event, Event::Endless | Event::Panicked(_));
    run.events.iter().find(|(_, event)| stuck(event)).map_or(Ok(()), |stuck| Err(format!("{stuck:?}")))
}

/// A token counts as spent for us as soon as one of us has sent it, unless that one died before
/// the answer was durable: then nobody knows.
fn no_spent_token_sent(run: &Run) -> Result<(), String> {
    let mut spent = BTreeMap::new();
    for (number, (actor, event)) in run.events.iter().enumerate() {
        let Event::Sent { token, successor } = event else { continue };
        if let Some(spender) = spent.get(token).filter(|_| !run.is_foreign(*actor)) {
            let is_known = !run.is_foreign(*spender) && !run.is_unknown(*spender, token, number);
            // With the logout, what was spent was forgotten.
            let is_from_before = run.brought_back().is_some_and(|back| back < number);
            if is_known && !is_from_before {
                return Err(format!("{token} was spent by {spender} and is sent by {actor}"));
            }
        }
        if successor.as_ref().is_some_and(|successor| successor != token) {
            spent.entry(token).or_insert(*actor);
        }
    }
    Ok(())
}

fn no_answer_lost_once_durable(run: &Run) -> Result<(), String> {
    let is_durable = run.events.iter().any(|(_, event)| matches!(event, Event::Durable { .. }));
    if !is_durable || run.has_ended() || run.lost_an_answer() {
        return Ok(());
    }
    match run.token() {
        Some(token) if run.bank.accepts(&token) => Ok(()),
        other => Err(format!("the home holds {other:?}")),
    }
}

fn no_record_without_its_home(run: &Run) -> Result<(), String> {
    for (number, (_, event)) in run.events.iter().enumerate() {
        let Event::Recorded { refresh_token, home } = event else { continue };
        let is_home = |(_, event): &(usize, Event)| *event == Event::Home(Some(home.clone()));
        if !run.events[..number].iter().any(is_home) || token_in(home) != *refresh_token {
            return Err(format!("{refresh_token:?} in {}", String::from_utf8_lossy(home)));
        }
    }
    Ok(())
}

fn no_resurrection_after_logout(run: &Run) -> Result<(), String> {
    let Some(end) = run.logged_out() else { return Ok(()) };
    let mut homes =
        run.homes().filter(|(_, _, home)| home.and_then(token_in).is_some_and(|token| is_old(&token)));
    let last_before = run.homes().filter(|(number, ..)| *number < end).last().map(|(number, ..)| number);
    match homes.find(|(number, ..)| Some(*number) >= last_before) {
        Some((_, actor, _)) if run.brought_back().is_none() => Err(format!("the login is back, by {actor}")),
        _ => no_resurrection_in_the_end(run),
    }
}

fn is_old(token: &str) -> bool {
    token.starts_with("r1.")
}

fn no_resurrection_in_the_end(run: &Run) -> Result<(), String> {
    if run.logged_out().is_none() || run.brought_back().is_some() {
        return Ok(());
    }
    if let Some(token) = run.token().filter(|token| is_old(token)) {
        return Err(format!("the home holds {token}"));
    }
    let host = run.world.host(99);
    let home = home();
    let entries = Keep::open(&host, &home).unwrap().unwrap().ledger().unwrap().entries;
    let tokens = [entries.newest(), entries.successor()];
    let mut tokens = tokens.into_iter().flatten().map(|token| token.expose().to_owned());
    match tokens.find(|token| is_old(token)) {
        Some(token) => Err(format!("the ledger holds {token}")),
        None if run.deed().is_some() => Ok(()),
        None if run.next.as_ref().is_err_and(|error| error.starts_with("LoginRequired")) => Ok(()),
        None => Err(format!("the next caller gets {:?}", run.next)),
    }
}

fn no_foreign_writing_lost(run: &Run) -> Result<(), String> {
    let has_next = run.logged_out().is_none() && !run.lost_an_answer();
    let home = String::from_utf8(run.world.fs.get(PATH).unwrap_or_default()).unwrap();
    if run.is_shared && !home.contains("bobs") {
        return Err(format!("another slot is lost: {home}"));
    }
    let has_written = run.homes().any(|(_, actor, _)| run.is_foreign(actor));
    match run.deed() {
        Some(Deed::WritesAnotherSlot)
            if has_written && !run.died_holding_a_foreign_writing() && !home.contains("carols") =>
        {
            Err(format!("what was written is lost: {home}"))
        }
        Some(Deed::SignsIn) if has_next && !run.next.as_deref().is_ok_and(is_own) => {
            Err(format!("the foreign login is lost: {:?}", run.next))
        }
        _ => Ok(()),
    }
}

fn is_own(access: &str) -> bool {
    access.starts_with("a2.")
}

fn a_login_that_lives_is_served(run: &Run) -> Result<(), String> {
    if run.lost_an_answer() || run.brought_back().is_some() {
        return Ok(());
    }
    for (actor, event) in &run.events {
        let Event::Ended(Err(error)) = event else { continue };
        let is_out = run.roles.contains(&Role::Logout) && error.starts_with("LoginRequired");
        if !is_out {
            return Err(format!("{actor}: {error}"));
        }
    }
    Ok(())
}

fn nothing_is_left_over(run: &Run) -> Result<(), String> {
    // Who dies between making a file and saying so leaves an empty one, until the next landing.
    let has_crashed = run.events.iter().any(|(_, event)| *event == Event::Crashed);
    let mut left = litter(&run.world);
    left.retain(|path| !has_crashed || run.world.fs.get(path).is_some_and(|bytes| !bytes.is_empty()));
    if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
}

fn nobody_sends_a_token_twice(run: &Run) -> Result<(), String> {
    let mut sent = BTreeSet::new();
    let mut sendings = run.events.iter().filter_map(|(actor, event)| match event {
        Event::Sent { token, .. } => Some((actor, token)),
        _ => None,
    });
    sendings.find(|sending| !sent.insert(*sending)).map_or(Ok(()), |twice| Err(format!("{twice:?}")))
}

fn the_next_caller_is_served(run: &Run) -> Result<(), String> {
    match &run.next {
        Err(error) if !run.has_ended() => Err(error.clone()),
        _ => Ok(()),
    }
}

fn one_request_serves_all(run: &Run) -> Result<(), String> {
    let last = run.roles.len() - 1;
    let sent =
        run.events.iter().filter(|(actor, event)| *actor < last && matches!(event, Event::Sent { .. }));
    let sent = sent.count();
    if sent == 1 { Ok(()) } else { Err(format!("{sent} requests")) }
}

impl Run {
    fn is_foreign(&self, actor: usize) -> bool {
        matches!(self.roles[actor], Role::Foreigner(..))
    }

    fn deed(&self) -> Option<Deed> {
        self.roles.iter().find_map(|role| match role {
            Role::Foreigner(deed, _) => Some(*deed),
            _ => None,
        })
    }

    /// Returns whatever the home held, with who made it so and when.
    fn homes(&self) -> impl Iterator<Item = (usize, usize, Option<&[u8]>)> {
        self.events.iter().enumerate().filter_map(|(number, (actor, event))| match event {
            Event::Home(home) => Some((number, *actor, home.as_deref())),
            _ => None,
        })
    }

    /// Returns the refresh token in the home.
    fn token(&self) -> Option<String> {
        token_in(&self.world.fs.get(PATH)?)
    }

    fn logged_out(&self) -> Option<usize> {
        self.events.iter().position(|(_, event)| *event == Event::LoggedOut)
    }

    /// Returns whether the first login was to end: by a logout or by another login.
    fn has_ended(&self) -> bool {
        let mut homes = self.homes();
        let has_taken = homes.any(|(_, actor, home)| {
            self.roles[actor] == Role::Logout && home.is_none_or(|home| token_in(home).is_none())
        });
        has_taken || self.logged_out().is_some() || self.deed() == Some(Deed::SignsIn)
    }

    /// Returns whether `actor` died before the answer to `token` was durable.
    fn is_unknown(&self, actor: usize, token: &str, number: usize) -> bool {
        let mut before =
            self.events[..number].iter().filter(|(other, _)| *other == actor).map(|(_, event)| event);
        let has_crashed = before.clone().any(|event| *event == Event::Crashed);
        has_crashed && !before.any(|event| *event == Event::Durable { token: token.to_owned() })
    }

    /// Returns whether a crash took an answer with it, and the login, where there is no grace.
    fn lost_an_answer(&self) -> bool {
        let is_lost = |(actor, event): &(usize, Event)| match event {
            Event::Sent { token, .. } => self.is_unknown(*actor, token, self.events.len()),
            _ => false,
        };
        self.events.iter().any(is_lost) && !self.bank.has_grace()
    }

    /// Returns whether somebody died right after taking away what a foreign program had just
    /// written, and before looking at it: of a slot that is not ours nobody can tell then whether
    /// that or what is in the home is newer.
    fn died_holding_a_foreign_writing(&self) -> bool {
        let Some(end) = self.events.iter().position(|(_, event)| *event == Event::Crashed) else {
            return false;
        };
        let homes: Vec<usize> =
            self.homes().take_while(|(number, ..)| *number < end).map(|(_, actor, _)| actor).collect();
        let [.., writer, last] = homes[..] else { return false };
        last == self.events[end].0 && self.is_foreign(writer)
    }

    /// Returns when a foreign program wrote the login into a home that it found without.
    fn brought_back(&self) -> Option<usize> {
        self.logged_out()?;
        let before = self.homes().take_while(|(_, actor, _)| !self.is_foreign(*actor)).last();
        let found = before.and_then(|(_, _, home)| token_in(home?));
        let mut written = self.homes().filter(|(_, actor, home)| {
            self.is_foreign(*actor) && home.and_then(token_in).is_some_and(|token| is_old(&token))
        });
        written.next().map(|(number, ..)| number).filter(|_| found.is_none())
    }
}
