//! The ledger: what is under way with one grant, durable at every step.
//!
//! A small file of two places that are written in turn, each with a header (see
//! [`earthkey_record::ledger`], which the front reads too) and a JSON payload. A write that power
//! loss cuts short leaves the other place, and so the state before it.

use std::io;
use std::path::Path;

use earthkey_record::ledger::HEADER_SIZE;
use earthkey_record::ledger::Header;
use earthkey_record::ledger::HeaderError;
use earthkey_record::ledger::SLOT_SIZE;
use earthkey_record::ledger::State;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use super::places::unusable;
use crate::error::Error;
use crate::error::Result;
use crate::host::FileSystem;
use crate::host::fs::File;
use crate::host::process::Owner;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;

/// Spent tokens that are remembered.
const MAX_SPENT: usize = 32;

/// Refusals that are remembered.
const MAX_REFUSALS: usize = 8;

/// Bytes set aside in each place before an intent: an answer of 64 KiB as base64, and the rest.
const ROOM: u64 = 128 * 1024;

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
    /// The name of the temporary file in use.
    pub temporary: Option<String>,
    /// The newest refresh token, kept after landing: an old copy may be written over it.
    newest: Option<Zeroizing<String>>,
    /// Fingerprints of tokens that were exchanged for a successor.
    spent: Vec<String>,
    /// What the provider said no to.
    pub refusals: Vec<Remembered>,
    /// What the grant was issued for, recorded at login.
    pub binding: Option<Binding>,
}

/// How an attempt ended, for those who waited for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub kind: OutcomeKind,
    /// The error's first line.
    pub message: String,
    /// When, in Unix seconds.
    pub at: u64,
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
    /// When the grant was issued, in Unix seconds.
    pub granted_at: u64,
}

impl Ledger {
    fn empty() -> Self {
        Self { state: State::Idle, sequence: 0, entries: Entries::default() }
    }

    /// Returns whether an answer waits to be landed.
    pub fn is_answered(&self) -> bool {
        self.state == State::Answered && self.entries.answer.is_some()
    }
}

impl Entries {
    /// Returns the fingerprint of the token that the attempt sends.
    pub fn base(&self) -> Option<Fingerprint> {
        self.base.as_deref().and_then(Fingerprint::from_hex)
    }

    /// Sets the fingerprint of the token that the attempt sends.
    pub fn set_base(&mut self, base: Option<Fingerprint>) {
        self.base = base.map(|fingerprint| fingerprint.to_string());
    }

    /// Returns the provider's answer.
    pub fn answer(&self) -> Option<Zeroizing<Vec<u8>>> {
        use base64::Engine;
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.answer.as_deref()?);
        decoded.ok().map(Zeroizing::new)
    }

    /// Keeps the provider's answer, or drops it.
    pub fn set_answer(&mut self, body: Option<&[u8]>) {
        use base64::Engine;
        self.answer = body.map(|body| Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(body)));
    }

    /// Returns the newest refresh token.
    pub fn newest(&self) -> Option<RefreshToken> {
        self.newest.as_ref().map(|token| RefreshToken::new(token.as_str()))
    }

    /// Sets the newest refresh token.
    pub fn set_newest(&mut self, newest: Option<&RefreshToken>) {
        self.newest = newest.map(|token| Zeroizing::new(token.expose().to_owned()));
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

/// An open ledger file.
pub(crate) struct LedgerFile {
    file: Box<dyn File>,
}

impl LedgerFile {
    /// Opens the ledger, making it where it is missing.
    pub(crate) fn create(path: &Path, fs: &dyn FileSystem) -> Result<Self> {
        let file = fs.open(path, true).map_err(|error| unusable("cannot open", path, error))?;
        Ok(Self { file })
    }

    /// Reads a ledger; an absent one is empty.
    pub(crate) fn read(path: &Path, fs: &dyn FileSystem) -> Result<Ledger> {
        match fs.open(path, false) {
            Ok(file) => Self { file }.load(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::empty()),
            Err(error) => Err(unusable("cannot open", path, error)),
        }
    }

    /// Reads the newest state whose bytes are whole.
    pub(crate) fn load(&self, path: &Path) -> Result<Ledger> {
        let failed = |error| unusable("cannot read", path, error);
        let mut headers = [[0; HEADER_SIZE]; 2];
        for (place, header) in headers.iter_mut().enumerate() {
            self.file.read_at((place * SLOT_SIZE) as u64, header).map_err(failed)?;
        }
        let unknown = || {
            Error::store(format!("`{}` was written by a newer earthkey", path.display()))
                .hint("update earthkey; the ledger is left as it is")
        };
        let mut found: Vec<Header> = Vec::new();
        for header in &headers {
            match Header::decode(header) {
                Ok(header) => found.extend(header),
                // What a torn write leaves; the other place holds the state before it.
                Err(HeaderError::Damaged) => {}
                Err(_) => return Err(unknown()),
            }
        }
        found.sort_by_key(|header| std::cmp::Reverse(header.sequence()));
        for header in &found {
            let mut payload = Zeroizing::new(vec![0; header.payload_len()]);
            let read = self.file.read_at(header.offset() + HEADER_SIZE as u64, &mut payload);
            if !header.holds(&payload[..read.map_err(failed)?]) {
                continue;
            }
            let entries = serde_json::from_slice(&payload).map_err(|error| {
                Error::store(format!("`{}` cannot be read", path.display())).caused_by(error)
            })?;
            return Ok(Ledger { state: header.state(), sequence: header.sequence(), entries });
        }
        Ok(Ledger::empty())
    }

    /// Sets room aside for an answer, so that it cannot be lost for lack of it.
    pub(crate) fn make_room(&self) -> io::Result<()> {
        self.file.allocate(0, ROOM)?;
        self.file.allocate(SLOT_SIZE as u64, ROOM)
    }

    /// Gives room back that the present state does not use, and wipes the state before it.
    pub(crate) fn give_room_back(&self, ledger: &Ledger) {
        let used = (HEADER_SIZE + ledger.payload().map_or(0, |payload| payload.len())) as u64;
        let (place, other) = places(ledger.sequence);
        // Only room is at stake.
        let _ = self.file.release(place + used, ROOM.saturating_sub(used));
        let _ = self.file.release(other, ROOM);
    }

    /// Writes the next state, durably.
    pub(crate) fn save(&self, ledger: &mut Ledger) -> io::Result<()> {
        ledger.sequence += 1;
        let payload = ledger.payload()?;
        let header = Header::new(ledger.state, ledger.sequence, &payload)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the ledger's entry is too large"))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_SIZE + payload.len()));
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&payload);
        self.file.write_at(header.offset(), &bytes)?;
        self.file.sync()
    }
}

/// Returns the offset of the place of a sequence number, and the other one.
fn places(sequence: u64) -> (u64, u64) {
    let (even, odd) = (0, SLOT_SIZE as u64);
    if sequence.is_multiple_of(2) { (even, odd) } else { (odd, even) }
}

impl Ledger {
    fn payload(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(serde_json::to_vec(&self.entries)?))
    }
}
