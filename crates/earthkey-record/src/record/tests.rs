use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const KEY: [u8; 16] = [9; 16];

fn key() -> Key {
    Key::from_bytes(KEY)
}

fn sample() -> Record {
    Record {
        token: Secret::new("eyJ.token"),
        token_type: "Bearer".to_owned(),
        headers: vec![Secret::new("Authorization: Bearer eyJ.token"), Secret::new("x-goog-user-project: p")],
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        client_id: Some("client".to_owned()),
        login: "openeo/example.test".to_owned(),
        obtained_at: 1_790_000_000,
        lifetime: 3600,
        expires_at: 1_790_003_600,
        early_at: 1_790_002_700,
        boot_id: [1; 16],
        boottime_ms: 5_000,
        grant: [2; 16],
        environment: Digest::from_bytes([3; 16]),
        dependencies: vec![
            Dependency {
                path: "/h/tokens.json".into(),
                expected: Expected::File(Digest::from_bytes([4; 16])),
            },
            Dependency { path: "/h/config.toml".into(), expected: Expected::Absent },
            Dependency { path: "/h/.config".into(), expected: Expected::Directory },
            Dependency { path: "/h/.tokens.json.ledger".into(), expected: Expected::Ledger },
        ],
    }
}

prop_compose! {
    fn dependency()(tail in vec(1_u8.., 0..30), kind in 0..4, digest: [u8; 16]) -> Dependency {
        let path = PathBuf::from(OsString::from_vec([b"/".as_slice(), &tail].concat()));
        let expected = match kind {
            0 => Expected::Absent,
            1 => Expected::File(Digest::from_bytes(digest)),
            2 => Expected::Directory,
            _ => Expected::Ledger,
        };
        Dependency { path, expected }
    }
}

prop_compose! {
    fn record()(
        token in "[ -~]{1,200}",
        (token_type, login) in (".{0,9}", ".{0,30}"),
        headers in vec("[A-Za-z_-]{1,9}: [ -~]{1,40}".prop_map(Secret::new), 0..=MAX_HEADERS),
        scopes in vec(".{0,20}", 0..4),
        client_id in option::of(".{0,20}"),
        numbers: [u64; 5],
        arrays: [[u8; 16]; 3],
        dependencies in vec(dependency(), 0..12),
    ) -> Record {
        let [obtained_at, lifetime, expires_at, early_at, boottime_ms] = numbers;
        let [boot_id, grant, environment] = arrays;
        Record {
            token: Secret::new(token),
            token_type, headers, scopes, client_id, login,
            obtained_at, lifetime, expires_at, early_at, boot_id, boottime_ms, grant,
            environment: Digest::from_bytes(environment),
            dependencies,
        }
    }
}

proptest! {
    #[test]
    fn a_record_comes_back(record in record(), key: [u8; 16]) {
        let key = Key::from_bytes(key);
        prop_assert_eq!(Record::decode(&record.encode(&key).unwrap(), &key), Ok(record));
    }

    #[test]
    fn a_body_of_any_bytes_never_panics(body in vec(any::<u8>(), 0..400)) {
        if let Ok(record) = Record::decode(&sealed(&body), &key()) {
            prop_assert_eq!(record.encode(&key()).unwrap(), sealed(&body));
        }
    }

    #[test]
    fn a_resealed_change_is_refused_or_means_something_else(index: proptest::sample::Index, value: u8) {
        let good = sample().encode(&key()).unwrap();
        let mut body = good[PREFIX_SIZE + 16..].to_vec();
        *index.get_mut(&mut body) = value;
        if let Ok(record) = Record::decode(&sealed(&body), &key()) {
            prop_assert_eq!(record.encode(&key()).unwrap(), sealed(&body));
        }
    }
}

/// Puts a body into a file whose checksum is right.
fn sealed(body: &[u8]) -> Vec<u8> {
    sealed_as(VERSION, body)
}

fn sealed_as(version: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let prefix = [&MAGIC[..], &version.to_le_bytes(), &length.to_le_bytes()].concat();
    [&prefix[..], &checksum(&key(), &prefix, body), body].concat()
}

#[test]
fn every_truncation_and_every_added_byte_is_refused() {
    let good = sample().encode(&key()).unwrap();
    for length in 0..good.len() {
        assert_eq!(Record::decode(&good[..length], &key()), Err(RecordError::Damaged), "cut after {length}");
    }
    assert_eq!(Record::decode(&[&good[..], &[0]].concat(), &key()), Err(RecordError::Damaged));
    let body = &good[PREFIX_SIZE + 16..];
    for length in 0..body.len() {
        assert!(Record::decode(&sealed(&body[..length]), &key()).is_err(), "body cut after {length}");
    }
    assert_eq!(Record::decode(&sealed(&[body, &[0]].concat()), &key()), Err(RecordError::Damaged));
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = sample().encode(&key()).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Record::decode(&bytes, &key()), Err(RecordError::Damaged), "bit {bit}");
    }
}

#[test]
fn a_record_under_another_key_is_none() {
    let good = sample().encode(&key()).unwrap();
    assert_eq!(Record::decode(&good, &Key::from_bytes([8; 16])), Err(RecordError::Damaged));
}

#[test]
fn another_version_and_another_length_are_refused() {
    let good = sample().encode(&key()).unwrap();
    let body = &good[PREFIX_SIZE + 16..];
    assert_eq!(Record::decode(&sealed_as(2, body), &key()), Err(RecordError::UnknownVersion(2)));
    let prefix = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4]].concat();
    let lying = [&prefix[..], &checksum(&key(), &prefix, body), body].concat();
    assert_eq!(Record::decode(&lying, &key()), Err(RecordError::Damaged));
}

#[test]
fn a_record_has_a_largest_size() {
    let of_token = |length: usize| Record { token: Secret::new("t".repeat(length)), ..sample() };
    let overhead = of_token(1).encode(&key()).unwrap().len() - 1;
    let largest = of_token(MAX_SIZE - overhead);
    let bytes = largest.encode(&key()).unwrap();
    assert_eq!(bytes.len(), MAX_SIZE);
    assert_eq!(Record::decode(&bytes, &key()), Ok(largest));
    assert_eq!(of_token(MAX_SIZE - overhead + 1).encode(&key()), Err(RecordError::TooLarge));
    assert_eq!(Record::decode(&vec![0; MAX_SIZE + 1], &key()), Err(RecordError::TooLarge));
}

#[test]
fn what_would_not_print_as_one_line_is_refused_both_ways() {
    for token in ["", "a\nb", "a\r", "a\0", "a\u{7f}", "ä"] {
        refused(&Record { token: Secret::new(token), ..sample() }, &RecordError::Token);
    }
    for line in
        ["", "Authorization", "Authorization:x", ": x", "A: ", "A b: x", "A: x\nB: y", "A: x\r", "A: ä"]
    {
        refused(&Record { headers: vec![Secret::new(line)], ..sample() }, &RecordError::Headers);
    }
    refused(
        &Record { headers: vec![Secret::new("A: x"); MAX_HEADERS + 1], ..sample() },
        &RecordError::Headers,
    );
}

#[test]
fn a_relative_dependency_is_refused_both_ways() {
    for path in ["tokens.json", "./tokens.json", ""] {
        let dependencies = vec![Dependency { path: path.into(), expected: Expected::Absent }];
        refused(&Record { dependencies, ..sample() }, &RecordError::RelativePath(path.into()));
    }
}

/// Asserts that the record is not written, and not read by whoever wrote it all the same.
fn refused(record: &Record, expected: &RecordError) {
    assert_eq!(record.encode(&key()).as_ref(), Err(expected));
    assert_eq!(Record::decode(&sealed(&record.encode_body()), &key()).as_ref(), Err(expected));
}

#[test]
fn what_is_wrong_is_said_without_what_is_in_it() {
    let record = Record { token: Secret::new("eyJ\n"), ..sample() };
    let said = record.encode(&key()).unwrap_err().to_string();
    assert_eq!(said, "the access token is empty or holds characters that RFC 6749 does not allow");
    assert_eq!(RecordError::RelativePath("a/b".into()).to_string(), "`a/b` depends on the working directory");
}

#[test]
fn debug_shows_no_token() {
    let shown = format!("{:?}", sample());
    assert!(!shown.contains("eyJ"), "{shown}");
    assert!(shown.contains("openeo/example.test"), "{shown}");
}
