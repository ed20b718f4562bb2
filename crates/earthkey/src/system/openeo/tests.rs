use std::path::Path;

use super::*;
use crate::config::Config;
use crate::host::Env;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;

fn world(variables: &[(&str, &str)]) -> World {
    let mut world = World::new(|_| Err(SendError::NotSent("offline".into())));
    world.env = Env::new(variables.iter().copied());
    world
}

fn data_directory(world: &World) -> PathBuf {
    let host = world.host(1);
    let config = Config::load(&host).unwrap();
    directories::data(&Context::new(&host, &config)).unwrap()
}

#[test]
fn the_first_directory_that_exists_wins_even_over_a_variable() {
    let variables = [("HOME", "/home/ada"), ("OPENEO_CONFIG_HOME", "/new")];
    let world = world(&variables);
    assert_eq!(data_directory(&world), Path::new("/new"));
    // The client makes `/new` for its configuration, and then finds it for its data, too.
    world.fs.put("/home/ada/.local/share/openeo-python-client/x", b"");
    assert_eq!(data_directory(&world), Path::new("/new"));
    world.fs.put("/home/ada/.config/openeo-python-client/x", b"");
    assert_eq!(data_directory(&world), Path::new("/home/ada/.local/share/openeo-python-client"));
    world.fs.put("/new/x", b"");
    assert_eq!(data_directory(&world), Path::new("/new"));
}

#[test]
fn an_entry_is_replaced_beside_all_others_and_removed_alone() {
    let slot = TokenSlot { issuer: "https://i.test/r".into(), client_id: "me".into(), now: 1_800_000_000 };
    let old = br#"{"https://other.test": {"x": {"refresh_token": "o", "more": 1}}, "https://i.test/r": {"you": {"refresh_token": "y"}}}"#;
    let contents =
        Contents { grant: Some(Grant::RefreshToken(RefreshToken::new("new"))), ..Contents::default() };
    let new = slot.write(Some(old), &contents).unwrap();
    assert_eq!(slot.read(&new).unwrap(), Some(contents.clone()));
    let json: serde_json::Value = serde_json::from_slice(&new).unwrap();
    assert_eq!(json["https://i.test/r"]["me"]["date"], "2027-01-15T08:00:00Z");
    assert_eq!(json["https://other.test"]["x"]["more"], 1);
    // The same token again changes nothing, not even the date.
    let later = TokenSlot { now: 1_900_000_000, ..slot };
    assert_eq!(later.write(Some(&new), &contents).unwrap(), new);
    let left = later.clear(&new).unwrap().unwrap();
    assert_eq!(later.read(&left).unwrap(), None);
    let json: serde_json::Value = serde_json::from_slice(&left).unwrap();
    assert!(json["https://i.test/r"].get("you").is_some());
}

#[test]
fn issuers_lose_their_slashes_and_nothing_else() {
    assert_eq!(
        tokens::issuer_key("https://aai.egi.eu/auth/realms/egi//"),
        "https://aai.egi.eu/auth/realms/egi"
    );
    assert_eq!(tokens::issuer_key("https://I.test"), "https://I.test");
    assert_eq!(tokens::issuer_key("/"), "/");
}
