//! Digests of 128 bits: SipHash-2-4, keyed per user or with a public key.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24 as SipHasher64;
use siphasher::sip128::{Hasher128 as _, SipHasher24 as SipHasher128};

/// A digest of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Takes a digest from its stored bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The random key of one user's cache.
///
/// Digests of secrets are made with it, so that a copy of one record alone does not let anybody
/// try out which short secret was in a variable or a file.
#[derive(Clone)]
pub struct Key([u8; Self::SIZE]);

impl Key {
    /// The size of a key in bytes.
    pub const SIZE: usize = 16;

    /// Takes a key from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Returns the digest of a file's content, given the bytes as they were parsed or written.
    pub fn file(&self, content: &[u8]) -> Digest {
        let mut hasher = self.file_hasher();
        hasher.raw(content);
        hasher.finish()
    }

    /// Returns a hasher that takes a file's content in pieces.
    pub(crate) fn file_hasher(&self) -> Hasher {
        Hasher::new(&self.0, Domain::File)
    }

    pub(crate) fn hasher(&self, domain: Domain) -> Hasher {
        Hasher::new(&self.0, domain)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(****)")
    }
}

/// What a digest is of, so that a digest of one kind never equals one of another.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    File = 1,
    Environment = 2,
    Record = 3,
    Name = 4,
    LedgerPayload = 5,
}

pub(crate) struct Hasher(SipHasher128);

impl Hasher {
    /// Returns a hasher for what is not secret: anybody can compute the same digest.
    pub(crate) fn public(domain: Domain) -> Self {
        Self::new(&PUBLIC_KEY, domain)
    }

    fn new(key: &[u8; 16], domain: Domain) -> Self {
        let mut hasher = SipHasher128::new_with_key(key);
        hasher.write(&[domain as u8]);
        Self(hasher)
    }

    /// Adds bytes as they are; two calls equal one with both.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Adds bytes with their length, so that neighbours cannot trade bytes unseen.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    /// Adds a number of things that follow.
    pub(crate) fn count(&mut self, count: usize) {
        self.raw(&(count as u64).to_le_bytes());
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finish128().as_bytes())
    }
}

/// Returns a checksum of 64 bits with the public key.
pub(crate) fn checksum64(bytes: &[u8]) -> u64 {
    SipHasher64::new_with_key(&PUBLIC_KEY).hash(bytes)
}

/// Part of the formats of ledgers and record names: it must never change.
const PUBLIC_KEY: [u8; 16] = *b"earthkey public.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_in_pieces_has_the_digest_of_the_whole() {
        let key = Key::from_bytes([7; 16]);
        let content: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for size in [1, 3, 7, 8, 9, 64, 4096] {
            let mut hasher = key.file_hasher();
            content.chunks(size).for_each(|piece| hasher.raw(piece));
            assert_eq!(hasher.finish(), key.file(&content), "pieces of {size}");
        }
    }

    #[test]
    fn the_key_the_domain_and_the_borders_of_fields_count() {
        let digest = |key: u8, domain, fields: &[&str]| {
            let mut hasher = Key::from_bytes([key; 16]).hasher(domain);
            for field in fields {
                hasher.field(field.as_bytes());
            }
            hasher.finish()
        };
        let plain = digest(1, Domain::File, &["ab", "c"]);
        assert_eq!(plain, digest(1, Domain::File, &["ab", "c"]));
        assert_ne!(plain, digest(2, Domain::File, &["ab", "c"]));
        assert_ne!(plain, digest(1, Domain::Environment, &["ab", "c"]));
        assert_ne!(plain, digest(1, Domain::File, &["a", "bc"]));
    }

    #[test]
    fn a_digest_is_shown_in_hexadecimal() {
        let digest = Digest::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(format!("{digest:?}"), "000102030405060708090a0b0c0d0eff");
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Key::from_bytes(*b"0123456789abcdef")), "Key(****)");
    }
}
