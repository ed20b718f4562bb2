//! Records: an access token and everything that it depends on.
//!
//! A record is a file of at most [`MAX_SIZE`] bytes: `EKRECRD1`, the version and the length of the body (32 bits
//! each), a SipHash-2-4-128 of the rest under the cache's own key, and the body. So a damaged record,
//! one of another version and one made under another key are all no record at all. Numbers are
//! little-endian, lists and texts carry their length in front.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Domain, Key};
use crate::secret::Secret;
use crate::wire::{Reader, Writer};

/// The size of the largest record in bytes.
pub const MAX_SIZE: usize = 64 * 1024;

/// The largest number of header lines.
pub const MAX_HEADERS: usize = 4;

/// An access token and everything that it depends on. Times are Unix seconds, durations seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The access token (RFC 6749, section 1.4).
    pub token: Secret,
    /// The token's type (RFC 6749, section 7.1).
    pub token_type: String,
    /// The complete header lines, `Name: value`, of the form that shows headers.
    pub headers: Vec<Secret>,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// The client that the token was issued to.
    pub client_id: Option<String>,
    /// The login that was resolved, `SYSTEM` or `SYSTEM/NAME`.
    pub login: String,
    /// When the token was obtained.
    pub obtained_at: u64,
    /// How long the token lives.
    pub lifetime: u64,
    /// When the token ends.
    pub expires_at: u64,
    /// When its early window begins, in which it is time to refresh.
    pub early_at: u64,
    /// The boot in which it was obtained, as in [`Clock`](crate::clock::Clock).
    pub boot_id: [u8; 16],
    /// The boot-time clock when it was obtained, in milliseconds.
    pub boottime_ms: u64,
    /// The fingerprint of the grant that it was obtained with.
    pub grant: [u8; 16],
    /// The digest of the environment in which it was resolved.
    pub environment: Digest,
    /// Every path that the resolution looked at.
    pub dependencies: Vec<Dependency>,
}

/// A path that a resolution looked at, and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The absolute path; symbolic links are followed.
    pub path: PathBuf,
    /// What was there, and must still be.
    pub expected: Expected,
}

/// What must be at a path for a record to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// A regular file with this digest ([`Key::file`]) of the bytes that were parsed or written.
    File(Digest),
    /// A directory, whatever is in it: some programs take the first of their directories that exists.
    Directory,
    /// A ledger in which nothing is pending, or none. Its content does not count.
    Ledger,
}

impl Record {
    /// Returns the bytes of the record's file.
    pub fn encode(&self, key: &Key) -> Result<Vec<u8>, RecordError> {
        self.validate()?;
        let body = self.encode_body();
        let length = u32::try_from(body.len()).map_err(|_| RecordError::TooLarge)?;
        let mut bytes = Vec::with_capacity(PREFIX_SIZE + 16 + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        let checksum = checksum(key, &bytes, &body);
        bytes.extend_from_slice(&checksum);
        bytes.extend_from_slice(&body);
        if bytes.len() > MAX_SIZE {
            return Err(RecordError::TooLarge);
        }
        Ok(bytes)
    }

    /// Reads the bytes of a record's file.
    pub fn decode(bytes: &[u8], key: &Key) -> Result<Self, RecordError> {
        if bytes.len() > MAX_SIZE {
            return Err(RecordError::TooLarge);
        }
        let (prefix, rest) = bytes.split_at_checked(PREFIX_SIZE).ok_or(RecordError::Damaged)?;
        let (sum, body) = rest.split_first_chunk().ok_or(RecordError::Damaged)?;
        if !prefix.starts_with(&MAGIC) || *sum != checksum(key, prefix, body) {
            return Err(RecordError::Damaged);
        }
        let mut numbers = Reader::new(&prefix[MAGIC.len()..]);
        let (version, length) = (numbers.u32(), numbers.u32());
        if let Some(version) = version.filter(|version| *version != VERSION) {
            return Err(RecordError::UnknownVersion(version));
        }
        if length.map(u64::from) != Some(body.len() as u64) {
            return Err(RecordError::Damaged);
        }
        let record = Self::decode_body(body).ok_or(RecordError::Damaged)?;
        record.validate()?;
        Ok(record)
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut body = Writer::new();
        body.bytes(self.token.expose().as_bytes());
        body.bytes(self.token_type.as_bytes());
        body.count(self.headers.len());
        self.headers.iter().for_each(|line| body.bytes(line.expose().as_bytes()));
        body.count(self.scopes.len());
        self.scopes.iter().for_each(|scope| body.bytes(scope.as_bytes()));
        body.u8(u8::from(self.client_id.is_some()));
        self.client_id.iter().for_each(|id| body.bytes(id.as_bytes()));
        body.bytes(self.login.as_bytes());
        for number in [self.obtained_at, self.lifetime, self.expires_at, self.early_at, self.boottime_ms] {
            body.u64(number);
        }
        for array in [self.boot_id, self.grant, self.environment.to_bytes()] {
            body.array(array);
        }
        body.count(self.dependencies.len());
        self.dependencies.iter().for_each(|dependency| dependency.encode(&mut body));
        body.finish()
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let mut body = Reader::new(body);
        let token = Secret::new(body.text()?);
        let token_type = body.text()?;
        let headers = body.list(|body| body.text().map(Secret::new))?;
        let scopes = body.list(Reader::text)?;
        let client_id = match body.u8()? {
            0 => None,
            1 => Some(body.text()?),
            _ => return None,
        };
        let record = Self {
            token,
            token_type,
            headers,
            scopes,
            client_id,
            login: body.text()?,
            obtained_at: body.u64()?,
            lifetime: body.u64()?,
            expires_at: body.u64()?,
            early_at: body.u64()?,
            boottime_ms: body.u64()?,
            boot_id: body.take()?,
            grant: body.take()?,
            environment: Digest::from_bytes(body.take()?),
            dependencies: body.list(Dependency::decode)?,
        };
        body.rest().is_empty().then_some(record)
    }

    /// Refuses what could not be printed on one line, and paths whose meaning depends on where one stands.
    fn validate(&self) -> Result<(), RecordError> {
        if self.token.expose().is_empty() || !is_vschar(self.token.expose()) {
            return Err(RecordError::Token);
        }
        if self.headers.len() > MAX_HEADERS || !self.headers.iter().all(|line| is_header_line(line.expose()))
        {
            return Err(RecordError::Headers);
        }
        match self.dependencies.iter().find(|dependency| !dependency.path.is_absolute()) {
            Some(relative) => Err(RecordError::RelativePath(relative.path.clone())),
            None => Ok(()),
        }
    }
}

impl Dependency {
    fn encode(&self, body: &mut Writer) {
        body.bytes(self.path.as_os_str().as_bytes());
        match self.expected {
            Expected::Absent => body.u8(0),
            Expected::File(digest) => {
                body.u8(1);
                body.array(digest.to_bytes());
            }
            Expected::Directory => body.u8(2),
            Expected::Ledger => body.u8(3),
        }
    }

    fn decode(body: &mut Reader<'_>) -> Option<Self> {
        let path = Path::new(OsStr::from_bytes(body.bytes()?)).to_owned();
        let expected = match body.u8()? {
            0 => Expected::Absent,
            1 => Expected::File(Digest::from_bytes(body.take()?)),
            2 => Expected::Directory,
            3 => Expected::Ledger,
            _ => return None,
        };
        Some(Self { path, expected })
    }
}

/// Why something is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// It is longer than [`MAX_SIZE`].
    TooLarge,
    /// It is cut or changed, or was made under another key.
    Damaged,
    /// It was written by another version.
    UnknownVersion(u32),
    /// The access token is empty or holds characters outside of RFC 6749, appendix A.12.
    Token,
    /// There are more than [`MAX_HEADERS`] header lines, or one is no header line.
    Headers,
    /// A dependency is relative to the working directory, so the answer holds nowhere else.
    RelativePath(PathBuf),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "a record is longer than {MAX_SIZE} bytes"),
            Self::Damaged => f.write_str("a record is damaged or was made under another key"),
            Self::UnknownVersion(version) => write!(f, "a record has version {version}, not {VERSION}"),
            Self::Token => {
                f.write_str("the access token is empty or holds characters that RFC 6749 does not allow")
            }
            Self::Headers => write!(f, "there are more than {MAX_HEADERS} header lines, or one is malformed"),
            Self::RelativePath(path) => write!(f, "`{}` depends on the working directory", path.display()),
        }
    }
}

impl Error for RecordError {}

const MAGIC: [u8; 8] = *b"EKRECRD1";
const VERSION: u32 = 1;
/// Magic, version and length.
const PREFIX_SIZE: usize = 16;

fn checksum(key: &Key, prefix: &[u8], body: &[u8]) -> [u8; 16] {
    let mut hasher = key.hasher(Domain::Record);
    hasher.raw(prefix);
    hasher.raw(body);
    hasher.finish().to_bytes()
}

/// VSCHAR of RFC 6749, appendix A.
fn is_vschar(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

/// A field name and a value (RFC 9110, section 5), on one line.
fn is_header_line(line: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    is_vschar(line) && line.split_once(": ").is_some_and(|(name, value)| is_name(name) && !value.is_empty())
}

#[cfg(test)]
mod tests;
