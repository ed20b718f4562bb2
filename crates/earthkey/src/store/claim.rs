//! What makes a lease where locks cannot be trusted: a file that one process at a time can make.
//!
//! Network file systems grant locks that exclude nobody, or none at all. A name that is there
//! already, though, no `link` of theirs makes twice. The claim says whose it is, and how long it has
//! stood there the file server's own clock says, which is the only one that all hosts share.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::Host;
use crate::host::process::Owner;

/// How long a claim is good for: longer than an attempt, which renews it before it begins.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(60);

/// How long after that it is respected, in seconds: its owner may still be writing.
const GRACE: u64 = 30;

/// Bytes of a claim that are read at most.
const MAX_CLAIM: u64 = 4096;

/// A claim of this process; ends with this value.
pub(super) struct Claim {
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    /// What the claim is, whatever stands under its name by now.
    identity: (u64, u64),
    /// Since when it is good, by the boot-time clock.
    since: Duration,
    content: Vec<u8>,
}

impl Claim {
    /// Makes a claim at `path` unless somebody has one there who may still act on it.
    pub(super) fn try_take(path: &Path, host: &Host) -> io::Result<Option<Self>> {
        if !may_be_free(path, host)? {
            return Ok(None);
        }
        let content = serde_json::to_vec(&host.process.owner())?;
        let own = beside(path, &host.random.token());
        let since = host.clock.since_boot();
        host.fs.create_new(&own, &content)?;
        let identity = take(path, &own, &content, host);
        // Under its second name it stays.
        let removed = host.fs.remove(&own);
        let Some(identity) = identity? else { return removed.map(|()| None) };
        let (fs, clock) = (host.fs.clone(), host.clock.clone());
        Ok(Some(Self { fs, clock, path: path.to_owned(), identity, since, content }))
    }

    /// Returns whether the claim still excludes others.
    pub(super) fn holds(&self) -> io::Result<bool> {
        if self.clock.since_boot().saturating_sub(self.since) >= GOOD_FOR {
            return Ok(false);
        }
        match self.fs.stat_link(&self.path) {
            Ok(stat) => Ok(stat.identity == self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the claim as good as a new one.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        let since = self.clock.since_boot();
        let file = self.fs.open(&self.path, false)?;
        if !self.holds()? || file.stat()?.identity != self.identity {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the claim is somebody else's by now"));
        }
        // What is written anew the file server dates anew.
        file.write_at(0, &self.content)?;
        file.sync()?;
        self.since = since;
        Ok(())
    }

    /// Gives the claim back, if it is still this one's.
    pub(super) fn end(&self) {
        if self.holds().unwrap_or(false) {
            // What cannot be removed goes when its time is over.
            let _ = self.fs.remove(&self.path);
        }
    }
}

/// Tells at a glance, without writing anything, whether a claim is worth a try.
fn may_be_free(path: &Path, host: &Host) -> io::Result<bool> {
    let stat = match host.fs.stat_link(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    // A clock that agrees with the server's to a minute is good enough to wait by.
    let is_young = host.clock.now().abs_diff(stat.modified) < GRACE;
    Ok(!is_young || is_dead(path, host))
}

/// Returns whether the owner of a claim is known to be dead, so that nobody can act on it any more.
fn is_dead(path: &Path, host: &Host) -> bool {
    let owner = host.fs.read(path, MAX_CLAIM).ok();
    let owner = owner.and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
    owner.is_some_and(|owner| host.process.is_dead(&owner))
}

/// Gives the file `own` the name of the claim; returns what it is if that succeeds.
fn take(path: &Path, own: &Path, content: &[u8], host: &Host) -> io::Result<Option<(u64, u64)>> {
    for _ in 0..2 {
        if let Some(identity) = make(path, own, content, host)? {
            return Ok(Some(identity));
        }
        if !set_aside(path, own, host)? {
            break;
        }
    }
    Ok(None)
}

fn make(path: &Path, own: &Path, content: &[u8], host: &Host) -> io::Result<Option<(u64, u64)>> {
    let fs = host.fs.as_ref();
    match fs.link(own, path) {
        Ok(()) => {}
        // A server's answer may get lost, and what it did not.
        Err(_) if is_same(fs, own, path)? => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            match fs.create_new(path, content) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    }
    fs.stat_link(path).map(|stat| Some(stat.identity))
}

fn is_same(fs: &dyn FileSystem, one: &Path, other: &Path) -> io::Result<bool> {
    match fs.stat_link(other) {
        Ok(stat) => Ok(stat.identity == fs.stat_link(one)?.identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a claim away whose time is over; `own` was made just now and tells the server's time.
fn set_aside(path: &Path, own: &Path, host: &Host) -> io::Result<bool> {
    let fs = host.fs.as_ref();
    let judged = match fs.stat_link(path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let now = fs.stat_link(own)?.modified;
    let is_over = now > judged.modified + GOOD_FOR.as_secs() + GRACE;
    if !is_over && !is_dead(path, host) {
        return Ok(false);
    }
    let aside = beside(path, &host.random.token());
    match fs.rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    }
    let is_judged = fs.stat_link(&aside)?.identity == judged.identity;
    if !is_judged {
        // Somebody was faster, and this is their claim. Where a third one has taken the name
        // meanwhile, they see before they send that theirs is gone.
        let _ = fs.link(&aside, path);
    }
    fs.remove(&aside)?;
    Ok(is_judged)
}

fn beside(path: &Path, token: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(token);
    path.with_file_name(name)
}
