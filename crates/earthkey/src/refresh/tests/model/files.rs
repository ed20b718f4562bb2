//! Files on which every call that others may notice is a point of the schedule.
//!
//! Nothing is synced and no room is set aside: power loss is the subject of another test.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::schedule::Seat;
use super::trace::Object;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::fs::File;
use crate::host::fs::Medium;
use crate::host::fs::Stat;
use crate::host::scripted::ScriptedFileSystem;
use crate::store::tests::DIRECTORY;
use crate::store::tests::PATH;

/// Files as one actor sees them.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) inner: ScriptedFileSystem,
    pub(super) seat: Seat,
    /// The ending of the files that everybody is told to have locked.
    pub(super) lying: &'static [&'static str],
    /// Where the files seem to lie: whether locks are believed to exclude anybody.
    pub(super) medium: Medium,
    /// Whether an exchange of names seems to bring out what was read before, whatever it was.
    pub(super) is_blind: bool,
    /// The home as it was read last.
    last_read: Arc<Mutex<Vec<u8>>>,
}

impl Files {
    pub(super) fn new(inner: ScriptedFileSystem, seat: Seat, lying: &'static [&'static str]) -> Self {
        Self { inner, seat, lying, medium: Medium::Local, is_blind: false, last_read: Arc::default() }
    }

    /// Writes the home as another program does: a new file takes the name of the old.
    pub(super) fn put(&self, bytes: &[u8]) {
        self.move_names("put", &[Path::new(PATH)]);
        self.inner.put(PATH, bytes);
        self.see_home();
    }

    /// Opens a file and empties it in one step.
    pub(super) fn truncate(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.seat.step();
        self.note("truncate", path, &[Object::name(path)], self.content(path).as_slice());
        let file = self.inner.open(path, false)?;
        file.set_len(0)?;
        self.see_home();
        Ok(self.opened(path, file))
    }

    /// Makes it matter what is in the home at this moment.
    pub(super) fn mark_home(&self, what: &'static str) {
        self.note(what, Path::new(PATH), self.content(PATH).as_slice(), &[Object::name(PATH)]);
    }

    /// Lets others go first, then notes a look at what a path leads to.
    fn look(&self, what: &'static str, path: &Path) {
        self.seat.step();
        let reads: Vec<Object> = [Object::name(path)].into_iter().chain(self.content(path)).collect();
        self.note(what, path, &reads, &[]);
    }

    /// Lets others go first, then notes that these names lead elsewhere now. Whoever does that
    /// decides whose bytes others find under them.
    fn move_names(&self, what: &'static str, names: &[&Path]) {
        self.seat.step();
        let contents: Vec<Object> = names.iter().filter_map(|path| self.content(path)).collect();
        let mut names_of: Vec<Object> = names.iter().map(Object::name).collect();
        if what != "exchange" {
            names_of.push(Object::Directory);
        }
        self.note(what, names[0], &contents, &names_of);
    }

    fn note(&self, what: &'static str, path: &Path, reads: &[Object], writes: &[Object]) {
        self.seat.touch(what, reads, writes);
        self.seat.tell(|| format!("{what} {}", short(path)));
    }

    fn opened(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(OpenFile {
            inode: file.stat().unwrap().identity.1,
            file: Some(file),
            files: self.clone(),
            path: path.to_owned(),
            is_lying: self.lying.iter().any(|ending| path.to_string_lossy().ends_with(ending)),
            is_locked: AtomicBool::new(false),
        })
    }

    fn content(&self, path: impl AsRef<Path>) -> Option<Object> {
        self.inner.stat_link(path.as_ref()).ok().map(|stat| Object::Content(stat.identity.1))
    }

    /// Lets the file server's clock go with everybody's.
    fn tick(&self) {
        self.inner.set_server_clock(self.seat.stage.clock.now());
    }

    fn see_home(&self) {
        self.seat.see_home(self.inner.get(PATH));
    }
}

/// Returns the last part of a path that tells it from others beside the home.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_prefix(".tokens.json.").map_or_else(|| name.clone(), str::to_owned)
}

impl FileSystem for Files {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.look("read", path);
        let bytes = self.inner.read(path, limit)?;
        if path == Path::new(PATH) {
            self.last_read.lock().unwrap().clone_from(&bytes);
        }
        Ok(bytes)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        // Nobody changes directories.
        if path.parent() == Some(Path::new(DIRECTORY)) {
            self.look("stat", path);
        }
        self.inner.stat(path)
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        self.look("stat", path);
        self.inner.stat_link(path)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.real_path(path)
    }

    fn is_mount_point(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_mount_point(path)
    }

    fn medium(&self, _: &Path) -> io::Result<Medium> {
        Ok(self.medium)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.seat.step();
        self.note("list", directory, &[Object::Directory], &[]);
        self.inner.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.create_directory(path)
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.move_names("create", &[path]);
        self.tick();
        self.inner.create_new(path, bytes)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        self.seat.step();
        if create && self.inner.stat_link(path).is_err() {
            self.note("create", path, &[], &[Object::name(path), Object::Directory]);
        } else {
            self.note("open", path, &[Object::name(path)], &[]);
        }
        Ok(self.opened(path, self.inner.open(path, create)?))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inner.set_mode(path, mode)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_names("link", &[to, from]);
        let outcome = self.inner.link(from, to);
        self.see_home();
        outcome
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_names("rename", &[to, from]);
        let outcome = self.inner.rename(from, to);
        self.see_home();
        outcome
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_names("rename_new", &[to, from]);
        let outcome = self.inner.rename_new(from, to);
        self.see_home();
        outcome
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.move_names("exchange", &[b, a]);
        let outcome = self.inner.exchange(a, b);
        if self.is_blind && outcome.is_ok() {
            let displaced = self.inner.open(a, false)?;
            let last_read = self.last_read.lock().unwrap();
            displaced.write_at(0, &last_read)?;
            displaced.set_len(last_read.len() as u64)?;
        }
        self.see_home();
        outcome
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.move_names("remove", &[path]);
        let outcome = self.inner.remove(path);
        self.see_home();
        outcome
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct OpenFile {
    /// `None` once it is closed.
    file: Option<Box<dyn File>>,
    files: Files,
    path: PathBuf,
    inode: u64,
    is_lying: bool,
    is_locked: AtomicBool,
}

impl OpenFile {
    fn file(&self) -> &dyn File {
        self.file.as_deref().expect("open")
    }

    fn change<T>(
        &self,
        what: &'static str,
        change: impl FnOnce(&dyn File) -> io::Result<T>,
    ) -> io::Result<T> {
        self.files.seat.step();
        self.files.note(what, &self.path, &[], &[Object::Content(self.inode)]);
        self.files.tick();
        let outcome = change(self.file());
        self.files.see_home();
        outcome
    }
}

impl File for OpenFile {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.files.seat.step();
        self.files.note("read", &self.path, &[Object::Content(self.inode)], &[]);
        self.file().read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change("write", |file| file.write_at(offset, bytes))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change("truncate", |file| file.set_len(len))
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change("release", |file| file.release(offset, len))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        if self.is_lying {
            return Ok(true);
        }
        self.files.seat.step();
        self.files.note("lock", &self.path, &[], &[Object::Lock(self.inode)]);
        let is_locked = self.file().try_lock()?;
        self.is_locked.store(is_locked, Ordering::Relaxed);
        Ok(is_locked)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.file().stat()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.file = None;
        if *self.is_locked.get_mut() {
            self.files.note("unlock", &self.path, &[], &[Object::Lock(self.inode)]);
        }
    }
}
