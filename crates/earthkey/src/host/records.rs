//! The seam to the cache of records.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use earthkey_record::clock::Clock;
use earthkey_record::digest::Digest;
use earthkey_record::environment::Environment;
use earthkey_record::name::Arguments;
use earthkey_record::name::Name;
use earthkey_record::record::Record;
use earthkey_record::store::Cache;
use earthkey_record::verify::Freshness;
use earthkey_record::verify::Verdict;
use earthkey_record::verify::check;

/// The cache of records. It may lose any record at any time, so nothing here fails.
pub trait Records: Send + Sync {
    /// Returns the record for these arguments in this environment if it still holds.
    fn find(&self, arguments: &Arguments<'_>, environment: &Environment, clock: &Clock) -> Option<Record>;

    /// Returns the digest of a file's content, as records keep it; `None` without a cache.
    fn digest(&self, content: &[u8]) -> Option<Digest>;

    /// Writes a record; its environment's digest is filled in.
    fn write(&self, arguments: &Arguments<'_>, environment: &Environment, record: Record);

    /// Removes every record of a login, as `SYSTEM/NAME`.
    fn remove_login(&self, login: &str);
}

/// Records on disk.
pub struct RealRecords {
    directory: Option<PathBuf>,
    cache: Mutex<Option<Arc<Cache>>>,
}

impl RealRecords {
    /// Makes the cache in `directory`; nothing is made there before there is something to keep.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, cache: Mutex::default() }
    }

    /// Returns the cache, if there is one.
    fn existing(&self) -> Option<Arc<Cache>> {
        self.cache_by(Cache::open)
    }

    /// Returns the cache, made where it is missing.
    fn made(&self) -> Option<Arc<Cache>> {
        self.cache_by(|directory| Cache::create(directory).ok())
    }

    fn cache_by(&self, find: impl FnOnce(&Path) -> Option<Cache>) -> Option<Arc<Cache>> {
        let mut cache = self.cache.lock().ok()?;
        if cache.is_none() {
            *cache = find(self.directory.as_ref()?).map(Arc::new);
        }
        cache.clone()
    }
}

impl Records for RealRecords {
    fn find(&self, arguments: &Arguments<'_>, environment: &Environment, clock: &Clock) -> Option<Record> {
        let cache = self.existing()?;
        let record = cache.read(&Name::new(arguments, environment))?;
        // Whether it is time to refresh is decided with more at hand than a record.
        let until_the_end = Record { early_at: record.expires_at, ..record.clone() };
        match check(&until_the_end, cache.key(), environment, clock, Freshness::default()) {
            Verdict::Valid => Some(record),
            Verdict::HandOver(_) => None,
        }
    }

    fn digest(&self, content: &[u8]) -> Option<Digest> {
        self.made().map(|cache| cache.key().file(content))
    }

    fn write(&self, arguments: &Arguments<'_>, environment: &Environment, mut record: Record) {
        let Some(cache) = self.made() else { return };
        record.environment = environment.digest(cache.key());
        // A cache that cannot be written costs time, not a login.
        let _ = cache.write(&Name::new(arguments, environment), &record);
    }

    fn remove_login(&self, login: &str) {
        if let Some(cache) = self.existing() {
            let _ = cache.remove_login(login);
        }
    }
}
