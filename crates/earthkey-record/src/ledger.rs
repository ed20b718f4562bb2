//! The headers of a ledger: what a glance at it tells.
//!
//! A ledger file has two slots of [`SLOT_SIZE`] bytes, written in turn: sequence number *n* stands in slot
//! *n* mod 2, so that a torn write never touches what was durable before it. A slot is a header of
//! [`HEADER_SIZE`] bytes and a payload, which only the library reads. A file that ends early reads as if
//! zeros followed. Numbers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `EKLEDGR1` |
//! | 8..12 | version, 1 |
//! | 12 | state |
//! | 13..16 | zero |
//! | 16..24 | sequence number |
//! | 24..28 | length of the payload |
//! | 28..32 | zero |
//! | 32..48 | SipHash-2-4-128 of the payload, with a public key |
//! | 48..56 | SipHash-2-4-64 of bytes 0..48, with the same key |
//! | 56..64 | zero |
//!
//! In every version to come the first twelve bytes and the header's checksum keep their places and meaning, so
//! that a future header and a torn one can be told apart. Checksums detect damage, not forgery: who can
//! write beside a home can write the home.

use std::error::Error;
use std::fmt;

use crate::digest::{Domain, Hasher, checksum64};

/// The size of a slot in bytes, header included.
pub const SLOT_SIZE: usize = 256 * 1024;

/// The size of a header in bytes.
pub const HEADER_SIZE: usize = 64;

/// The size of the largest payload in bytes.
pub const PAYLOAD_MAX: usize = SLOT_SIZE - HEADER_SIZE;

/// How far the last exchange of a grant has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No exchange is under way.
    Idle,
    /// The grant may have been sent, and no answer is known.
    Intent,
    /// The answer is in the ledger and not yet in the home.
    Answered,
    /// The answer is in the home.
    Landed,
}

impl State {
    const ALL: [Self; 4] = [Self::Idle, Self::Intent, Self::Answered, Self::Landed];
}

/// The header of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    state: State,
    sequence: u64,
    payload_len: u32,
    payload_checksum: [u8; 16],
}

impl Header {
    /// Returns the header for a payload, unless that is longer than [`PAYLOAD_MAX`].
    pub fn new(state: State, sequence: u64, payload: &[u8]) -> Option<Self> {
        let payload_len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX)?;
        Some(Self { state, sequence, payload_len, payload_checksum: payload_checksum(payload) })
    }

    /// Reads a header; `None` is a slot never written.
    pub fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Option<Self>, HeaderError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if bytes[..8] != MAGIC || bytes[48..56] != checksum64(&bytes[..48]).to_le_bytes() {
            return Err(HeaderError::Damaged);
        }
        let version = u32::from_le_bytes(at(bytes, 8));
        if version != VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        let header = Self {
            state: *State::ALL.get(usize::from(bytes[12])).ok_or(HeaderError::Damaged)?,
            sequence: u64::from_le_bytes(at(bytes, 16)),
            payload_len: u32::from_le_bytes(at(bytes, 24)),
            payload_checksum: at(bytes, 32),
        };
        // Whatever else is not as this version writes it would be lost on the way back.
        if header.payload_len() > PAYLOAD_MAX || header.encode() != *bytes {
            return Err(HeaderError::Damaged);
        }
        Ok(Some(header))
    }

    /// Returns the header as it is written.
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12] = self.state as u8;
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.payload_checksum);
        let checksum = checksum64(&bytes[..48]);
        bytes[48..56].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Returns how far the exchange has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the number of this write; the larger one is the newer.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the length of the payload in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// Returns the slot it stands in, 0 or 1.
    pub fn slot(&self) -> usize {
        usize::from(self.sequence % 2 == 1)
    }

    /// Returns the offset of its slot in the file.
    pub fn offset(&self) -> u64 {
        (self.slot() * SLOT_SIZE) as u64
    }

    /// Returns whether these bytes are its payload, whole and undamaged.
    pub fn holds(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_len() && payload_checksum(payload) == self.payload_checksum
    }

    /// Returns whether nothing is pending: no grant under way, no answer waiting to land.
    pub fn is_quiet(&self) -> bool {
        matches!(self.state, State::Idle | State::Landed)
    }
}

/// Returns the newer of two headers; `None` is a ledger never written.
///
/// A damaged header is what a torn write leaves and is passed over if the other slot has a good one. A
/// header of an unknown version is an error whatever the other slot holds: a newer earthkey has been
/// here, and only that one knows what is pending.
pub fn newest(slot_a: &[u8; HEADER_SIZE], slot_b: &[u8; HEADER_SIZE]) -> Result<Option<Header>, HeaderError> {
    let decoded = [(0, slot_a), (1, slot_b)].map(|(slot, bytes)| match Header::decode(bytes) {
        Ok(Some(header)) if header.slot() != slot => Err(HeaderError::Damaged),
        decoded => decoded,
    });
    match decoded {
        [Err(error @ HeaderError::UnknownVersion(_)), _]
        | [_, Err(error @ HeaderError::UnknownVersion(_))] => Err(error),
        [Ok(Some(a)), Ok(Some(b))] => Ok(Some(if a.sequence > b.sequence { a } else { b })),
        [Ok(Some(header)), _] | [_, Ok(Some(header))] => Ok(Some(header)),
        [Ok(None), Ok(None)] => Ok(None),
        [Err(error), _] | [_, Err(error)] => Err(error),
    }
}

/// Returns the checksum of a payload.
pub fn payload_checksum(payload: &[u8]) -> [u8; 16] {
    let mut hasher = Hasher::public(Domain::LedgerPayload);
    hasher.raw(payload);
    hasher.finish().to_bytes()
}

/// Why a ledger's headers cannot be used. The file is to be left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// It was written by a newer earthkey.
    UnknownVersion(u32),
    /// It is no header, or a damaged one.
    Damaged,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "the ledger has version {version}, this earthkey knows version {VERSION}")
            }
            Self::Damaged => f.write_str("the ledger's header is damaged"),
        }
    }
}

impl Error for HeaderError {}

const MAGIC: [u8; 8] = *b"EKLEDGR1";
const VERSION: u32 = 1;

fn at<const N: usize>(bytes: &[u8; HEADER_SIZE], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[offset + index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABSENT: [u8; HEADER_SIZE] = [0; HEADER_SIZE];

    fn header(state: State, sequence: u64) -> Header {
        Header::new(state, sequence, b"payload").unwrap()
    }

    fn with_version(version: u32) -> [u8; HEADER_SIZE] {
        let mut bytes = header(State::Idle, 2).encode();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let checksum = checksum64(&bytes[..48]);
        bytes[48..56].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn a_header_comes_back(state in 0..4_usize, sequence: u64, payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = Header::new(State::ALL[state], sequence, &payload).unwrap();
            prop_assert_eq!(Header::decode(&header.encode()), Ok(Some(header)));
            prop_assert!(header.holds(&payload));
            prop_assert_eq!(header.payload_len(), payload.len());
            prop_assert_eq!((header.state(), header.sequence()), (State::ALL[state], sequence));
            prop_assert_eq!(header.is_quiet(), [State::Idle, State::Landed].contains(&header.state()));
        }

        #[test]
        fn other_bytes_are_no_header(bytes in proptest::collection::vec(1_u8.., HEADER_SIZE)) {
            let bytes = bytes.try_into().unwrap();
            prop_assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged));
        }
    }

    /// The digests were computed by another implementation of SipHash.
    #[test]
    fn the_layout_is_pinned() {
        let bytes = Header::new(State::Answered, 0x0102_0304_0506_0708, b"abc").unwrap().encode();
        assert_eq!(
            &bytes[..32],
            b"EKLEDGR1\x01\0\0\0\x02\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x03\0\0\0\0\0\0\0"
        );
        assert_eq!(bytes[32..48], 0x2bab_c768_ad7f_3a3c_dfa2_c691_bcf1_2ff5_u128.to_be_bytes());
        assert_eq!(bytes[48..56], 0x745c_a9ed_8a1a_f245_u64.to_le_bytes());
        assert_eq!(bytes[56..], [0; 8]);
        assert_eq!((SLOT_SIZE, HEADER_SIZE, PAYLOAD_MAX), (262_144, 64, 262_080));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let good = header(State::Intent, 7).encode();
        for bit in 0..HEADER_SIZE * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged), "bit {bit}");
        }
        // The last eight bytes are zero, so a header is whole once 56 bytes are there.
        for length in 1..56 {
            let mut bytes = ABSENT;
            bytes[..length].copy_from_slice(&good[..length]);
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged), "cut after {length}");
        }
    }

    #[test]
    fn a_good_checksum_does_not_excuse_what_this_version_never_writes() {
        for (offset, value) in [(12, 4), (13, 1), (15, 1), (27, 1), (28, 1)] {
            let mut bytes = header(State::Idle, 2).encode();
            bytes[offset] = value;
            let checksum = checksum64(&bytes[..48]);
            bytes[48..56].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged), "byte {offset}");
        }
    }

    #[test]
    fn the_larger_sequence_is_the_newer() {
        let (even, odd, later) =
            (header(State::Landed, 4), header(State::Intent, 5), header(State::Answered, 6));
        assert_eq!(newest(&even.encode(), &odd.encode()), Ok(Some(odd)));
        assert_eq!(newest(&later.encode(), &odd.encode()), Ok(Some(later)));
        assert_eq!((even.offset(), odd.offset()), (0, SLOT_SIZE as u64));
    }

    #[test]
    fn a_slot_never_written_and_a_torn_one_are_passed_over() {
        let (even, odd) = (header(State::Landed, 4), header(State::Idle, 5));
        let mut torn = odd.encode();
        torn[20] ^= 1;
        assert_eq!(newest(&ABSENT, &ABSENT), Ok(None));
        assert_eq!(newest(&even.encode(), &ABSENT), Ok(Some(even)));
        assert_eq!(newest(&ABSENT, &odd.encode()), Ok(Some(odd)));
        assert_eq!(newest(&even.encode(), &torn), Ok(Some(even)));
        assert_eq!(newest(&torn, &odd.encode()), Ok(Some(odd)));
        assert_eq!(newest(&torn, &torn), Err(HeaderError::Damaged));
        assert_eq!(newest(&ABSENT, &torn), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_header_in_the_other_slot_is_damage() {
        let (even, odd) = (header(State::Landed, 4), header(State::Idle, 5));
        assert_eq!(newest(&odd.encode(), &ABSENT), Err(HeaderError::Damaged));
        assert_eq!(newest(&odd.encode(), &even.encode()), Err(HeaderError::Damaged));
        assert_eq!(newest(&even.encode(), &even.encode()), Ok(Some(even)));
    }

    #[test]
    fn an_unknown_version_is_refused_beside_anything() {
        let unknown = Err(HeaderError::UnknownVersion(2));
        for other in [ABSENT, header(State::Idle, 5).encode(), [7; HEADER_SIZE]] {
            assert_eq!(newest(&with_version(2), &other), unknown);
            assert_eq!(newest(&other, &with_version(2)), unknown);
        }
        assert_eq!(Header::decode(&with_version(0)), Err(HeaderError::UnknownVersion(0)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            HeaderError::UnknownVersion(2).to_string(),
            "the ledger has version 2, this earthkey knows version 1"
        );
        assert_eq!(HeaderError::Damaged.to_string(), "the ledger's header is damaged");
    }

    #[test]
    fn a_payload_is_bounded_and_its_damage_is_seen() {
        let largest = vec![1; PAYLOAD_MAX];
        let header = Header::new(State::Idle, 0, &largest).unwrap();
        assert!(header.holds(&largest));
        assert_eq!(Header::decode(&header.encode()), Ok(Some(header)));
        assert!(!header.holds(&largest[1..]));
        let mut damaged = largest.clone();
        damaged[1000] ^= 1;
        assert!(!header.holds(&damaged));
        assert_eq!(Header::new(State::Idle, 0, &[largest, vec![1]].concat()), None);
    }
}
