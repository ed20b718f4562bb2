//! A token at hand for whoever asks for it again and again: no lock, no file, no runtime.

use std::time::Duration;

use earthkey_record::name::Form;

use super::Earthkey;
use crate::error::Result;
use crate::login::Login;
use crate::refresh::Access;
use crate::refresh::Want;
use crate::refresh::decide;
use crate::refresh::decide::Moment;

/// How long memory is believed: a logout, or a refresh by somebody else, is seen after this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The token of one login, kept at hand by one thread.
///
/// It is that thread's own, so that a hit writes to no memory that another thread reads; other threads
/// have theirs. Whoever holds it must not hold a token back for longer than it needs it.
pub struct Cached<'a> {
    earthkey: &'a Earthkey,
    login: Login,
    want: Want,
    /// The token, and when the files that it depends on were looked at, by the boot-time clock.
    held: Option<(Access, Duration)>,
    boot_id: [u8; 16],
}

impl Earthkey {
    /// Returns a token of a login that is kept at hand. Reads nothing yet. Where [`Earthkey::open`] opened
    /// the logins, none is at hand before [`Cached::obtain`] or [`Earthkey::token`] has looked whose it is.
    pub fn cached(&self, login: &Login, want: &Want) -> Cached<'_> {
        let boot_id = self.host.clock.boot_id();
        Cached { earthkey: self, login: login.clone(), want: want.clone(), held: None, boot_id }
    }
}

impl Cached<'_> {
    /// Returns the token if one is at hand that need not be refreshed yet. Needs no runtime; reads two
    /// clocks, and once a second the files that the token depends on.
    pub fn get(&mut self) -> Option<&Access> {
        let clock = &self.earthkey.host.clock;
        let since_boot = clock.since_boot();
        let is_seen =
            self.held.as_ref().is_some_and(|(_, seen)| since_boot.saturating_sub(*seen) < LOOK_EVERY);
        if !is_seen {
            let found = self.earthkey.recorded(&self.login, &self.want, Form::Token);
            self.held = found.map(|(access, _)| (access, since_boot));
        }
        let moment = Moment { now: clock.now(), boot_id: self.boot_id, since_boot: since_boot.as_secs() };
        let (access, _) = self.held.as_ref()?;
        let is_good = !self.want.force
            && decide::is_valid(&moment, access)
            && moment.now < access.early_at
            && access.expires_at.saturating_sub(moment.now) >= self.want.min_ttl;
        is_good.then_some(access)
    }

    /// Returns the token, obtained anew where that is due.
    pub async fn obtain(&mut self) -> Result<&Access> {
        // What a borrow checker cannot see is asked twice.
        if self.get().is_none() {
            let token = self.earthkey.token(&self.login, &self.want).await?;
            self.held = Some((token.access, self.earthkey.host.clock.since_boot()));
        }
        let (access, _) = self.held.as_ref().expect("it was there, or was obtained");
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use earthkey_record::clock::Clock as RecordClock;
    use earthkey_record::digest::Digest;
    use earthkey_record::environment::Environment;
    use earthkey_record::name::Arguments;
    use earthkey_record::record::Record;

    use super::*;
    use crate::host::BoxFuture;
    use crate::host::Clock;
    use crate::host::Host;
    use crate::host::Records;
    use crate::host::http::Response;
    use crate::host::real::RealClock;
    use crate::host::scripted::World;
    use crate::login::System;

    const FILE: &str = "/home/ada/.config/earthengine/credentials";

    /// Records that count how often they are looked for.
    struct Counted {
        records: Arc<dyn Records>,
        looks: Arc<AtomicUsize>,
    }

    impl Records for Counted {
        fn find(
            &self,
            arguments: &Arguments<'_>,
            environment: &Environment,
            clock: &RecordClock,
        ) -> Option<Record> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.records.find(arguments, environment, clock)
        }

        fn digest(&self, content: &[u8]) -> Option<Digest> {
            self.records.digest(content)
        }

        fn write(&self, arguments: &Arguments<'_>, environment: &Environment, record: Record) {
            self.records.write(arguments, environment, record);
        }

        fn remove_login(&self, login: &str) {
            self.records.remove_login(login);
        }
    }

    /// A clock that says how it is read.
    struct Watched {
        clock: Arc<dyn Clock>,
        reads: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Watched {
        fn note(&self, read: &'static str) {
            self.reads.lock().unwrap().push(read);
        }
    }

    impl Clock for Watched {
        fn now(&self) -> u64 {
            self.note("wall");
            self.clock.now()
        }

        fn since_boot(&self) -> Duration {
            self.note("boot-time");
            self.clock.since_boot()
        }

        fn boot_id(&self) -> [u8; 16] {
            self.note("boot");
            self.clock.boot_id()
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
            self.clock.sleep(duration)
        }
    }

    fn world() -> World {
        let answers = AtomicUsize::new(0);
        let world = World::new(move |_| {
            let number = answers.fetch_add(1, Ordering::Relaxed);
            let body = format!(
                r#"{{"access_token": "token-{number}", "expires_in": 3600, "token_type": "Bearer"}}"#
            );
            Ok(Response::new(200, body))
        });
        world.fs.put(FILE, br#"{"refresh_token": "r", "project": "p"}"#);
        world
    }

    fn earthkey(world: &World) -> (Earthkey, Arc<AtomicUsize>) {
        let looks = Arc::new(AtomicUsize::new(0));
        let records = Arc::new(Counted { records: world.records.clone(), looks: looks.clone() });
        (Earthkey::in_foreground(Host { records, ..world.host(1) }), looks)
    }

    fn token(access: Option<&Access>) -> Option<&str> {
        access.map(|access| access.token.expose())
    }

    #[tokio::test]
    async fn a_token_at_hand_costs_no_look_at_any_file_for_a_second() {
        let world = world();
        let (earthkey, looks) = earthkey(&world);
        let mut cached = earthkey.cached(&Login::of(System::Earthengine), &Want::default());
        assert_eq!(token(cached.get()), None);
        assert_eq!(cached.obtain().await.unwrap().token.expose(), "token-0");
        let before = looks.load(Ordering::Relaxed);
        for _ in 0..1000 {
            assert_eq!(token(cached.get()), Some("token-0"));
        }
        assert_eq!(looks.load(Ordering::Relaxed), before);
        world.clock.advance(LOOK_EVERY);
        assert_eq!(token(cached.get()), Some("token-0"));
        assert_eq!(looks.load(Ordering::Relaxed), before + 1);
        assert_eq!(world.http.requests().len(), 1);
    }

    #[tokio::test]
    async fn a_hit_reads_two_clocks_and_no_record_and_its_token_is_no_other_threads() {
        let world = world();
        let (Earthkey { host, .. }, looks) = earthkey(&world);
        let reads = Arc::new(Mutex::default());
        let clock = Arc::new(Watched { clock: host.clock.clone(), reads: reads.clone() });
        let earthkey = Earthkey::open(Host { clock, ..host });
        let login = Login::of(System::Earthengine);
        let [mut ours, mut theirs] = [(); 2].map(|()| earthkey.cached(&login, &Want::default()));
        ours.obtain().await.unwrap();
        assert_eq!(token(theirs.get()), Some("token-0"));
        reads.lock().unwrap().clear();
        let before = looks.load(Ordering::Relaxed);
        // Each thread has a token of its own, not one that is counted.
        let [ours, theirs] =
            [&mut ours, &mut theirs].map(|cached| cached.get().unwrap().token.expose().as_ptr());
        assert_ne!(ours, theirs);
        // What is shared is the host. Of it a hit asks the clocks; the real one has no memory to write to.
        assert_eq!(*reads.lock().unwrap(), ["boot-time", "wall", "boot-time", "wall"]);
        assert_eq!(looks.load(Ordering::Relaxed), before);
        assert_eq!(world.http.requests().len(), 1);
        assert_eq!(size_of::<RealClock>(), 0);
    }

    #[tokio::test]
    async fn a_logout_and_a_refresh_elsewhere_are_seen_within_a_second() {
        let world = world();
        let (earthkey, _) = earthkey(&world);
        let (other, _) = self::earthkey(&world);
        let login = Login::of(System::Earthengine);
        let mut cached = earthkey.cached(&login, &Want::default());
        cached.obtain().await.unwrap();
        other.token(&login, &Want { force: true, ..Want::default() }).await.unwrap();
        world.clock.advance(LOOK_EVERY);
        assert_eq!(token(cached.get()), Some("token-1"));
        other.logout(&login, false).await.unwrap();
        world.clock.advance(LOOK_EVERY);
        assert_eq!(token(cached.get()), None);
        assert!(cached.obtain().await.is_err());
    }

    #[tokio::test]
    async fn a_new_token_each_time_is_never_one_at_hand() {
        let world = world();
        let (earthkey, _) = earthkey(&world);
        let want = Want { force: true, ..Want::default() };
        let mut cached = earthkey.cached(&Login::of(System::Earthengine), &want);
        assert_eq!(cached.obtain().await.unwrap().token.expose(), "token-0");
        assert_eq!(token(cached.get()), None);
        assert_eq!(cached.obtain().await.unwrap().token.expose(), "token-1");
    }

    #[tokio::test]
    async fn what_is_due_is_not_at_hand_and_what_has_expired_never_is() {
        let world = world();
        let (earthkey, _) = earthkey(&world);
        let login = Login::of(System::Earthengine);
        let mut cached = earthkey.cached(&login, &Want { min_ttl: 600, ..Want::default() });
        cached.obtain().await.unwrap();
        // Both within one look: the clocks decide, not the files.
        world.clock.set_wall(1_800_000_000 + 2699);
        assert_eq!(token(cached.get()), Some("token-0"));
        world.clock.set_wall(1_800_000_000 + 2700);
        assert_eq!(token(cached.get()), None);
        assert_eq!(cached.obtain().await.unwrap().token.expose(), "token-1");
        // A clock that went back an hour makes nothing younger.
        world.clock.set_wall(1_800_000_000 - 3600);
        assert_eq!(token(cached.get()), None);
    }
}
