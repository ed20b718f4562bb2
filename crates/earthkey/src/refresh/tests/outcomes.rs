//! What each outcome of a request means for the grant (REFRESH rules 5 and 8).

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use earthkey_record::ledger::State;
use serde_json::json;

use super::provider::Answers;
use super::provider::Bank;
use super::provider::Caller;
use super::provider::litter;
use super::provider::refusal;
use super::provider::requests_reach;
use super::provider::sent;
use super::provider::tokens;
use super::provider::with_header;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::host::Clock;
use crate::host::Process;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::process::Owner;
use crate::host::scripted::WatchedFileSystem;
use crate::host::scripted::World;
use crate::store::Keep;
use crate::store::ledger::Ledger;
use crate::store::slot::Rotation;
use crate::store::tests::PATH;
use crate::store::tests::file;
use crate::store::tests::token_in;

type Answer = Result<Response, SendError>;

fn not_sent() -> Answer {
    Err(SendError::NotSent("connection refused".into()))
}

fn cut() -> Answer {
    Err(SendError::Unknown("connection reset".into()))
}

fn success() -> Response {
    tokens("a1.1", "r1.1")
}

/// Returns a world whose home holds `r1.0` and whose network gives these answers.
fn world(answers: impl IntoIterator<Item = Answer>) -> World {
    let world = Answers::world(answers);
    world.fs.put(PATH, &file("r1.0"));
    world
}

fn ledger(world: &World) -> Ledger {
    let caller = Caller::new(world, 99);
    Keep::open(&caller.host, &caller.home).unwrap().unwrap().ledger().unwrap()
}

fn home(world: &World) -> Option<String> {
    token_in(&world.fs.get(PATH)?)
}

fn show(error: &Error) -> String {
    format!("{error} {:?} {:?}", error.causes(), error.hints())
}

#[tokio::test]
async fn what_was_not_sent_is_sent_again() {
    let world = world([not_sent(), not_sent(), Ok(success())]);
    let access = Caller::new(&world, 1).token().await.unwrap();
    assert_eq!(access.token.expose(), "a1.1");
    assert_eq!(sent(&world), ["r1.0"; 3]);
    assert_eq!(home(&world).unwrap(), "r1.1");
}

#[tokio::test]
async fn what_cannot_be_sent_costs_nothing() {
    let world = world([not_sent(), not_sent(), not_sent(), Ok(success())]);
    let error = Caller::new(&world, 1).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(show(&error).contains("nothing was sent"), "{}", show(&error));
    assert_eq!(ledger(&world).state, State::Idle);
    assert!(litter(&world).is_empty());
    // Nothing keeps the next caller waiting.
    let before = world.clock.since_boot();
    Caller::new(&world, 2).token().await.unwrap();
    assert_eq!(world.clock.since_boot(), before);
}

#[tokio::test]
async fn a_provider_that_asks_for_patience_is_given_it() {
    for (name, value, expected) in [
        ("retry-after", "7", 7),
        // The scripted clock stands at 15 January 2027, 08:00:00.
        ("retry-after", "Fri, 15 Jan 2027 08:00:09 GMT", 9),
    ] {
        for status in [429, 503] {
            let world = world([Ok(with_header(status, name, value)), Ok(success())]);
            let start = world.clock.since_boot();
            Caller::new(&world, 1).token().await.unwrap();
            let waited = world.clock.since_boot().saturating_sub(start).as_secs();
            assert_eq!(waited, expected, "{status} {value}");
            assert_eq!(sent(&world).len(), 2);
        }
    }
}

#[tokio::test]
async fn a_longer_wait_ends_the_attempt_and_is_remembered() {
    let world = world([Ok(with_header(429, "retry-after", "120")), Ok(success())]);
    let error = Caller::new(&world, 1).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("in 120 seconds"), "{error}");
    assert_eq!(ledger(&world).state, State::Idle, "the provider did not act");
    for pid in 2..1000 {
        let error = Caller::new(&world, pid).token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
    }
    assert_eq!(sent(&world).len(), 1, "nobody asks before that");
    world.clock.advance(Duration::from_secs(120));
    Caller::new(&world, 1000).token().await.unwrap();
    assert_eq!(sent(&world).len(), 2);
}

#[tokio::test]
async fn a_wait_until_the_end_of_time_is_bounded() {
    let world = world([Ok(with_header(503, "retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")), Ok(success())]);
    Caller::new(&world, 1).token().await.unwrap_err();
    world.clock.advance(Duration::from_secs(24 * 3600));
    Caller::new(&world, 2).token().await.unwrap();
}

#[tokio::test]
async fn refresh_asks_whatever_is_remembered() {
    let world = world([
        Ok(with_header(429, "retry-after", "120")),
        Ok(refusal("invalid_grant")),
        Ok(tokens("a1.1", "r1.1")),
    ]);
    Caller::new(&world, 1).token().await.unwrap_err();
    Caller::new(&world, 2).forced().await.unwrap_err();
    Caller::new(&world, 3).forced().await.unwrap();
    assert_eq!(sent(&world).len(), 3);
}

#[tokio::test]
async fn a_refusal_is_remembered_and_a_thousand_callers_cost_one_request() {
    let world = world([Ok(refusal("invalid_grant")), Ok(refusal("invalid_grant")), Ok(success())]);
    for pid in 1..=1000 {
        let error = Caller::new(&world, pid).token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(show(&error).contains("earthkey login test"), "{}", show(&error));
    }
    assert_eq!(sent(&world).len(), 1);
    // One minute, then two.
    world.clock.advance(Duration::from_secs(60));
    Caller::new(&world, 1001).token().await.unwrap_err();
    assert_eq!(sent(&world).len(), 2);
    world.clock.advance(Duration::from_secs(119));
    Caller::new(&world, 1002).token().await.unwrap_err();
    assert_eq!(sent(&world).len(), 2);
    world.clock.advance(Duration::from_secs(1));
    Caller::new(&world, 1003).token().await.unwrap();
    // What went well ends the count.
    assert!(ledger(&world).entries.refusals.is_empty());
}

#[tokio::test]
async fn a_refusal_is_remembered_for_an_hour_at_most() {
    let world = world((0..9).map(|_| Ok(refusal("invalid_client"))));
    for pid in 1..=9 {
        Caller::new(&world, pid).token().await.unwrap_err();
        let remembered = ledger(&world).entries.refusals[0].clone();
        let expected = (60 << (pid - 1)).min(3600);
        assert_eq!(remembered.until - remembered.at, expected);
        world.clock.advance(Duration::from_secs(expected));
    }
}

#[tokio::test]
async fn a_refusal_of_the_future_is_none() {
    let world = world([Ok(refusal("invalid_grant")), Ok(success())]);
    let now = world.clock.now();
    world.clock.set_wall(now + 365 * 86400);
    Caller::new(&world, 1).token().await.unwrap_err();
    // The clock was wrong by a year, and has been set since.
    world.clock.set_wall(now);
    Caller::new(&world, 2).token().await.unwrap();
}

#[tokio::test]
async fn another_grant_or_other_scopes_are_not_refused_with_it() {
    let world = world([Ok(refusal("invalid_scope")), Ok(tokens("a1.1", "r1.1"))]);
    let narrow = Caller { scopes: "write", ..Caller::new(&world, 1) };
    assert_eq!(narrow.token().await.unwrap_err().kind(), ErrorKind::Refused);
    Caller::new(&world, 2).token().await.unwrap();
}

#[tokio::test]
async fn only_an_oauth_error_refuses() {
    let pages = [
        Response::new(400, "<html>bad request</html>"),
        Response::new(403, "{}"),
        Response::new(404, json!({"message": "no such page"}).to_string()),
        Response::new(200, "<html>portal</html>"),
        Response::new(200, json!({"error": "invalid_grant"}).to_string()),
        with_header(302, "location", "https://portal.test/"),
    ];
    for page in pages {
        let world = world([Ok(page.clone()), Ok(success())]);
        let error = Caller::new(&world, 1).token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{page:?}");
        assert_eq!(sent(&world).len(), 1, "{page:?} is not asked again at once");
        let ledger = ledger(&world);
        assert_eq!(ledger.state, State::Intent, "{page:?}");
        assert!(ledger.entries.refusals.is_empty(), "{page:?}");
        assert_eq!(home(&world).unwrap(), "r1.0");
        // Later callers may.
        Caller::new(&world, 2).token().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_asked_for_again() {
    let world = world([Err(SendError::TooLarge { limit: 65536 })]);
    Caller::new(&world, 1).token().await.unwrap_err();
    assert_eq!(sent(&world).len(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_once_more_with_the_same_token() {
    for first in [cut(), Ok(Response::new(500, "")), Ok(Response::new(502, "<html>"))] {
        let world = world([first, Ok(success())]);
        Caller::new(&world, 1).token().await.unwrap();
        assert_eq!(sent(&world), ["r1.0", "r1.0"]);
        assert_eq!(home(&world).unwrap(), "r1.1");
    }
}

#[tokio::test]
async fn a_second_unknown_outcome_leaves_the_intent_for_later_callers() {
    let world = world([cut(), cut(), cut(), cut(), Ok(success())]);
    Caller::new(&world, 1).token().await.unwrap_err();
    assert_eq!(sent(&world).len(), 2);
    assert_eq!(ledger(&world).state, State::Intent);
    assert!(litter(&world).is_empty());
    // Each waits longer for its turn than the one before.
    Caller::new(&world, 2).token().await.unwrap_err();
    assert_eq!(ledger(&world).entries.outcome.unwrap().failures, 2);
    let before = world.clock.since_boot();
    Caller::new(&world, 3).token().await.unwrap();
    assert!(world.clock.since_boot().saturating_sub(before) >= Duration::from_secs(1));
    assert_eq!(sent(&world), ["r1.0"; 5]);
}

#[tokio::test]
async fn a_lost_answer_that_ended_the_login_is_named() {
    let world = world([cut(), Ok(refusal("invalid_grant"))]);
    let error = Caller::new(&world, 1).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(show(&error).contains("an earlier answer never arrived"), "{}", show(&error));

    let world = self::world([Ok(refusal("invalid_grant"))]);
    let error = Caller::new(&world, 1).token().await.unwrap_err();
    assert!(!show(&error).contains("never arrived"), "{}", show(&error));
}

#[tokio::test]
async fn the_successor_that_another_program_writes_within_two_seconds_is_used() {
    let world = world([Ok(refusal("invalid_grant")), Ok(tokens("a1.2", "r1.2"))]);
    let caller = Caller::new(&world, 1);
    let other = async {
        requests_reach(&world, 1).await;
        caller.host.clock.sleep(Duration::from_millis(1900)).await;
        world.fs.put(PATH, &file("r1.1"));
    };
    let (access, ()) = tokio::join!(caller.token(), other);
    assert_eq!(access.unwrap().token.expose(), "a1.2");
    assert_eq!(sent(&world), ["r1.0", "r1.1"]);
    assert!(ledger(&world).entries.refusals.is_empty());
    // A copy of what was refused is not sent again.
    world.fs.put(PATH, &file("r1.0"));
    world.clock.advance(Duration::from_secs(60));
    let keep = Keep::open(&caller.host, &caller.home).unwrap().unwrap();
    let lease = keep.try_lease().unwrap().unwrap();
    keep.adopt(&lease).await.unwrap().unwrap();
    assert_eq!(home(&world).unwrap(), "r1.2");
}

#[tokio::test]
async fn a_refresh_token_is_kept_though_its_answer_cannot_be_served() {
    for wrong in [
        json!({"refresh_token": "r1.1"}),
        json!({"refresh_token": "r1.1", "access_token": "a1.1", "token_type": "mac"}),
        json!({"refresh_token": "r1.1", "access_token": "", "token_type": "Bearer"}),
        json!({"refresh_token": "r1.1", "access_token": "a1.1", "expires_in": []}),
    ] {
        let world = world([Ok(Response::new(200, wrong.to_string())), Ok(tokens("a1.2", "r1.2"))]);
        let error = Caller::new(&world, 1).token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{wrong}");
        assert_eq!(home(&world).unwrap(), "r1.1", "{wrong}");
        assert_eq!(ledger(&world).state, State::Landed);
        Caller::new(&world, 2).token().await.unwrap();
        assert_eq!(sent(&world), ["r1.0", "r1.1"], "{wrong}");
    }
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_leaves_the_old_one_in_force() {
    for refresh_token in [json!(null), json!("")] {
        let body =
            json!({"access_token": "a1.1", "expires_in": 60, "refresh_token": refresh_token}).to_string();
        let world = world([Ok(Response::new(200, body)), Ok(success())]);
        Caller::new(&world, 1).token().await.unwrap();
        assert_eq!(home(&world).unwrap(), "r1.0");
        Caller::new(&world, 2).token().await.unwrap();
        assert_eq!(sent(&world), ["r1.0", "r1.0"]);
    }
}

#[tokio::test]
async fn an_attempt_ends_fifty_seconds_after_its_intent_whatever_the_wall_clock_says() {
    let world = world([Ok(with_header(503, "retry-after", "20")), Ok(with_header(503, "retry-after", "20"))]);
    let caller = Caller::new(&world, 1);
    let set_back = async {
        requests_reach(&world, 1).await;
        world.clock.set_wall(1_700_000_000);
    };
    let start = world.clock.since_boot();
    let (outcome, ()) = tokio::join!(caller.token(), set_back);
    outcome.unwrap_err();
    // After twenty seconds there is no room for twenty more and a whole answer.
    assert_eq!(world.clock.since_boot().saturating_sub(start).as_secs(), 20);
    assert_eq!(sent(&world).len(), 2);
}

#[tokio::test]
async fn a_valid_token_is_served_whatever_a_refresh_says() {
    for (rotation, outcome, times) in [
        (Rotation::Possible, not_sent as fn() -> _, 1),
        (Rotation::Possible, || Ok(refusal("invalid_grant")), 1),
        (Rotation::Possible, || Ok(Response::new(404, "")), 1),
        (Rotation::Never, cut, 1),
        // What may have been replaced is sent once more at once, while that may be forgiven.
        (Rotation::Possible, cut, 2),
    ] {
        let world = world([Ok(success()), outcome(), outcome()]);
        let mut caller = Caller::new(&world, 1);
        caller.home.rotation = rotation;
        caller.token().await.unwrap();
        world.clock.advance(Duration::from_secs(2800));
        assert_eq!(caller.token().await.unwrap().token.expose(), "a1.1");
        // In the early window one failure is enough for a while: a tenth of the token's life.
        let requests = sent(&world).len();
        assert_eq!(requests, 1 + times, "who has a token does not wait for more tries");
        for _ in 0..100 {
            assert_eq!(caller.token().await.unwrap().token.expose(), "a1.1");
        }
        assert_eq!(sent(&world).len(), requests);
    }
}

#[tokio::test]
async fn a_valid_token_is_served_where_nothing_can_be_written() {
    let world = world([Ok(success())]);
    let caller = Caller::new(&world, 1);
    caller.token().await.unwrap();
    world.clock.advance(Duration::from_secs(2800));
    world.fs.make_read_only();
    assert_eq!(caller.token().await.unwrap().token.expose(), "a1.1");
    assert_eq!(sent(&world).len(), 1);
    world.clock.advance(Duration::from_secs(800));
    let error = caller.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(show(&error).contains("read-only"), "{}", show(&error));
    assert_eq!(sent(&world).len(), 1, "what cannot be kept is not asked for");
}

#[tokio::test]
async fn another_login_that_arrives_meanwhile_gets_none_of_the_tokens() {
    // The provider replaces no refresh tokens, so that the answer itself names no login.
    let bank = Bank::without_rotation();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    let other = bank.sign_in();
    let caller = Caller::new(&world, 1);
    let foreign = async {
        requests_reach(&world, 1).await;
        world.fs.put(PATH, &file(&other));
    };
    let (access, ()) = tokio::join!(caller.token(), foreign);
    assert_eq!(access.unwrap().token.expose(), "a2.2");
    assert_eq!(sent(&world), ["r1.0", "r2.0"]);
}

#[tokio::test]
async fn an_answer_is_landed_though_the_ledger_cannot_take_it() {
    let world = world([Ok(success()), Ok(tokens("a1.2", "r1.2"))]);
    let caller = Caller::new(&world, 1);
    let full = async {
        requests_reach(&world, 1).await;
        // A disk that fails under the ledger alone.
        let ledger = world.fs.paths().into_iter().find(|path| path.to_string_lossy().ends_with("-ledger"));
        world.fs.fail_writes_to(&ledger.unwrap().display().to_string());
    };
    let (access, ()) = tokio::join!(caller.token(), full);
    assert_eq!(access.unwrap().token.expose(), "a1.1");
    assert_eq!(home(&world).unwrap(), "r1.1");
    assert!(world.person.said().iter().any(|said| said.contains("cannot keep the answer")));
}

#[tokio::test]
async fn no_error_and_no_word_shows_a_secret() {
    for answers in [
        vec![cut(), Ok(refusal("invalid_grant"))],
        vec![Ok(Response::new(200, json!({"refresh_token": "r1.1"}).to_string()))],
        vec![not_sent(), not_sent(), not_sent()],
        vec![Ok(success())],
    ] {
        let world = world(answers);
        let caller = Caller::new(&world, 1);
        let outcome = caller.token().await;
        let said = format!("{outcome:?} {:?}", world.person.said());
        assert!(!said.contains("r1.") && !said.contains("a1."), "{said}");
    }
}

/// Counts who holds signals.
struct Holds(Arc<dyn Process>, Arc<AtomicUsize>);

struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Process for Holds {
    fn owner(&self) -> Owner {
        self.0.owner()
    }

    fn is_dead(&self, owner: &Owner) -> bool {
        self.0.is_dead(owner)
    }

    fn current_directory(&self) -> std::io::Result<std::path::PathBuf> {
        self.0.current_directory()
    }

    fn user_id(&self) -> u32 {
        self.0.user_id()
    }

    fn whose_is(&self, peer: std::net::SocketAddr, here: std::net::SocketAddr) -> crate::host::process::Peer {
        self.0.whose_is(peer, here)
    }

    fn hold_signals(&self) -> Box<dyn Send + Sync> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Box::new(Hold(self.1.clone()))
    }
}

#[tokio::test]
async fn signals_wait_from_the_request_until_the_answer_is_in_its_place() {
    let holds = Arc::new(AtomicUsize::new(0));
    let seen = holds.clone();
    let answers = std::sync::Mutex::new(vec![Ok(success()), not_sent()]);
    let world = World::new(move |_| {
        assert_eq!(seen.load(Ordering::SeqCst), 1, "the grant is on its way");
        answers.lock().unwrap().pop().expect("an answer")
    });
    world.fs.put(PATH, &file("r1.0"));
    let (seen, exchanges) = (holds.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = exchanges.clone();
    let fs = WatchedFileSystem::new(&world.fs, move |call, _| {
        if call == "exchange" {
            counted.fetch_add(1, Ordering::SeqCst);
            assert_eq!(seen.load(Ordering::SeqCst), 1, "the answer is not in its place");
        }
    });
    let mut host = world.host(1);
    host.process = Arc::new(Holds(host.process.clone(), holds.clone()));
    host.fs = Arc::new(fs);
    Caller::on(host).token().await.unwrap();
    assert_eq!(exchanges.load(Ordering::SeqCst), 1);
    assert_eq!(holds.load(Ordering::SeqCst), 0);
    assert_eq!(sent(&world), ["r1.0", "r1.0"]);
}

#[tokio::test]
async fn that_a_provider_replaces_tokens_is_said_once() {
    let world = world([Ok(success()), Ok(tokens("a1.2", "r1.2"))]);
    let said = || world.person.said().iter().filter(|said| said.contains("token was replaced")).count();
    Caller::new(&world, 1).token().await.unwrap();
    assert_eq!(said(), 1);
    Caller::new(&world, 2).forced().await.unwrap();
    assert_eq!(said(), 1);
    let world = self::world([Ok(Response::new(200, r#"{"access_token":"a","expires_in":60}"#))]);
    Caller::new(&world, 1).token().await.unwrap();
    assert!(!world.person.said().iter().any(|said| said.contains("token was replaced")));
}
