//! A program that goes on: callers that go away, and logins that become somebody else's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context as Polling;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::*;
use crate::error::ErrorKind;
use crate::host::BoxFuture;
use crate::host::Clock;
use crate::host::Http;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::ScriptedClock;
use crate::host::scripted::World;
use crate::secret::AccessToken;
use crate::secret::RefreshToken;
use crate::store::Contents;

const FILE: &str = "/home/ada/.earthscope/default/tokens.json";

fn earthscope() -> Login {
    Login::of(System::Earthscope)
}

/// An access token of `sub`; `number` makes it one and not another.
fn token_of(sub: &str, number: usize) -> String {
    let claims = format!(
        r#"{{"iss":"https://login.earthscope.org/","sub":"{sub}","iat":1800000000,"exp":1800003600,"n":{number}}}"#
    );
    format!("{}.{}.sig", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

/// A provider that answers each request with the next tokens of `ada`.
fn world() -> World {
    let answers = AtomicUsize::new(1);
    let world = World::new(move |_| Ok(answer(answers.fetch_add(1, Ordering::Relaxed))));
    world.fs.put(FILE, br#"{"refresh_token": "r0"}"#);
    world
}

fn answer(number: usize) -> Response {
    let token = token_of("ada", number);
    let body = format!(r#"{{"access_token":"{token}","refresh_token":"r{number}","expires_in":3600}}"#);
    Response::new(200, body)
}

fn home(world: &World) -> String {
    String::from_utf8(world.fs.get(FILE).expect("a home")).expect("JSON")
}

/// A network in which an answer waits for a permit, and which says when one does.
struct Gate {
    http: Arc<dyn Http>,
    arrived: Semaphore,
    permits: Semaphore,
}

impl Gate {
    fn before(world: &World) -> Arc<Self> {
        Arc::new(Self { http: world.http.clone(), arrived: Semaphore::new(0), permits: Semaphore::new(0) })
    }

    async fn has_been_reached(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    fn open(&self) {
        self.permits.add_permits(1);
    }
}

impl Http for Gate {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, SendError>> {
        Box::pin(async move {
            // The server has acted; what it answers is on its way.
            let answer = self.http.send(request).await;
            self.arrived.add_permits(1);
            self.permits.acquire().await.expect("never closed").forget();
            answer
        })
    }

    fn for_another_runtime(self: Arc<Self>) -> Arc<dyn Http> {
        self
    }
}

fn behind(gate: &Arc<Gate>, world: &World, pid: u32) -> Earthkey {
    Earthkey::open(Host { http: gate.clone(), ..world.host(pid) })
}

/// Polls a future once, as whoever gives it up then has.
fn begin<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Polling::from_waker(Waker::noop())).is_pending());
    future
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_caller_that_goes_away_loses_no_answer() {
    let (world, login, want) = (world(), earthscope(), Want::default());
    let gate = Gate::before(&world);
    let earthkey = behind(&gate, &world, 1);
    let asked = begin(earthkey.token(&login, &want));
    runtime().block_on(gate.has_been_reached());
    drop(asked);
    // What is asked for later is done later: by then the thread has seen that nobody waits.
    runtime().block_on(earthkey.status_of_all()).unwrap();
    gate.open();
    // Whoever ends the program waits for the answer to be kept.
    drop(earthkey);
    let other = Earthkey::in_foreground(world.host(2));
    let token = runtime().block_on(other.token(&login, &want)).unwrap();
    assert_eq!(token.access.token.expose(), token_of("ada", 1));
    assert_eq!(world.http.requests().len(), 1);
    assert!(home(&world).contains("\"r1\""), "{}", home(&world));
}

#[test]
fn all_who_ask_for_the_same_wait_for_one_exchange() {
    let (world, login, want) = (world(), earthscope(), Want::default());
    let gate = Gate::before(&world);
    let earthkey = behind(&gate, &world, 1);
    let mut asked: Vec<_> = (0..100).map(|_| begin(earthkey.token(&login, &want))).collect();
    runtime().block_on(gate.has_been_reached());
    let before = earthkey.host().clock.since_boot();
    // Whoever began it may go away; the others still wait.
    drop(asked.remove(0));
    gate.open();
    for caller in asked {
        let token = runtime().block_on(caller).unwrap();
        assert_eq!(token.access.token.expose(), token_of("ada", 1));
    }
    // Nobody slept to look again, and nobody else was waited for.
    assert_eq!(earthkey.host().clock.since_boot(), before);
    assert_eq!(world.http.requests().len(), 1);
    let said = world.person.said();
    assert!(!said.iter().any(|said| said.contains("waiting for")), "{said:?}");
}

#[test]
fn who_has_a_token_does_not_wait_for_a_slow_refresh_of_it() {
    let (world, login, want) = (world(), earthscope(), Want::default());
    let gate = Gate::before(&world);
    let earthkey = behind(&gate, &world, 1);
    gate.open();
    runtime().block_on(earthkey.token(&login, &want)).unwrap();
    runtime().block_on(gate.has_been_reached());
    world.clock.advance(Duration::from_secs(3000));
    let begun = world.clock.since_boot();
    let ask = || runtime().block_on(earthkey.token(&login, &want)).unwrap().access.token;
    assert_eq!(ask().expose(), token_of("ada", 1), "the server does not answer yet");
    assert_eq!(world.clock.since_boot().saturating_sub(begun).as_secs(), 5);
    assert_eq!(ask().expose(), token_of("ada", 1), "and another request is not sent");
    gate.open();
    drop(earthkey);
    assert!(home(&world).contains("\"r2\""), "what was on its way is kept: {}", home(&world));
    assert_eq!(world.http.requests().len(), 2);
}

/// What a slow refresh comes to is known to those who come next, though nobody waited for it any more.
#[test]
fn a_slow_refresh_whose_caller_was_served_goes_on_to_its_end() {
    let (login, want) = (earthscope(), Want::default());
    let answers = AtomicUsize::new(1);
    let world = World::new(move |_| match answers.fetch_add(1, Ordering::Relaxed) {
        1 => Ok(answer(1)),
        _ => Ok(Response::new(400, r#"{"error": "invalid_grant"}"#)),
    });
    world.fs.put(FILE, br#"{"refresh_token": "r0"}"#);
    let gate = Gate::before(&world);
    let earthkey = behind(&gate, &world, 1);
    gate.open();
    let ask = || runtime().block_on(earthkey.token(&login, &want));
    ask().unwrap();
    runtime().block_on(gate.has_been_reached());
    world.clock.advance(Duration::from_secs(3570));
    assert_eq!(ask().unwrap().access.token.expose(), token_of("ada", 1));
    // The refusal comes late, and the home is watched for two seconds after it.
    gate.open();
    drop(earthkey);
    world.clock.advance(Duration::from_secs(40));
    let other = Earthkey::in_foreground(world.host(2));
    let error = runtime().block_on(other.token(&login, &want)).unwrap_err();
    assert!(shown(&error).contains("not asked again"), "{}", shown(&error));
    assert_eq!(world.http.requests().len(), 2, "a refusal is remembered");
}

/// A clock on which the five seconds pass when they are told to.
struct Patience {
    clock: Arc<ScriptedClock>,
    is_over: Semaphore,
}

impl Clock for Patience {
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
        if duration != Duration::from_secs(5) {
            return self.clock.sleep(duration);
        }
        Box::pin(async move {
            self.is_over.acquire().await.expect("never closed").forget();
            self.clock.advance(duration);
        })
    }
}

#[test]
fn what_is_not_valid_any_more_is_not_served_after_five_seconds() {
    for is_signed_out in [true, false] {
        let (world, login, want) = (world(), earthscope(), Want::default());
        let gate = Gate::before(&world);
        let clock = Arc::new(Patience { clock: world.clock.clone(), is_over: Semaphore::new(0) });
        let earthkey = Earthkey::open(Host { http: gate.clone(), clock: clock.clone(), ..world.host(1) });
        gate.open();
        runtime().block_on(earthkey.token(&login, &want)).unwrap();
        runtime().block_on(gate.has_been_reached());
        world.clock.advance(Duration::from_secs(if is_signed_out { 3000 } else { 3597 }));
        let asked = begin(earthkey.token(&login, &want));
        runtime().block_on(gate.has_been_reached());
        if is_signed_out {
            let other = Earthkey::in_foreground(world.host(2));
            runtime().block_on(other.logout(&login, false)).unwrap();
        }
        clock.is_over.add_permits(1);
        // What is asked for later is done later: by then it was looked whether there is anything to serve.
        runtime().block_on(earthkey.status_of_all()).unwrap();
        gate.open();
        match runtime().block_on(asked) {
            Ok(token) => {
                assert!(!is_signed_out, "nobody is signed in");
                assert_eq!(token.access.token.expose(), token_of("ada", 2));
            }
            Err(error) => assert!(is_signed_out, "{}", shown(&error)),
        }
    }
}

#[test]
fn all_who_ask_for_the_same_are_told_the_same_error() {
    let world = World::new(|_| Ok(Response::new(400, r#"{"error": "invalid_grant"}"#)));
    world.fs.put(FILE, br#"{"refresh_token": "r0"}"#);
    let (login, want) = (earthscope(), Want::default());
    let gate = Gate::before(&world);
    let earthkey = behind(&gate, &world, 1);
    let asked: Vec<_> = (0..3).map(|_| begin(earthkey.token(&login, &want))).collect();
    gate.open();
    let told: Vec<_> =
        asked.into_iter().map(|caller| shown(&runtime().block_on(caller).unwrap_err())).collect();
    assert!(told[0].starts_with("Refused") && told.iter().all(|error| *error == told[0]), "{told:?}");
    assert_eq!(world.http.requests().len(), 1);
}

#[test]
fn nobody_waits_for_an_exchange_that_only_waited() {
    let (world, login, want) = (world(), earthscope(), Want::default());
    let gate = Gate::before(&world);
    let first = behind(&gate, &world, 1);
    let second = behind(&gate, &world, 2);
    let asked = begin(first.token(&login, &want));
    runtime().block_on(gate.has_been_reached());
    // The second waits for the first one's lease, for ninety seconds if it is let.
    let waiting = begin(second.token(&login, &want));
    let before = second.host().clock.since_boot();
    drop(waiting);
    drop(second);
    let waited = first.host().clock.since_boot().saturating_sub(before);
    assert!(waited < Duration::from_secs(60), "{waited:?}");
    gate.open();
    runtime().block_on(asked).unwrap();
    assert_eq!(world.http.requests().len(), 1);
}

#[test]
fn a_caller_needs_no_runtime_of_its_own() {
    let (world, login) = (world(), earthscope());
    let earthkey = Earthkey::open(world.host(1));
    let token = poll_without_a_runtime(earthkey.token(&login, &Want::default())).unwrap();
    assert_eq!(token.access.token.expose(), token_of("ada", 1));
}

/// An executor that knows nothing of tokio.
fn poll_without_a_runtime<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Polling::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

#[tokio::test]
async fn an_exchange_that_panics_is_an_error_and_the_next_one_runs() {
    let calls = AtomicUsize::new(0);
    let world = World::new(move |_| {
        let number = calls.fetch_add(1, Ordering::Relaxed);
        assert!(number > 0, "the first request panics");
        Ok(answer(number))
    });
    world.fs.put(FILE, br#"{"refresh_token": "r0"}"#);
    let (earthkey, login) = (Earthkey::open(world.host(1)), earthscope());
    let error = earthkey.token(&login, &Want::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(earthkey.token(&login, &Want::default()).await.is_ok());
}

#[tokio::test]
async fn a_login_that_becomes_somebody_elses_is_an_error_to_who_has_used_it() {
    let (world, login) = (world(), earthscope());
    let force = Want { force: true, ..Want::default() };
    let earthkey = Earthkey::in_foreground(world.host(1));
    earthkey.token(&login, &Want::default()).await.unwrap();
    // A refresh by the same account's SDK is no change.
    let by_sdk = format!(r#"{{"access_token": "{}", "refresh_token": "by-sdk"}}"#, token_of("ada", 50));
    world.fs.put(FILE, by_sdk.as_bytes());
    earthkey.token(&login, &force).await.unwrap();
    // Somebody else signs in.
    let by_bea = format!(r#"{{"access_token": "{}", "refresh_token": "beas"}}"#, token_of("bea", 60));
    world.fs.put(FILE, by_bea.as_bytes());
    let before = world.http.requests().len();
    let error = earthkey.token(&login, &force).await.unwrap_err();
    insta::assert_snapshot!(shown(&error), @r"
    LoginRequired: `earthscope` was the login of `ada` and is that of `bea` now
    hint: sign in as `ada`: `earthkey login earthscope`
    hint: or start this program anew, to go on as `bea`
    ");
    assert_eq!(world.http.requests().len(), before, "nothing is sent for another account");
    // A new process uses what the home holds.
    let anew = Earthkey::in_foreground(world.host(2));
    assert!(anew.token(&login, &force).await.is_ok());
    assert_eq!(world.http.requests().len(), before + 1);
}

/// Finds the login as whoever is about to use it.
async fn resolve(host: &Host) -> Source {
    let config = Config::load(host).unwrap();
    system::resolve(&Context::new(host, &config), &earthscope()).await.unwrap()
}

/// Puts a login of ada's into the home, recorded as a sign-in records it.
async fn sign_in(world: &World) {
    let host = world.host(70);
    let source = resolve(&host).await;
    let keep = Keep::open(&host, &source.home).unwrap().unwrap();
    let contents = Contents {
        grant: Some(Grant::RefreshToken(RefreshToken::new("r0"))),
        access_token: Some(AccessToken::new(token_of("ada", 0))),
        ..Contents::default()
    };
    let binding = Binding {
        issuer: source.issuer.clone(),
        subject: Some("ada".into()),
        subject_issuer: Some("https://login.earthscope.org/".into()),
        account: Some("ada@example.org".into()),
        ..Binding::default()
    };
    keep.put(&contents, binding).await.unwrap();
}

#[tokio::test]
async fn what_is_recorded_of_a_sign_in_is_not_believed_of_another_programs() {
    let (world, login) = (world(), earthscope());
    sign_in(&world).await;
    let adas = Want { account: Some("ada@example.org".into()), ..Want::default() };
    let earthkey = Earthkey::in_foreground(world.host(1));
    assert_eq!(earthkey.token(&login, &adas).await.unwrap().access.token.expose(), token_of("ada", 0));
    // The SDK signs bea in; her token is still good, and nobody refreshes.
    let by_bea = format!(r#"{{"access_token": "{}", "refresh_token": "beas"}}"#, token_of("bea", 60));
    world.fs.put(FILE, by_bea.as_bytes());
    world.records.clear();
    for want in [&adas, &Want::default()] {
        let error = earthkey.token(&login, want).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LoginRequired, "{error}");
    }
    assert!(world.http.requests().is_empty());
}

#[tokio::test]
async fn a_handle_that_begins_with_a_record_knows_whose_it_is_all_the_same() {
    let (world, login) = (world(), earthscope());
    Earthkey::in_foreground(world.host(1)).token(&login, &Want::default()).await.unwrap();
    let earthkey = Earthkey::open(world.host(2));
    assert_eq!(
        earthkey.token(&login, &Want::default()).await.unwrap().access.token.expose(),
        token_of("ada", 1)
    );
    assert_eq!(world.http.requests().len(), 1);
    let by_bea = format!(r#"{{"access_token": "{}", "refresh_token": "beas"}}"#, token_of("bea", 60));
    world.fs.put(FILE, by_bea.as_bytes());
    world.records.clear();
    assert!(earthkey.token(&login, &Want::default()).await.is_err());
}

#[tokio::test]
async fn who_names_an_account_gets_that_one_or_an_error() {
    let (world, login) = (world(), earthscope());
    let wanted = |account: &str| Want { account: Some(account.into()), ..Want::default() };
    let earthkey = Earthkey::in_foreground(world.host(1));
    // Of a bare refresh token nobody knows whose it is.
    let error = earthkey.token(&login, &wanted("ada")).await.unwrap_err();
    insta::assert_snapshot!(shown(&error), @r"
    LoginRequired: it is not known whose login `earthscope` is
    hint: sign in as `ada`, so that it is: `earthkey login earthscope`
    ");
    assert!(world.http.requests().is_empty());
    earthkey.token(&login, &Want::default()).await.unwrap();
    assert!(earthkey.token(&login, &wanted("ada")).await.is_ok());
    let error = earthkey.token(&login, &wanted("bea")).await.unwrap_err();
    insta::assert_snapshot!(shown(&error), @r"
    LoginRequired: `earthscope` is the login of `ada`, not of `bea`
    hint: sign in as `bea`: `earthkey login earthscope`
    ");
    assert_eq!(world.http.requests().len(), 1);
}

#[tokio::test]
async fn a_grant_whose_successor_will_not_last_is_warned_of_before_it_is_sent() {
    let given = [("HOME", "/home/ada"), ("ES_OAUTH2__REFRESH_TOKEN", "given")];
    let warned = |world: &World| {
        let said = world.person.said();
        said.iter().filter(|said| said.starts_with("Warning") && said.contains("EARTHKEY_HOME")).count()
    };
    for (is_ephemeral, warnings) in [(true, 1), (false, 0)] {
        let world = World { env: crate::host::Env::new(given), ..world() };
        if is_ephemeral {
            world.fs.make_ephemeral();
        }
        let earthkey = Earthkey::in_foreground(world.host(1));
        earthkey.token(&earthscope(), &Want::default()).await.unwrap();
        assert_eq!(warned(&world), warnings);
        earthkey.token(&earthscope(), &Want { force: true, ..Want::default() }).await.unwrap();
        assert_eq!(warned(&world), warnings, "once");
    }
}

#[tokio::test]
async fn a_login_that_programs_share_comes_with_advice_when_its_provider_rotates() {
    let world = world();
    let earthkey = Earthkey::in_foreground(world.host(1));
    earthkey.token(&earthscope(), &Want::default()).await.unwrap();
    let said = world.person.said();
    assert!(
        said.iter().any(|said| said.contains("give it tokens by `earthkey token earthscope`")),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_login_that_was_answered_for_somebody_else_wants_a_sign_in_and_can_be_ended() {
    let world = World::new(|_| {
        let (token, id_token) = (token_of("bea", 1), token_of("bea", 2));
        let body = format!(r#"{{"access_token":"{token}","id_token":"{id_token}","refresh_token":"beas"}}"#);
        Ok(Response::new(200, body))
    });
    world.fs.put(FILE, br#"{"refresh_token": "r0"}"#);
    sign_in(&world).await;
    let (earthkey, login) = (Earthkey::in_foreground(world.host(1)), earthscope());
    assert!(earthkey.token(&login, &Want { force: true, ..Want::default() }).await.is_err());
    // Once the token at hand is over, too.
    world.clock.advance(Duration::from_secs(4000));
    let status = earthkey.status(&login).await.unwrap();
    assert_eq!(status.state, State::LoginRequired);
    assert_eq!(
        status.reason.unwrap(),
        "its refresh token was replaced by one of another account; sign in anew"
    );
    assert!(earthkey.logout(&login, true).await.unwrap().was_signed_in);
    assert!(world.fs.get(FILE).is_none());
}

/// Uses the login up to a moment at which the process is killed: before an answer comes, or with one that
/// is durable and not in its place.
async fn cut_short(world: &World, answered: Option<Response>) {
    let host = world.host(70);
    let source = resolve(&host).await;
    let keep = Keep::open(&host, &source.home).unwrap().unwrap();
    let lease = keep.try_lease().unwrap().unwrap();
    let contents = keep.contents().unwrap().unwrap();
    let deadline = host.clock.now() + refresh::ATTEMPT;
    let mut attempt = keep.reserve(lease, &contents, deadline).await.unwrap();
    if let Some(answer) = answered {
        attempt.answer(&answer.body).await.unwrap();
    }
}

#[tokio::test]
async fn status_tells_what_an_attempt_left_that_was_cut_short_and_the_next_use_ends_it() {
    for (answered, reason, requests) in [
        (None, "a refresh is under way, or was cut short", 1),
        (Some(answer(1)), "an answer of the provider waits to be put in its place", 0),
    ] {
        let (world, login) = (world(), earthscope());
        cut_short(&world, answered).await;
        let left = home(&world);
        let earthkey = Earthkey::in_foreground(world.host(1));
        let status = earthkey.status(&login).await.unwrap();
        assert_eq!((status.reason.as_deref(), status.state), (Some(reason), State::Ready));
        // Who only looks neither asks nor puts anything in its place.
        assert_eq!((world.http.requests().len(), home(&world)), (0, left));
        let token = earthkey.token(&login, &Want::default()).await.unwrap();
        assert_eq!(token.access.token.expose(), token_of("ada", 1));
        assert_eq!(world.http.requests().len(), requests);
        assert_eq!(earthkey.status(&login).await.unwrap().reason, None);
    }
}

/// Shows an error as far as it does not depend on the credential.
fn shown(error: &Error) -> String {
    let hints = error.hints().iter().map(|hint| format!("\nhint: {hint}"));
    format!("{:?}: {error}{}", error.kind(), hints.collect::<String>())
}
