//! What the store promises, rule by rule, in a scripted world.

mod adopt;
mod claim;
mod lease;
mod ledger;
mod login;
mod reserve;
mod swap;

use serde_json::Map;
use serde_json::Value;

use crate::host::Host;
use crate::host::scripted::World;
use crate::secret::AccessToken;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;
use crate::store::Keep;
use crate::store::Slot;
use crate::store::attempt::Attempt;
use crate::store::ledger::Ledger;
use crate::store::slot::Damage;
use crate::store::slot::Privacy;
use crate::store::slot::Rotation;

/// The directory of the home.
pub(crate) const DIRECTORY: &str = "/home/ada/.config/cloud";

/// The home.
pub(crate) const PATH: &str = "/home/ada/.config/cloud/tokens.json";

/// One of several slots in a JSON object, `{NAME: {"refresh_token": …, "access_token": …}}`.
pub(crate) struct JsonSlot(pub(crate) &'static str);

impl Slot for JsonSlot {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        let file = parse(file)?;
        let Some(entry) = file.get(self.0) else { return Ok(None) };
        let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Some(Contents {
            grant: text("refresh_token").map(|token| Grant::RefreshToken(RefreshToken::new(token))),
            access_token: text("access_token").map(AccessToken::new),
            ..Contents::default()
        }))
    }

    fn write(&self, file: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let mut file = file.map_or_else(|| Ok(Map::new()), parse)?;
        let mut entry = Map::new();
        if let Some(Grant::RefreshToken(token)) = &contents.grant {
            entry.insert("refresh_token".into(), token.expose().into());
        }
        if let Some(token) = &contents.access_token {
            entry.insert("access_token".into(), token.expose().into());
        }
        file.insert(self.0.to_owned(), entry.into());
        Ok(serde_json::to_vec(&file).unwrap())
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let mut file = parse(file)?;
        file.remove(self.0);
        Ok((!file.is_empty()).then(|| serde_json::to_vec(&file).unwrap()))
    }
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Damage> {
    serde_json::from_slice(bytes).map_err(|_| Damage("it is no JSON object".into()))
}

/// Returns the home of `ada` at [`PATH`].
pub(crate) fn home() -> Home {
    Home {
        path: PATH.into(),
        slot: std::sync::Arc::new(JsonSlot("ada")),
        privacy: Privacy::Expected,
        rotation: Rotation::Possible,
        ledgers: None,
    }
}

/// Returns a file in which `ada` holds a refresh token, and `bob` one that is nobody's business.
pub(crate) fn file(token: &str) -> Vec<u8> {
    format!(r#"{{"ada":{{"refresh_token":"{token}"}},"bob":{{"refresh_token":"bobs"}}}}"#).into_bytes()
}

/// Returns what a slot with this refresh token holds.
pub(crate) fn contents(token: &str) -> Contents {
    Contents { grant: Some(Grant::RefreshToken(RefreshToken::new(token))), ..Contents::default() }
}

/// Returns a world without a network whose home holds a refresh token.
pub(crate) fn world(token: &str) -> World {
    let world = World::new(|_| unreachable!("the store sends nothing"));
    world.fs.put(PATH, &file(token));
    world
}

/// Returns the refresh token that `ada` has in a file.
pub(crate) fn token_in(file: &[u8]) -> Option<String> {
    match JsonSlot("ada").read(file).ok()??.grant? {
        Grant::RefreshToken(token) => Some(token.expose().to_owned()),
        _ => None,
    }
}

/// Returns the refresh token that `ada` has in the home.
pub(crate) fn token_at_home(world: &World) -> Option<String> {
    token_in(&world.fs.get(PATH)?)
}

/// Returns the body of a token response.
fn answer(refresh_token: &str) -> Vec<u8> {
    format!(r#"{{"access_token":"access","expires_in":60,"refresh_token":"{refresh_token}"}}"#).into_bytes()
}

/// One process that uses the home.
struct Process {
    host: Host,
    home: Home,
}

impl Process {
    fn new(world: &World, pid: u32) -> Self {
        Self { host: world.host(pid), home: home() }
    }

    fn keep(&self) -> Keep<'_> {
        Keep::open(&self.host, &self.home).unwrap().unwrap()
    }
}

/// Takes the lease and makes an intent to send what the home holds.
pub(crate) async fn begin<'k>(keep: &'k Keep<'k>) -> Attempt<'k> {
    let lease = keep.try_lease().unwrap().unwrap();
    let held = keep.adopt(&lease).await.unwrap().unwrap();
    keep.reserve(lease, &held.contents, 1_800_000_050).await.unwrap()
}

/// Runs one whole refresh that the provider answers with `successor`.
async fn refresh(world: &World, pid: u32, successor: &str) {
    let process = Process::new(world, pid);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer(successor)).await.unwrap();
    attempt.land().await.unwrap();
    attempt.finish(None).await.unwrap();
}

/// Returns what the home holds after the next caller has judged it; `None` is a logout.
async fn adopted(world: &World, pid: u32) -> Option<String> {
    let process = Process::new(world, pid);
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    let held = keep.adopt(&lease).await.unwrap()?;
    held.contents.refresh_token().map(|token| token.expose().to_owned())
}

fn ledger_of(world: &World) -> Ledger {
    Process::new(world, 99).keep().ledger().unwrap()
}
