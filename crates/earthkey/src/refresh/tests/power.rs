//! Power loss at every step of a refresh: the next caller finds a login that lives.

use std::sync::Arc;

use super::provider::Bank;
use super::provider::Caller;
use super::provider::litter;
use crate::host::scripted::Kept;
use crate::host::scripted::World;
use crate::store::tests::PATH;
use crate::store::tests::file;
use crate::store::tests::token_in;

/// What the world is like before the refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    /// Whether there was a refresh before, so that ledger and lease exist.
    is_warm: bool,
    /// Whether the file system can exchange names.
    can_exchange: bool,
    rotates: bool,
}

impl Setting {
    fn every() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self {
            is_warm: bits & 1 == 0,
            can_exchange: bits & 2 == 0,
            rotates: bits & 4 == 0,
        })
    }

    async fn prepare(self) -> (Bank, World) {
        let bank = if self.rotates { Bank::default() } else { Bank::without_rotation() };
        let world = bank.world();
        world.fs.put(PATH, &file(&bank.sign_in()));
        if !self.can_exchange {
            world.fs.without_exchange();
        }
        if self.is_warm {
            Caller::new(&world, 1).token().await.unwrap();
        }
        (bank, world)
    }
}

/// Returns whether the library said that the answer is durable.
fn answer_is_durable(world: &World, since: usize) -> bool {
    world.person.said()[since..].iter().any(|said| said.contains("the answer is durable"))
}

#[tokio::test]
async fn a_login_survives_power_loss_at_every_step() {
    for setting in Setting::every() {
        let mut lost = Vec::new();
        let mut cut = 0;
        let mut reordered = 0;
        loop {
            let (bank, world) = setting.prepare().await;
            let (before, said) = (world.fs.steps().len(), world.person.said().len());
            let exchanges = bank.exchanges();
            world.fs.fail_power_at(before + cut);
            let outcome = Caller::new(&world, 2).token().await;
            let has_acted = bank.exchanges() > exchanges;
            if world.fs.steps().len() < before + cut {
                assert!(outcome.is_ok(), "{setting:?}: {outcome:?}");
                break;
            }
            let is_owed = !has_acted || !setting.rotates || answer_is_durable(&world, said);
            let some = world.fs.some_kept();
            reordered = reordered.max(some.len());
            for kept in Kept::EVERY.into_iter().chain(some) {
                let bank = bank.fork();
                let after = World { fs: Arc::new(world.fs.after_power_loss(kept)), ..bank.world() };
                let step = format!("{setting:?}, {kept:?}, step {cut} after {:?}", world.fs.steps().last());
                let next = Caller::new(&after, 3).token().await;
                if !is_owed && next.is_err() {
                    // The provider spent the token and its answer had not reached the disk.
                    lost.push(cut);
                    continue;
                }
                let access = next.unwrap_or_else(|error| panic!("{step}: {error:?}"));
                assert!(access.token.expose().starts_with("a1."), "{step}");
                assert_eq!(bank.reused(), [""; 0], "{step}");
                let home = after.fs.get(PATH).unwrap();
                assert!(bank.accepts(&token_in(&home).unwrap()), "{step}");
                assert!(String::from_utf8(home).unwrap().contains("bobs"), "{step}");
                assert_eq!(litter(&after), [].into(), "{step}");
            }
            cut += 1;
        }
        lost.dedup();
        assert!(cut > 8, "{setting:?}: only {cut} steps");
        // Where names cannot be exchanged, a second refresh changes one name before it syncs.
        let changes_one = setting.is_warm && !setting.can_exchange;
        assert_eq!(reordered == 0, changes_one, "{setting:?}: {reordered} orders of changes of names");
        // Between the provider's act and the end of the ledger's write lie two steps, and
        // nothing that a client does can make them fewer.
        let expected = if setting.rotates { 2 } else { 0 };
        assert_eq!(lost.len(), expected, "{setting:?}: lost at {lost:?}");
    }
}

#[tokio::test]
async fn power_loss_during_the_recovery_is_recovered_too() {
    for can_exchange in [true, false] {
        let setting = Setting { is_warm: true, can_exchange, rotates: true };
        let first = cut_after_the_answer(setting).await;
        for (bank, world) in first {
            let mut cut = 0;
            loop {
                let bank = bank.fork();
                let fs = Arc::new(world.fs.after_power_loss(Kept::All));
                let again = World { fs, ..bank.world() };
                again.fs.fail_power_at(cut);
                let exchanges = bank.exchanges();
                let outcome = Caller::new(&again, 3).token().await;
                let is_owed = bank.exchanges() == exchanges || answer_is_durable(&again, 0);
                for kept in Kept::EVERY.into_iter().chain(again.fs.some_kept()) {
                    let bank = bank.fork();
                    let after = World { fs: Arc::new(again.fs.after_power_loss(kept)), ..bank.world() };
                    let next = Caller::new(&after, 4).token().await;
                    assert!(next.is_ok() || !is_owed, "{kept:?}, step {cut}: {next:?}");
                }
                if again.fs.steps().len() < cut {
                    assert!(outcome.is_ok(), "{outcome:?}");
                    break;
                }
                cut += 1;
            }
        }
    }
}

/// Returns the worlds in which the power fails at one of the steps after the answer is durable.
async fn cut_after_the_answer(setting: Setting) -> Vec<(Bank, World)> {
    let mut worlds = Vec::new();
    for cut in 0.. {
        let (bank, world) = setting.prepare().await;
        let (before, said) = (world.fs.steps().len(), world.person.said().len());
        world.fs.fail_power_at(before + cut);
        let _ = Caller::new(&world, 2).token().await;
        if world.fs.steps().len() < before + cut {
            break;
        }
        if answer_is_durable(&world, said) {
            worlds.push((bank, world));
        }
    }
    assert!(worlds.len() > 2, "only {} steps after the answer", worlds.len());
    worlds
}
