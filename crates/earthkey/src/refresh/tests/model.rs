//! Every schedule of a few actors, to a bound.
//!
//! Two processes of ours, a foreign program that asks nobody, a logout, a crash and a lock that
//! lies meet at one home. They run the real protocol on a scripted file system, with a provider
//! that replaces its tokens, and at every call that others may notice the schedule decides who
//! goes on; in the end one more caller comes an hour later. All schedules are run that switch at
//! most so many times away from an actor that could go on. A crash counts as such a switch, and so
//! does time that passes meanwhile. Where an actor waits or ends, everybody else is given the next
//! turn in some schedule. Of orders that differ only in steps that have nothing to do with each
//! other one is run; `leaving_out_leaves_out_no_end` shows that nothing is lost by that.
//!
//! Each test says its bounds, and how many schedules there are at least, so that none is lost
//! unseen: two or three switches for two actors, one for three, and for all four the orders in
//! which they come, and every moment in which one of them dies. Together that is fifteen thousand
//! schedules, and a minute of two processors in a debug build. `EARTHKEY_MODEL_BOUND` raises every
//! bound that is lower. With one it takes a quarter of an hour and more, most of it for four
//! actors; with two or three one test at a time:
//!
//! ```text
//! EARTHKEY_MODEL_BOUND=3 cargo nextest run -p earthkey -E 'test(model::two_of_us)' --no-capture
//! ```
//!
//! A failure names the promise, the schedule and every step. [`Scenario::replay`] runs a schedule
//! again: see `a_schedule_can_be_replayed`.

mod actors;
mod files;
mod log;
mod promises;
mod scenario;
mod schedule;
mod search;
mod trace;

use self::actors::Deed;
use self::actors::Fault;
use self::actors::Manner;
use self::actors::Role;
use self::actors::Role::Caller;
use self::actors::Role::Forcer;
use self::actors::Role::Foreigner;
use self::actors::Role::Logout;
use self::actors::Role::Mortal;
use self::actors::Role::Wrong;
use self::promises::ALWAYS;
use self::promises::ONE_REQUEST;
use self::promises::Promise;
use self::promises::WITHOUT_FILE_LOCK;
use self::promises::WITHOUT_LEASE;
use self::promises::WITHOUT_LEASE_BUT_GRACE;
use self::scenario::Broken;
use self::scenario::Explored;
use self::scenario::Scenario;
use self::search::Schedule;
use crate::host::fs::Medium;

/// The endings of all files that are locked.
const EVERY_LOCK: &[&str] = &["-lease", "-lock", "-ledger"];
const DEEDS: [Deed; 3] = [Deed::SignsIn, Deed::WritesAnotherSlot, Deed::RollsBack];
const MANNERS: [Manner; 3] = [Manner::Replace, Manner::RemoveAndCreate, Manner::InPlace];

/// Returns the bound that is asked for, if one is.
fn bound() -> Option<u32> {
    let bound = std::env::var("EARTHKEY_MODEL_BOUND").ok()?;
    Some(bound.parse().expect("EARTHKEY_MODEL_BOUND is a number"))
}

/// Runs all schedules of some scenarios; `least` is how many there are at least.
#[track_caller]
fn hold(least: usize, scenarios: impl IntoIterator<Item = Scenario>) {
    let mut schedules = 0;
    for mut scenario in scenarios {
        scenario.bound = scenario.bound.max(bound().unwrap_or(0));
        let explored = scenario.explore();
        report(&scenario, &explored);
        schedules += explored.schedules;
        if let Some(Broken { promise, schedule, what }) = explored.broken {
            let (story, _) = scenario.replay(&schedule);
            panic!("{story}\n\n{promise} is broken: {what}\nby schedule `{schedule}` of {scenario:#?}");
        }
    }
    assert!(schedules >= least, "only {schedules} schedules");
}

#[expect(clippy::print_stderr, reason = "what was explored is a result, too")]
fn report(scenario: &Scenario, explored: &Explored) {
    let Scenario { roles, bound, lying, has_grace, .. } = scenario;
    let Explored { schedules, repeated, .. } = explored;
    eprintln!(
        "{roles:?} {lying:?} grace {has_grace}: bound {bound}, {schedules} schedules, {repeated} cut short"
    );
}

fn always(roles: &[Role], bound: u32) -> Scenario {
    Scenario::new(roles, bound, &ALWAYS)
}

#[test]
fn two_of_us_need_one_request() {
    let mut promises = ALWAYS.to_vec();
    promises.push(ONE_REQUEST);
    let two = Scenario::new(&[Caller, Caller], 2, &promises);
    hold(370, [two.clone(), Scenario { is_warm: false, ..two }]);
}

#[test]
fn two_of_us_want_new_tokens() {
    hold(380, [always(&[Caller, Forcer], 2), always(&[Forcer, Forcer], 2)]);
}

fn beside_a_foreigner(deed: Deed) -> Vec<Scenario> {
    let beside = |manner| always(&[Caller, Foreigner(deed, manner)], 3);
    let mut scenarios = MANNERS.map(beside).to_vec();
    scenarios.push(always(&[Caller, Caller, Foreigner(deed, manner_of(deed))], 1));
    scenarios
}

/// Returns the manner in which a deed is looked at more closely.
fn manner_of(deed: Deed) -> Manner {
    match deed {
        Deed::SignsIn => Manner::InPlace,
        Deed::WritesAnotherSlot => Manner::RemoveAndCreate,
        Deed::RollsBack | Deed::Refreshes => Manner::Replace,
    }
}

#[test]
fn a_foreign_program_signs_in() {
    hold(380, beside_a_foreigner(Deed::SignsIn));
}

#[test]
fn a_foreign_program_writes_another_slot() {
    hold(400, beside_a_foreigner(Deed::WritesAnotherSlot));
}

#[test]
fn a_foreign_program_rolls_back() {
    hold(400, beside_a_foreigner(Deed::RollsBack));
}

#[test]
fn a_foreign_program_refreshes_where_there_is_grace() {
    let beside =
        |manner| Scenario { has_grace: true, ..always(&[Caller, Foreigner(Deed::Refreshes, manner)], 3) };
    hold(260, MANNERS.map(beside));
}

#[test]
fn a_logout_ends_it() {
    let alone = always(&[Caller, Logout], 2);
    let both = always(&[Caller, Caller, Logout], 1);
    hold(740, [alone.clone(), Scenario { is_shared: false, ..alone }, both]);
}

#[test]
fn a_crash_loses_nothing_durable() {
    let crash = always(&[Mortal, Caller], 2);
    hold(450, [crash.clone(), Scenario { has_grace: true, bound: 1, ..crash }]);
}

#[test]
fn a_crash_beside_a_logout() {
    let alone = always(&[Mortal, Logout], 2);
    let both = always(&[Mortal, Caller, Logout], 1);
    hold(1200, [alone.clone(), Scenario { is_shared: false, bound: 1, ..alone }, both]);
}

#[test]
fn a_crash_beside_a_foreign_program() {
    let beside = |deed| {
        let is_looked_at = move |manner| deed == Deed::SignsIn && manner == manner_of(deed);
        let bound = move |manner| if is_looked_at(manner) { 2 } else { 1 };
        MANNERS.map(|manner| always(&[Mortal, Foreigner(deed, manner)], bound(manner)))
    };
    hold(950, DEEDS.into_iter().flat_map(beside));
}

#[test]
fn a_logout_beside_a_foreign_program() {
    let beside = |deed| MANNERS.map(|manner| always(&[Logout, Foreigner(deed, manner)], 3));
    hold(220, DEEDS.into_iter().flat_map(beside));
}

#[test]
fn a_refresh_beside_a_logout_and_a_foreign_program() {
    hold(800, DEEDS.map(|deed| always(&[Caller, Logout, Foreigner(deed, Manner::RemoveAndCreate)], 1)));
}

#[test]
fn a_crash_beside_a_logout_and_a_foreign_program() {
    hold(1300, DEEDS.map(|deed| always(&[Mortal, Logout, Foreigner(deed, manner_of(deed))], 1)));
}

#[test]
fn everybody_at_once() {
    let beside = |deed, manner| always(&[Mortal, Caller, Logout, Foreigner(deed, manner)], 0);
    let of_two = [Deed::SignsIn, Deed::WritesAnotherSlot].into_iter();
    let of_two = of_two.flat_map(|deed| MANNERS.map(|manner| beside(deed, manner)));
    hold(600, of_two.chain([beside(Deed::RollsBack, manner_of(Deed::RollsBack))]));
}

#[test]
fn everybody_at_once_and_one_dies() {
    let beside = |deed| always(&[Mortal, Caller, Logout, Foreigner(deed, manner_of(deed))], 0);
    // With a copy from before the refresh it takes minutes.
    let is_rolled_back = |deed: &Deed| *deed == Deed::RollsBack;
    let deeds = DEEDS.into_iter().filter(|deed| bound().is_some() || !is_rolled_back(deed));
    hold(2600, deeds.map(|deed| Scenario { crash_costs: 0, ..beside(deed) }));
}

/// Returns scenarios with a lock that everybody is told to have.
fn with_a_lie(
    lying: &'static [&'static str],
    has_grace: bool,
    promises: &[Promise],
) -> impl Iterator<Item = Scenario> {
    let foreigner = Foreigner(Deed::SignsIn, Manner::InPlace);
    let casts = [[Caller, Caller], [Caller, Logout], [Mortal, Caller], [Mortal, Logout], [Mortal, foreigner]];
    let scenarios = casts.map(|roles| Scenario { has_grace, lying, ..Scenario::new(&roles, 1, promises) });
    // Where the lock of the home lies, a landing may bring a login back for a moment beside a
    // logout. Who dies in that moment leaves it so.
    let is_promised =
        |scenario: &Scenario| !scenario.lying.contains(&"-lock") || scenario.roles != [Mortal, Logout];
    scenarios.into_iter().filter(is_promised)
}

#[test]
fn the_lock_of_the_home_lies() {
    let logout = Scenario { lying: &["-lock"], ..Scenario::new(&[Caller, Logout], 2, &WITHOUT_FILE_LOCK) };
    hold(360, with_a_lie(&["-lock"], false, &WITHOUT_FILE_LOCK).chain([logout]));
}

#[test]
fn the_lock_of_the_ledger_lies() {
    hold(280, with_a_lie(&["-ledger"], false, &ALWAYS));
}

#[test]
fn the_lease_lies() {
    hold(380, with_a_lie(&["-lease"], false, &WITHOUT_LEASE));
}

#[test]
fn the_lease_lies_where_there_is_grace() {
    let promises = [&WITHOUT_LEASE[..], &WITHOUT_LEASE_BUT_GRACE].concat();
    hold(380, with_a_lie(&["-lease"], true, &promises));
}

/// Returns scenarios in which every lock lies, and it is known that locks may: a claim makes the lease.
fn with_claims(casts: &[&[Role]], bound: u32, promises: &[Promise]) -> Vec<Scenario> {
    let with_claims = |roles: &&[Role]| Scenario {
        lying: EVERY_LOCK,
        medium: Medium::Shared,
        ..Scenario::new(roles, bound, promises)
    };
    casts.iter().map(with_claims).collect()
}

#[test]
fn a_claim_is_a_lease_where_every_lock_lies() {
    let casts: [&[Role]; 3] = [&[Caller, Caller], &[Caller, Forcer], &[Caller, Logout]];
    hold(1100, with_claims(&casts, 2, &WITHOUT_FILE_LOCK));
    let foreigner = Foreigner(Deed::SignsIn, Manner::InPlace);
    hold(390, with_claims(&[&[Caller, Logout, foreigner]], 1, &WITHOUT_FILE_LOCK));
}

/// Who dies leaves a claim behind, and the next waits until its time is over.
#[test]
fn a_claim_of_the_dead_ends() {
    let promises = [&WITHOUT_FILE_LOCK[..], &WITHOUT_LEASE_BUT_GRACE].concat();
    let dies = with_claims(&[&[Mortal, Caller]], 1, &promises);
    hold(60, dies.into_iter().map(|scenario| Scenario { has_grace: true, ..scenario }));
}

#[test]
fn every_lock_lies() {
    let promises = [&WITHOUT_LEASE[..], &WITHOUT_LEASE_BUT_GRACE].concat();
    hold(780, with_a_lie(EVERY_LOCK, false, &WITHOUT_LEASE).chain(with_a_lie(EVERY_LOCK, true, &promises)));
}

/// Returns what a scenario breaks that must break `promise`.
fn broken(scenario: Scenario, promise: &str) -> (Scenario, Broken) {
    let promises = ALWAYS.into_iter().filter(|(name, _)| *name == promise).collect();
    let scenario = Scenario { promises, ..scenario };
    let broken = scenario.explore().broken.unwrap_or_else(|| panic!("{promise} cannot fail"));
    (scenario, broken)
}

#[test]
fn every_promise_can_be_broken() {
    let signs_in = Foreigner(Deed::SignsIn, Manner::Replace);
    let makes_the_home_again = always(&[Logout, Wrong(Fault::MakesTheHomeAgain)], 1);
    let told_of_every_lock = Scenario { lying: EVERY_LOCK, ..always(&[Caller, Caller], 1) };
    for (scenario, promise) in [
        (always(&[Caller, Wrong(Fault::SendsWithoutLease)], 1), "no_spent_token_sent"),
        (always(&[Mortal, Wrong(Fault::ForgetsTheLedger)], 1), "no_answer_lost_once_durable"),
        (always(&[Wrong(Fault::RecordsBeforeLanding)], 0), "no_record_without_its_home"),
        (Scenario { is_shared: false, ..makes_the_home_again }, "no_resurrection_after_logout"),
        (always(&[Wrong(Fault::Panics)], 0), "everybody_comes_to_an_end"),
        (always(&[Wrong(Fault::SendsTwice)], 0), "nobody_sends_a_token_twice"),
        (always(&[Logout, Wrong(Fault::LeavesLitter)], 0), "nothing_is_left_over"),
        // The protocol itself, in a world in which it cannot see what it displaces.
        (Scenario { is_blind: true, ..always(&[Caller, signs_in], 1) }, "no_foreign_writing_lost"),
        // And in one in which everybody has every lock.
        (told_of_every_lock.clone(), "no_spent_token_sent"),
        (told_of_every_lock.clone(), "no_answer_lost_once_durable"),
        (told_of_every_lock, "a_login_that_lives_is_served"),
    ] {
        broken(scenario, promise);
    }
}

#[test]
fn a_schedule_can_be_replayed() {
    let scenario = always(&[Caller, Wrong(Fault::SendsWithoutLease)], 1);
    let (scenario, found) = broken(scenario, "no_spent_token_sent");
    let text = found.schedule.to_string();
    let (story, again) = scenario.replay(&text.parse().unwrap());
    let again = again.expect("what was broken once is broken again");
    assert_eq!((again.promise, again.what), (found.promise, found.what));
    assert!(story.contains("A send r1.1") && story.contains("B send r1.1"), "{story}");
    assert_eq!("17B 40~ 52!".parse::<Schedule>().unwrap().to_string(), "17B 40~ 52!");
}

#[test]
fn leaving_out_leaves_out_no_end() {
    let rolls_back = Foreigner(Deed::RollsBack, Manner::RemoveAndCreate);
    for (roles, bound) in [([Caller, Caller], 1), ([Caller, Logout], 1), ([Caller, rolls_back], 2)] {
        let scenario = Scenario::new(&roles, bound, &[]);
        let some = scenario.explore();
        let all = Scenario { is_thorough: true, ..scenario }.explore();
        assert_eq!(some.ends, all.ends, "{roles:?}");
        assert!(some.schedules < all.schedules, "{roles:?}: {some:?}");
    }
}
