//! The ledger (REFRESH rule 3).

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use earthkey_record::ledger::HEADER_SIZE;
use earthkey_record::ledger::Header;
use earthkey_record::ledger::SLOT_SIZE;
use earthkey_record::ledger::State;

use super::*;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::fs::File;
use crate::host::scripted::ScriptedFileSystem;
use crate::host::scripted::WatchedFileSystem;
use crate::store::ledger::Arriving;
use crate::store::ledger::Binding;
use crate::store::ledger::Entries;
use crate::store::ledger::LedgerFile;
use crate::store::ledger::Outcome;
use crate::store::ledger::OutcomeKind;
use crate::store::ledger::Remembered;
use crate::store::ledger::Temporary;

const LEDGER: &str = "/home/ada/ledger";

fn empty_world() -> World {
    let world = world("r0");
    world.fs.put("/home/ada/.keep", b"");
    world
}

async fn open(world: &World) -> Result<LedgerFile> {
    LedgerFile::open(std::path::Path::new(LEDGER), &world.host(1)).await
}

/// Writes the next state, whose owner's process number is `mark`.
async fn write(world: &World, mark: u32) {
    let mut file = open(world).await.unwrap();
    file.ledger.entries.owner = Some(crate::host::process::Owner { pid: mark, ..Default::default() });
    file.save().unwrap();
}

fn mark(fs: &ScriptedFileSystem) -> Option<u32> {
    let ledger = LedgerFile::read(std::path::Path::new(LEDGER), fs).unwrap();
    ledger.entries.owner.map(|owner| owner.pid)
}

#[tokio::test]
async fn what_is_written_is_read() {
    let world = empty_world();
    let mut file = open(&world).await.unwrap();
    let token = RefreshToken::new("newest");
    file.ledger.state = State::Answered;
    let entries = &mut file.ledger.entries;
    entries.set_base(Some(token.fingerprint()));
    entries.set_answer(Some(b"\x00\xffbody"));
    entries.set_newest(Some(&token));
    entries.add_spent(RefreshToken::new("older").fingerprint());
    let refusal = Remembered {
        key: "key".into(),
        error: "invalid_grant".into(),
        description: Some("words".into()),
        date: None,
        count: 3,
        at: 5,
        until: 65,
    };
    entries.remember(refusal.clone());
    let outcome = Outcome { kind: OutcomeKind::Failed, message: "m".into(), at: 1, retry_at: 2, failures: 3 };
    entries.outcome = Some(outcome.clone());
    file.save().unwrap();
    drop(file);

    let ledger = open(&world).await.unwrap().ledger;
    assert_eq!((ledger.state, ledger.sequence), (State::Answered, 1));
    assert!(ledger.is_answered());
    assert_eq!(ledger.entries.base(), Some(token.fingerprint()));
    assert_eq!(ledger.entries.answer().unwrap().as_slice(), b"\x00\xffbody");
    assert_eq!(ledger.entries.newest(), Some(token.clone()));
    assert!(ledger.entries.is_spent(RefreshToken::new("older").fingerprint()));
    assert!(!ledger.entries.is_spent(token.fingerprint()));
    assert_eq!(ledger.entries.refusals, [refusal]);
    assert_eq!(ledger.failure_of(Some(token.fingerprint())), Some(&outcome));
    assert_eq!(ledger.failure_of(None), None);
}

#[tokio::test]
async fn an_answer_waits_where_it_was_kept_and_has_not_landed() {
    let world = empty_world();
    let ledger = &mut open(&world).await.unwrap().ledger;
    // An answer to what no answer replaces is not kept.
    ledger.state = State::Answered;
    assert!(!ledger.is_answered());
    ledger.entries.set_answer(Some(b"{}"));
    assert!(ledger.is_answered());
    for state in [State::Idle, State::Intent, State::Landed] {
        ledger.state = state;
        assert!(!ledger.is_answered(), "{state:?}");
    }
}

#[tokio::test]
async fn states_are_written_in_turn() {
    let world = empty_world();
    for (sequence, place) in [(1, 1), (2, 0), (3, 1)] {
        let before = world.fs.get(LEDGER).unwrap_or_default();
        write(&world, sequence).await;
        let after = world.fs.get(LEDGER).unwrap();
        assert_eq!(mark(&world.fs), Some(sequence));
        let other = (1 - place) * SLOT_SIZE;
        let of = |bytes: &[u8]| bytes.get(other..other + HEADER_SIZE).map(<[u8]>::to_vec);
        if before.len() > other {
            assert_eq!(of(&before), of(&after), "the state before stays as it is");
        }
    }
}

#[tokio::test]
async fn a_torn_write_leaves_the_state_before_it() {
    let world = empty_world();
    write(&world, 1).await;
    write(&world, 2).await;
    let whole = world.fs.get(LEDGER).unwrap();
    // Sequence 2 stands in the first place.
    let len = Header::decode(whole[..HEADER_SIZE].try_into().unwrap()).unwrap().unwrap().payload_len();
    for broken in
        [0, 9, 13, 20, 40, HEADER_SIZE - 10, HEADER_SIZE, HEADER_SIZE + len / 2, HEADER_SIZE + len - 1]
    {
        let mut torn = whole.clone();
        torn[broken] ^= 1;
        world.fs.put(LEDGER, &torn);
        assert_eq!(mark(&world.fs), Some(1), "byte {broken}");
    }
    // Cut anywhere, too.
    for end in [1, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + len - 1] {
        let mut torn = whole.clone();
        torn[end..SLOT_SIZE].fill(0);
        world.fs.put(LEDGER, &torn);
        assert_eq!(mark(&world.fs), Some(1), "cut at {end}");
    }
    // The next write replaces what is torn, not what is whole.
    write(&world, 3).await;
    assert_eq!(mark(&world.fs), Some(3));
}

#[tokio::test]
async fn a_write_that_fails_does_not_use_up_its_place() {
    let world = empty_world();
    write(&world, 1).await;
    let mut file = open(&world).await.unwrap();
    file.ledger.entries.owner = None;
    world.fs.fill_disk();
    // The first place was never used and finds no room, again and again.
    for _ in 0..3 {
        file.save().unwrap_err();
        assert_eq!(mark(&world.fs), Some(1));
    }
    assert_eq!(file.ledger.sequence, 1);
}

#[tokio::test]
async fn a_version_that_is_not_known_is_refused_and_left_alone() {
    let world = empty_world();
    write(&world, 1).await;
    let mut bytes = world.fs.get(LEDGER).unwrap();
    // A sound header of version 2, beside one of version 1.
    let mut header = [0; HEADER_SIZE];
    header[..8].copy_from_slice(b"EKLEDGR1");
    header[8] = 2;
    header[16] = 2;
    header[48..56].copy_from_slice(&0xfc81_b34e_8da7_d17b_u64.to_le_bytes());
    bytes[..HEADER_SIZE].copy_from_slice(&header);
    world.fs.put(LEDGER, &bytes);
    let steps = world.fs.steps().len();
    let error = open(&world).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("newer earthkey"), "{error}");
    assert!(!error.hints().is_empty());
    assert_eq!(world.fs.get(LEDGER).unwrap(), bytes);
    assert_eq!(world.fs.steps().len(), steps);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_opened_is_not_an_empty_one() {
    let world = empty_world();
    write(&world, 1).await;
    let fs = WatchedFileSystem::failing(&world.fs, |call, _| match call {
        "open" => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    let error = LedgerFile::read(std::path::Path::new(LEDGER), &fs).err().unwrap();
    assert_eq!(error.to_string(), format!("cannot open `{LEDGER}`"));
}

#[tokio::test]
async fn an_entry_that_is_wrong_is_told_without_what_it_holds() {
    let world = empty_world();
    write(&world, 1).await;
    let payload = br#"{"newest": {"nested": "secret"}, "deadline": "secret"}"#;
    let mut bytes = vec![0; 2 * SLOT_SIZE];
    bytes[..HEADER_SIZE].copy_from_slice(&Header::new(State::Idle, 2, payload).unwrap().encode());
    bytes[HEADER_SIZE..HEADER_SIZE + payload.len()].copy_from_slice(payload);
    world.fs.put(LEDGER, &bytes);
    let error = open(&world).await.err().unwrap();
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn the_last_thirty_two_spent_tokens_are_remembered() {
    let world = empty_world();
    let token = |i: u32| RefreshToken::new(format!("spent {i}")).fingerprint();
    let mut file = open(&world).await.unwrap();
    for i in 0..40 {
        file.ledger.entries.add_spent(token(i));
        file.ledger.entries.add_spent(token(i));
    }
    file.save().unwrap();
    drop(file);
    let entries = open(&world).await.unwrap().ledger.entries;
    assert_eq!(entries.spent().count(), 32);
    assert!((0..40).all(|i| entries.is_spent(token(i)) == (i >= 8)));
}

#[tokio::test]
async fn a_token_that_is_issued_again_is_not_spent() {
    let world = empty_world();
    let token = RefreshToken::new("again");
    let mut file = open(&world).await.unwrap();
    file.ledger.entries.add_spent(token.fingerprint());
    file.ledger.entries.set_newest(Some(&token));
    assert!(!file.ledger.entries.is_spent(token.fingerprint()));
}

#[tokio::test]
async fn a_refusal_takes_the_place_of_an_older_one_and_few_are_kept() {
    let world = empty_world();
    let mut file = open(&world).await.unwrap();
    for i in 0..20_u32 {
        file.ledger.entries.remember(Remembered {
            key: format!("key {}", i / 2),
            error: String::new(),
            description: None,
            date: None,
            count: i,
            at: 0,
            until: 0,
        });
    }
    let counts: Vec<u32> = file.ledger.entries.refusals.iter().map(|refusal| refusal.count).collect();
    assert_eq!(counts, [5, 7, 9, 11, 13, 15, 17, 19]);
    assert_eq!(file.ledger.entries.refusal("key 9").unwrap().count, 19);
    assert!(file.ledger.entries.refusal("key 0").is_none());
}

#[tokio::test]
async fn the_largest_answer_fits_and_its_room_is_given_back() {
    let world = empty_world();
    let body = vec![b'"'; crate::oauth::token::MAX_TOKEN_BODY];
    let mut file = open(&world).await.unwrap();
    file.ledger.entries.set_newest(Some(&RefreshToken::new("\"".repeat(64 * 1024))));
    file.save().unwrap();
    // Whoever makes room is another one than wrote the state before.
    drop(file);
    let mut file = open(&world).await.unwrap();
    file.make_room().unwrap();
    assert_eq!(world.fs.get(LEDGER).unwrap().len(), 2 * SLOT_SIZE, "two states and no more");
    world.fs.fill_disk();
    // Whatever place it goes to.
    for _ in 0..3 {
        file.ledger.entries.set_answer(Some(&body));
        file.save().unwrap();
    }
    assert_eq!(file.ledger.entries.answer().unwrap().as_slice(), body);
    file.ledger.entries.set_answer(None);
    file.ledger.entries.set_newest(None);
    file.save().unwrap();
    file.give_room_back();
    drop(file);
    // Nothing is left of it, and the present state is still there.
    let bytes = world.fs.get(LEDGER).unwrap();
    assert!(bytes.iter().filter(|byte| **byte != 0).count() < 4096);
    assert_eq!(open(&world).await.unwrap().ledger.sequence, 5);
}

#[test]
fn whatever_a_logout_must_not_leave_behind_is_about_a_grant() {
    let token = RefreshToken::new("r0");
    let about: [fn(&mut Entries, &RefreshToken); 4] = [
        |entries, token| entries.set_base(Some(token.fingerprint())),
        |entries, token| entries.set_newest(Some(token)),
        |entries, token| {
            let grant = token.fingerprint().to_string();
            entries.arriving = Some(Arriving { grant, binding: Binding::default() });
        },
        |entries, _| entries.temporary = Some(Temporary { name: "name".into(), inode: 1 }),
    ];
    for (number, about) in about.iter().enumerate() {
        let mut entries = Entries::default();
        about(&mut entries, &token);
        assert!(entries.is_about_a_grant(), "{number}");
    }
    // Which tokens are spent stays known, and what a grant was issued for.
    let mut entries = Entries::default();
    entries.binding = Some(Binding::default());
    entries.add_spent(token.fingerprint());
    assert!(!entries.is_about_a_grant());
}

#[test]
fn what_one_grant_was_issued_for_is_not_known_of_another() {
    let [one, other] = ["one", "other"].map(|token| RefreshToken::new(token).fingerprint());
    let mut entries = Entries::default();
    assert_eq!(entries.binding_of(Some(one)), None);
    // Where answers replace the grant, whatever is in the home goes where the login went.
    let binding = Binding { origin: "https://a.test".into(), ..Binding::default() };
    entries.binding = Some(binding.clone());
    assert_eq!(entries.binding_of(Some(one)), Some(&binding));
    assert_eq!(entries.binding_of(None), Some(&binding));
    let binding = Binding { grant: Some(one.to_string()), ..binding };
    entries.binding = Some(binding.clone());
    assert_eq!(entries.binding_of(Some(one)), Some(&binding));
    assert_eq!(entries.binding_of(Some(other)), None);
    assert_eq!(entries.binding_of(None), None);
}

#[tokio::test]
async fn making_room_never_writes_over_the_present_state() {
    // Where room cannot be set aside the system fills it with zeros instead.
    let world = empty_world();
    world.fs.allocate_by_writing();
    for turn in 1..5 {
        write(&world, turn).await;
        open(&world).await.unwrap().make_room().unwrap();
        assert_eq!(mark(&world.fs), Some(turn));
    }
}

#[tokio::test]
async fn two_writers_do_not_lose_each_others_entries() {
    let world = empty_world();
    let count = 20;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..count {
        let host = world.host(i + 1);
        tasks.spawn(async move {
            let mut file = LedgerFile::open(std::path::Path::new(LEDGER), &host).await.unwrap();
            tokio::task::yield_now().await;
            file.ledger.entries.add_spent(RefreshToken::new(format!("spent {i}")).fingerprint());
            file.save().unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(open(&world).await.unwrap().ledger.entries.spent().count(), count as usize);
}

#[tokio::test]
async fn a_reader_without_the_lock_never_takes_two_writes_for_none() {
    let world = empty_world();
    write(&world, 1).await;
    write(&world, 2).await;
    // Both places are written anew between its reads, at whatever read.
    for at in 0..6 {
        let path = std::path::Path::new(LEDGER);
        let file = world.fs.open(path, false).unwrap();
        let writers = [world.host(1), world.host(2)];
        let busy = Busy { file, writers, reads: AtomicUsize::new(0), at };
        let ledger = LedgerFile::load(Box::new(busy), path).unwrap().ledger;
        assert!(ledger.sequence >= 2, "read {at}: sequence {}", ledger.sequence);
    }
}

/// A file that two others write before one of our reads.
struct Busy {
    file: Box<dyn File>,
    writers: [Host; 2],
    reads: AtomicUsize,
    at: usize,
}

impl File for Busy {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == self.at {
            for writer in &self.writers {
                let file = writer.fs.open(std::path::Path::new(LEDGER), false).unwrap();
                let mut file = LedgerFile::load(file, std::path::Path::new(LEDGER)).unwrap();
                file.ledger.entries.deadline += 1_000_000;
                file.save().unwrap();
            }
        }
        self.file.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }

    fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.release(offset, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn stat(&self) -> io::Result<crate::host::fs::Stat> {
        self.file.stat()
    }
}

#[tokio::test]
async fn an_answer_does_not_wait_for_long_for_a_writer_that_was_stopped() {
    // The machine may sleep meanwhile.
    for (slept, expected) in [(None, 2), (Some(Duration::from_millis(3_600_001)), 3601)] {
        let world = empty_world();
        let stopped = open(&world).await.unwrap();
        let start = world.clock.since_boot();
        let machine = async {
            if let Some(slept) = slept {
                world.clock.sleep(Duration::from_secs(1)).await;
                world.clock.advance(slept);
            }
        };
        tokio::join!(write(&world, 2), machine);
        assert_eq!(mark(&world.fs), Some(2));
        assert_eq!(world.clock.since_boot().saturating_sub(start).as_secs(), expected);
        drop(stopped);
    }
}
