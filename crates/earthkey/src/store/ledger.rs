//! The ledger: what is under way with one grant, durable at every step.
//!
//! A small file of two places that are written in turn, each with a header (see
//! [`earthkey_record::ledger`], which the front reads too) and a JSON payload. A write that power
//! loss cuts short leaves the other place, and so the state before it.

use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use earthkey_record::ledger::HEADER_SIZE;
use earthkey_record::ledger::Header;
use earthkey_record::ledger::HeaderError;
use earthkey_record::ledger::SLOT_SIZE;
use earthkey_record::ledger::State;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use super::lease::Lock;
use super::lease::try_lock;
use super::places::unusable;
use crate::error::Error;
use crate::error::Result;
use crate::host::FileSystem;
use crate::host::Host;
use crate::host::fs::File;
use crate::host::process::Owner;
use crate::oauth::token;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;

/// Spent tokens that are remembered.
const MAX_SPENT: usize = 32;

/// Refusals that are remembered.
const MAX_REFUSALS: usize = 8;

/// Bytes set aside in each place before an intent: an answer of 64 KiB as base64, and the rest.
const ROOM: u64 = SLOT_SIZE as u64;

/// How long another writer is waited for. It needs less than a millisecond; one that takes longer
/// has been stopped, and an answer must not wait for it to go on.
const WRITER_WAIT: Duration = Duration::from_secs(2);

/// What is under way with one grant.
#[derive(Clone)]
pub struct Ledger {
    /// Where the present or last attempt stands.
    pub state: State,
    /// Counts the writes.
    pub sequence: u64,
    /// Everything else.
    pub entries: Entries,
}

/// What a ledger holds. No `Debug`: it holds tokens.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entries {
    /// The fingerprint of the token that the attempt sends.
    base: Option<String>,
    /// Who attempts.
    pub owner: Option<Owner>,
    /// When the attempt ends at the latest, in Unix seconds.
    pub deadline: u64,
    /// How the last attempt ended.
    pub outcome: Option<Outcome>,
    /// The provider's 2xx body as it came, base64, until it has landed.
    answer: Option<Zeroizing<String>>,
    /// A 2xx body for another account than the login is of, base64: neither landed nor served, and not
    /// thrown away.
    #[serde(skip_serializing_if = "Option::is_none")]
    apart: Option<Zeroizing<String>>,
    /// The temporary file in use.
    pub temporary: Option<Temporary>,
    /// The newest refresh token, kept after landing: an old copy may be written over it.
    newest: Option<Zeroizing<String>>,
    /// Fingerprints of tokens that were exchanged for a successor.
    spent: Vec<String>,
    /// What the provider said no to.
    pub refusals: Vec<Remembered>,
    /// What the grant was issued for, recorded at login.
    pub binding: Option<Binding>,
    /// A login on its way into the home.
    pub arriving: Option<Arriving>,
}

/// A temporary file. After an exchange of names it is another file under the same name, and holds
/// what was displaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temporary {
    /// The part of its name that is its own.
    pub name: String,
    /// The inode that it had when it was made.
    pub inode: u64,
}

/// A login on its way into the home: bound as this says as soon as it is there, even if whoever
/// put it there got no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arriving {
    /// The grant's fingerprint.
    pub grant: String,
    /// What it was issued for.
    pub binding: Binding,
}

/// How an attempt ended, for those who waited for it and those who come after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub kind: OutcomeKind,
    /// The error's first line.
    pub message: String,
    /// When, in Unix seconds.
    pub at: u64,
    /// When the next attempt may be made, in Unix seconds.
    #[serde(default)]
    pub retry_at: u64,
    /// Failures in a row, this one included.
    #[serde(default)]
    pub failures: u32,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// With a token.
    Landed,
    /// With the provider's no.
    Refused,
    /// With nothing: a later caller may try again.
    Failed,
    /// With an answer for another account.
    Stranger,
}

/// A refusal that need not be asked for again before `until`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// What was refused: grant, endpoint, client, scopes.
    pub key: String,
    /// The provider's error code.
    pub error: String,
    /// The provider's words.
    pub description: Option<String>,
    /// The provider's clock when it said so, in Unix seconds.
    #[serde(default)]
    pub date: Option<u64>,
    /// Refusals in a row.
    pub count: u32,
    /// When it was refused last, in Unix seconds.
    pub at: u64,
    /// Until when it is not asked for again, in Unix seconds.
    pub until: u64,
}

/// What a grant was issued for. It goes to no other place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    /// The issuer.
    pub issuer: String,
    /// The origin of the token endpoint.
    pub origin: String,
    /// The client.
    pub client_id: String,
    /// The flow by which it was obtained.
    pub flow: String,
    /// The scopes that were granted, or asked for where the provider named none.
    pub scopes: Vec<String>,
    /// The account, as people know it.
    pub account: Option<String>,
    /// The account's `sub`.
    pub subject: Option<String>,
    /// The `iss` of the ID token that says so; none where no ID token does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_issuer: Option<String>,
    /// When the grant was issued, in Unix seconds.
    pub granted_at: u64,
    /// The fingerprint of the grant, where no answer replaces it: another one in its place is another
    /// login, of which nothing here is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

impl Outcome {
    /// Makes an outcome after which the next attempt may be made at once.
    pub(super) fn new(kind: OutcomeKind, message: &str, at: u64) -> Self {
        Self { kind, message: message.to_owned(), at, retry_at: 0, failures: 0 }
    }
}

impl Ledger {
    fn empty() -> Self {
        Self { state: State::Idle, sequence: 0, entries: Entries::default() }
    }

    /// Returns whether an answer waits to be landed.
    pub fn is_answered(&self) -> bool {
        self.state == State::Answered && self.entries.answer.is_some()
    }

    /// Returns how the last attempt with `grant` failed, if it did.
    pub fn failure_of(&self, grant: Option<Fingerprint>) -> Option<&Outcome> {
        let outcome = self.entries.outcome.as_ref()?;
        let has_failed = matches!(outcome.kind, OutcomeKind::Failed | OutcomeKind::Stranger);
        (has_failed && self.entries.is_base(grant)).then_some(outcome)
    }

    /// Ends the attempt under way without an outcome.
    pub fn start_anew(&mut self) {
        self.state = State::Idle;
        self.entries.set_answer(None);
        self.entries.set_base(None);
        self.entries.temporary = None;
        self.entries.outcome = None;
    }
}

impl Entries {
    /// Returns the fingerprint of the token that the attempt sends.
    pub fn base(&self) -> Option<Fingerprint> {
        self.base.as_deref().and_then(Fingerprint::from_hex)
    }

    /// Returns whether the attempt sends `grant`.
    pub fn is_base(&self, grant: Option<Fingerprint>) -> bool {
        grant.is_some() && self.base() == grant
    }

    /// Sets the fingerprint of the token that the attempt sends.
    pub fn set_base(&mut self, base: Option<Fingerprint>) {
        self.base = base.map(|fingerprint| fingerprint.to_string());
    }

    /// Returns the provider's answer.
    pub fn answer(&self) -> Option<Zeroizing<Vec<u8>>> {
        STANDARD.decode(self.answer.as_deref()?).ok().map(Zeroizing::new)
    }

    /// Keeps the provider's answer, or drops it.
    pub fn set_answer(&mut self, body: Option<&[u8]>) {
        self.answer = body.map(|body| Zeroizing::new(STANDARD.encode(body)));
    }

    /// Keeps an answer to `base` that is for another account: what it replaced is spent, and what it
    /// brought is not of this login.
    pub fn set_apart(&mut self, base: Option<Fingerprint>, body: &[u8]) {
        self.apart = Some(Zeroizing::new(STANDARD.encode(body)));
        let successor = token::refresh_token_in(body).map(|token| token.fingerprint());
        if let Some(base) = base.filter(|_| successor.is_some() && successor != base) {
            self.add_spent(base);
            self.set_newest(None);
        }
    }

    /// Returns whether an answer for another account is kept.
    pub fn has_answer_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Drops the answer for another account: there is a login again that works, or none any more.
    pub fn forget_apart(&mut self) {
        self.apart = None;
    }

    /// Returns the refresh token in the provider's answer.
    pub fn successor(&self) -> Option<RefreshToken> {
        token::refresh_token_in(&self.answer()?)
    }

    /// Returns what a grant was issued for, if that is known of this very one.
    pub fn binding_of(&self, grant: Option<Fingerprint>) -> Option<&Binding> {
        let grant = grant.map(|grant| grant.to_string());
        self.binding.as_ref().filter(|binding| binding.grant.is_none() || binding.grant == grant)
    }

    /// Returns whose a grant is, if that is recorded of this very one or of one that it descends from:
    /// what another program has put into the home may be anybody's.
    pub fn identity_of(&self, grant: Option<Fingerprint>) -> Option<&Binding> {
        let is_known = |binding: &&Binding| {
            binding.grant.is_some() || grant.is_some_and(|grant| self.known().contains(&grant))
        };
        self.binding_of(grant).filter(is_known)
    }

    /// Returns the newest refresh token.
    pub fn newest(&self) -> Option<RefreshToken> {
        self.newest.as_ref().map(|token| RefreshToken::new(token.as_str()))
    }

    /// Sets the newest refresh token, which is not spent whatever was known of it before.
    pub fn set_newest(&mut self, newest: Option<&RefreshToken>) {
        if let Some(token) = newest {
            let fingerprint = token.fingerprint().to_string();
            self.spent.retain(|spent| *spent != fingerprint);
        }
        self.newest = newest.map(|token| Zeroizing::new(token.expose().to_owned()));
    }

    /// Returns the tokens that are known to be spent.
    pub fn spent(&self) -> impl Iterator<Item = Fingerprint> {
        self.spent.iter().filter_map(|token| Fingerprint::from_hex(token))
    }

    /// Returns whether a token is known to be spent.
    pub fn is_spent(&self, token: Fingerprint) -> bool {
        self.spent.contains(&token.to_string())
    }

    /// Remembers a token as spent.
    pub fn add_spent(&mut self, token: Fingerprint) {
        if !self.is_spent(token) {
            self.spent.push(token.to_string());
            let excess = self.spent.len().saturating_sub(MAX_SPENT);
            self.spent.drain(..excess);
        }
    }

    /// Returns every token that is known: one of these in the home was put there by us, or by
    /// somebody who copied what we put there.
    pub fn known(&self) -> Vec<Fingerprint> {
        let own = [self.successor(), self.newest()];
        let own = own.into_iter().flatten().map(|token| token.fingerprint());
        own.chain(self.base()).chain(self.spent()).collect()
    }

    /// Returns whether anything here is about one grant and not about another.
    pub fn is_about_a_grant(&self) -> bool {
        let is_under_way = self.base.is_some() || self.arriving.is_some() || self.temporary.is_some();
        is_under_way || self.newest.is_some() || self.apart.is_some()
    }

    /// Makes the answer's refresh token the newest, and what it was obtained with a spent one.
    pub fn exchange_base(&mut self) {
        let Some(successor) = self.successor() else { return };
        if let Some(base) = self.base()
            && base != successor.fingerprint()
        {
            self.add_spent(base);
        }
        self.set_newest(Some(&successor));
    }

    /// Returns the refusal remembered under `key`.
    pub fn refusal(&self, key: &str) -> Option<&Remembered> {
        self.refusals.iter().find(|refusal| refusal.key == key)
    }

    /// Remembers a refusal, in the place of an older one of the same key.
    pub fn remember(&mut self, refusal: Remembered) {
        self.refusals.retain(|other| other.key != refusal.key);
        self.refusals.push(refusal);
        let excess = self.refusals.len().saturating_sub(MAX_REFUSALS);
        self.refusals.drain(..excess);
    }
}

/// An open ledger file. Its lock is held for one read and write of it, never across the network
/// and never while anything else is waited for.
pub(crate) struct LedgerFile {
    file: Box<dyn File>,
    /// Bytes of the place in which the present state stands.
    used: u64,
    pub(crate) ledger: Ledger,
}

impl LedgerFile {
    /// Reads a ledger; an absent one is empty.
    pub(crate) fn read(path: &Path, fs: &dyn FileSystem) -> Result<Ledger> {
        match fs.open(path, false) {
            Ok(file) => Self::load(file, path).map(|file| file.ledger),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::empty()),
            Err(error) => Err(unusable("cannot open", path, error)),
        }
    }

    /// Opens the ledger to change it, making it where it is missing.
    pub(crate) async fn open(path: &Path, host: &Host) -> Result<Self> {
        let failed = |error| unusable("cannot open", path, error);
        let start = host.clock.since_boot();
        loop {
            match try_lock(path, host.fs.as_ref()).map_err(failed)? {
                Lock::Held(file) | Lock::Unknown(file) => return Self::load(file, path),
                Lock::Taken => {}
            }
            if host.clock.since_boot().saturating_sub(start) > WRITER_WAIT {
                return Self::load(host.fs.open(path, true).map_err(failed)?, path);
            }
            host.clock.sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn load(file: Box<dyn File>, path: &Path) -> Result<Self> {
        let failed = |error| unusable("cannot read", path, error);
        // Who reads without the lock may read one place while both are written anew.
        for _ in 0..8 {
            match newest(file.as_ref(), path, &failed)? {
                Newest::Whole(ledger, used) => return Ok(Self { file, used, ledger: *ledger }),
                Newest::Torn => {}
                Newest::Absent => break,
            }
        }
        Ok(Self { file, used: 0, ledger: Ledger::empty() })
    }

    /// Sets room aside for an answer, so that it cannot be lost for lack of it. What the present
    /// state stands in is left alone: some systems make room by writing.
    pub(crate) fn make_room(&self) -> io::Result<()> {
        let (place, other) = places(self.ledger.sequence);
        self.file.allocate(place + self.used, ROOM - self.used)?;
        self.file.allocate(other, ROOM)
    }

    /// Gives room back that the present state does not use, and wipes the state before it.
    pub(crate) fn give_room_back(&self) {
        let (place, other) = places(self.ledger.sequence);
        // Only room is at stake.
        let _ = self.file.release(place + self.used, ROOM - self.used);
        let _ = self.file.release(other, ROOM);
    }

    /// Writes the next state, durably. One that could not be written is no state: the next goes
    /// to the same place, so that the last whole one stays.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        let payload = Zeroizing::new(serde_json::to_vec(&self.ledger.entries)?);
        let sequence = self.ledger.sequence + 1;
        let header = Header::new(self.ledger.state, sequence, &payload)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the ledger's entry is too large"))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_SIZE + payload.len()));
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&payload);
        self.file.write_at(header.offset(), &bytes)?;
        self.file.sync()?;
        self.ledger.sequence = sequence;
        self.used = bytes.len() as u64;
        Ok(())
    }
}

/// What one look at a ledger finds.
enum Newest {
    /// A state, and the bytes that it takes.
    Whole(Box<Ledger>, u64),
    /// What a first write leaves that power loss cut short, or writes between two reads of one look.
    Torn,
    Absent,
}

/// Reads the newest state whose bytes are whole.
fn newest(file: &dyn File, path: &Path, failed: &dyn Fn(io::Error) -> Error) -> Result<Newest> {
    let mut headers = [[0; HEADER_SIZE]; 2];
    for (place, header) in headers.iter_mut().enumerate() {
        file.read_at((place * SLOT_SIZE) as u64, header).map_err(failed)?;
    }
    let mut found: Vec<Header> = Vec::new();
    let mut is_torn = false;
    for (place, header) in headers.iter().enumerate() {
        match Header::decode(header) {
            Ok(header) => found.extend(header.filter(|header| header.slot() == place)),
            // What a torn write leaves; the other place holds the state before it.
            Err(HeaderError::Damaged) => is_torn = true,
            Err(_) => {
                let newer = Error::store(format!("`{}` was written by a newer earthkey", path.display()));
                return Err(newer.hint("update earthkey; the ledger is left as it is"));
            }
        }
    }
    found.sort_by_key(|header| std::cmp::Reverse(header.sequence()));
    for header in &found {
        let mut payload = Zeroizing::new(vec![0; header.payload_len()]);
        let read = file.read_at(header.offset() + HEADER_SIZE as u64, &mut payload);
        if !header.holds(&payload[..read.map_err(failed)?]) {
            is_torn = true;
            continue;
        }
        let entries = serde_json::from_slice(&payload).map_err(|error| {
            // Its own words may quote a value, and with it a token.
            Error::store(format!("`{}` cannot be read", path.display()))
                .caused_by(format!("its entry is wrong at column {}", error.column()))
        })?;
        let ledger = Ledger { state: header.state(), sequence: header.sequence(), entries };
        return Ok(Newest::Whole(Box::new(ledger), (HEADER_SIZE + payload.len()) as u64));
    }
    Ok(if is_torn { Newest::Torn } else { Newest::Absent })
}

/// Returns the offset of the place of a sequence number, and the other one.
fn places(sequence: u64) -> (u64, u64) {
    let (even, odd) = (0, SLOT_SIZE as u64);
    if sequence.is_multiple_of(2) { (even, odd) } else { (odd, even) }
}
