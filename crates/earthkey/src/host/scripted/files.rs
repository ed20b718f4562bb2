//! Files in memory, with what a power loss would leave of them.

mod open;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use self::open::ScriptedFile;
use crate::host::fs::File;
use crate::host::fs::FileKind;
use crate::host::fs::FileSystem;
use crate::host::fs::Medium;
use crate::host::fs::Stat;

/// The user who owns every scripted file.
pub(super) const USER: u32 = 1000;

/// Files in memory. Content is durable once its file was synced, a name once its directory was.
#[derive(Clone, Default)]
pub struct ScriptedFileSystem(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names that are not durable yet, in their order, and the names after the last of them.
    pending: (Vec<NameChange>, BTreeMap<PathBuf, u64>),
    next_inode: u64,
    next_handle: u64,
    /// Changes so far, by name: what a test cuts short.
    steps: Vec<String>,
    power_fails_at: Option<usize>,
    no_exchange: bool,
    no_links: bool,
    no_rename_new: bool,
    no_allocation: bool,
    mount_points: BTreeSet<PathBuf>,
    removed_once_opened: Option<PathBuf>,
    is_read_only: bool,
    is_full: bool,
    locks: Locks,
    is_ephemeral: bool,
    /// The file server's clock, in Unix seconds.
    server_clock: u64,
}

/// What a call changes of names at once: where each leads from then on, if anywhere.
type NameChange = BTreeMap<PathBuf, Option<u64>>;

/// What locks are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locks {
    /// As on a local file system: one holder at a time.
    #[default]
    Exclude,
    /// As on some file systems of a network: everybody is told that they hold it.
    Lie,
    /// There are none.
    Unknown,
}

#[derive(Clone)]
struct Inode {
    kind: FileKind,
    mode: u32,
    owner: u32,
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Whether writing fails.
    is_broken: bool,
    /// The blocks that take up room.
    blocks: BTreeSet<usize>,
    locked_by: Option<u64>,
    /// When it was last written, by the file server's clock.
    modified: u64,
}

const BLOCK: usize = 4096;

fn blocks(start: usize, end: usize) -> std::ops::Range<usize> {
    start / BLOCK..end.div_ceil(BLOCK)
}

impl ScriptedFileSystem {
    /// Writes a file as another program would: whole, durable, with its directories.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.put_with_mode(path, bytes, 0o600);
    }

    /// Writes a file as another program would, with a mode.
    pub fn put_with_mode(&self, path: &str, bytes: &[u8], mode: u32) {
        let path = Path::new(path);
        let mut state = self.state();
        state.note_names();
        state.make_directories(path.parent().expect("scripted paths are absolute"));
        let inode = state.add(FileKind::File, mode, bytes);
        state.inodes.get_mut(&inode).expect("just added").durable = bytes.to_vec();
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
        state.pending.1 = state.names.clone();
    }

    /// Returns a file's bytes, if there is one.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(Path::new(path)).map(|inode| state.inodes[inode].bytes.clone())
    }

    /// Returns every file's path.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        let is_file = |inode: &u64| state.inodes[inode].kind == FileKind::File;
        state.names.iter().filter(|(_, inode)| is_file(inode)).map(|(path, _)| path.clone()).collect()
    }

    /// Returns the changes so far.
    pub fn steps(&self) -> Vec<String> {
        self.state().steps.clone()
    }

    /// Makes the change with this number, and all after it, fail.
    pub fn fail_power_at(&self, step: usize) {
        self.state().power_fails_at = Some(step);
    }

    /// Makes `exchange` unsupported, as on file systems without it.
    pub fn without_exchange(&self) {
        self.state().no_exchange = true;
    }

    /// Makes `link` unsupported, as on file systems without it.
    pub fn without_links(&self) {
        self.state().no_links = true;
    }

    /// Makes `rename_new` unsupported, as on file systems without it.
    pub fn without_rename_new(&self) {
        self.state().no_rename_new = true;
    }

    /// Makes room by writing zeros, as where a file system cannot set it aside.
    pub fn allocate_by_writing(&self) {
        self.state().no_allocation = true;
    }

    /// Makes every change fail, as on a file system that is mounted read-only.
    pub fn make_read_only(&self) {
        self.state().is_read_only = true;
    }

    /// Makes locks worth this much.
    pub fn set_locks(&self, locks: Locks) {
        self.state().locks = locks;
    }

    /// Lets all files end with the machine.
    pub fn make_ephemeral(&self) {
        self.state().is_ephemeral = true;
    }

    /// Sets the file server's clock, in Unix seconds.
    pub fn set_server_clock(&self, now: u64) {
        self.state().server_clock = now;
    }

    /// Leaves no room but what files have been given already.
    pub fn fill_disk(&self) {
        self.state().is_full = true;
    }

    /// Sets the mode of a file or directory.
    pub fn set_mode_of(&self, path: &str, mode: u32) {
        let mut state = self.state();
        let inode = state.find(Path::new(path)).expect("the test put it there");
        state.inodes.get_mut(&inode).expect("found").mode = mode;
    }

    /// Returns the mode of a file or directory.
    pub fn mode_of(&self, path: &Path) -> u32 {
        let state = self.state();
        state.inodes[&state.find(path).expect("the test knows that it is there")].mode
    }

    /// Removes a file as another program would.
    pub fn forget(&self, path: &Path) {
        self.state().names.remove(path);
    }

    /// Removes a file right after it is opened next, as another program would.
    pub fn remove_once_opened(&self, path: &Path) {
        self.state().removed_once_opened = Some(path.to_owned());
    }

    /// Makes every write to a file fail, as on a disk that is worn out there.
    pub fn fail_writes_to(&self, path: &str) {
        let mut state = self.state();
        let inode = state.find(Path::new(path)).expect("the test put it there");
        state.inodes.get_mut(&inode).expect("found").is_broken = true;
    }

    /// Gives a file or directory to another user.
    pub fn give_to(&self, path: &str, owner: u32) {
        let mut state = self.state();
        let inode = state.find(Path::new(path)).expect("the test put it there");
        state.inodes.get_mut(&inode).expect("found").owner = owner;
    }

    /// Makes `path` a mount point.
    pub fn mount(&self, path: &str) {
        self.state().mount_points.insert(PathBuf::from(path));
    }

    /// Returns what a machine finds when the power comes back.
    pub fn after_power_loss(&self, kept: Kept) -> Self {
        let mut old = self.state();
        old.note_names();
        let names = match kept {
            Kept::DurableOnly | Kept::Bytes => old.durable_names.clone(),
            Kept::Names | Kept::Torn | Kept::All => old.names.clone(),
            Kept::Some { changes, .. } => old.names_with(changes),
        };
        let all_bytes = matches!(kept, Kept::Bytes | Kept::All | Kept::Some { all_bytes: true, .. });
        let mut inodes = old.inodes.clone();
        for inode in inodes.values_mut().filter(|inode| inode.kind == FileKind::File) {
            inode.locked_by = None;
            inode.durable = match kept {
                Kept::Torn => torn(&inode.durable, &inode.bytes),
                _ if all_bytes => inode.bytes.clone(),
                _ => inode.durable.clone(),
            };
            inode.bytes.clone_from(&inode.durable);
        }
        let new = State {
            inodes,
            pending: (Vec::new(), names.clone()),
            durable_names: names.clone(),
            names,
            next_inode: old.next_inode,
            next_handle: old.next_handle,
            no_exchange: old.no_exchange,
            no_links: old.no_links,
            no_rename_new: old.no_rename_new,
            no_allocation: old.no_allocation,
            mount_points: old.mount_points.clone(),
            ..State::default()
        };
        Self(Arc::new(Mutex::new(new)))
    }

    /// Returns the ways in which some of the changes of names survive that were not synced, and others
    /// do not: a rename overtakes another.
    pub fn some_kept(&self) -> Vec<Kept> {
        let mut state = self.state();
        state.note_names();
        let number = state.pending.0.len();
        assert!(number < 10, "{number} changes of names are not durable");
        let all = (1 << number) - 1;
        let kept = (1..all).map(|changes| [false, true].map(|all_bytes| Kept::Some { changes, all_bytes }));
        kept.flatten().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while holding it")
    }
}

/// How much of what was not synced survives a power loss: a kernel writes back what it likes, in
/// the order it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    DurableOnly,
    /// Names, but not what was written to files.
    Names,
    /// What was written to files, but not names.
    Bytes,
    /// Names, and the first half of what was written to each file.
    Torn,
    /// Everything.
    All,
    /// The changes of names whose bit is set, in their order, with all that was written to files or
    /// without.
    Some {
        /// A bit for each change that was not synced, the oldest first.
        changes: u32,
        /// Whether what was written to files is kept.
        all_bytes: bool,
    },
}

impl Kept {
    /// Every way in which all names share a fate.
    pub const EVERY: [Self; 5] = [Self::DurableOnly, Self::Names, Self::Bytes, Self::Torn, Self::All];
}

/// Returns `old` with the first half of what differs in `new`.
fn torn(old: &[u8], new: &[u8]) -> Vec<u8> {
    if old == new {
        return old.to_vec();
    }
    let at = |bytes: &[u8], i: usize| bytes.get(i).copied().unwrap_or(0);
    let len = old.len().max(new.len());
    let differ: Vec<usize> = (0..len).filter(|i| at(old, *i) != at(new, *i)).collect();
    let mut torn = old.to_vec();
    for i in &differ[..differ.len() / 2] {
        if torn.len() <= *i {
            torn.resize(i + 1, 0);
        }
        torn[*i] = at(new, *i);
    }
    torn
}

impl State {
    /// Notes what the last call changed of names.
    fn note_names(&mut self) {
        let (names, (pending, noted)) = (&self.names, &mut self.pending);
        let paths: BTreeSet<_> = names.keys().chain(noted.keys()).collect();
        let differs = |path: &&&PathBuf| names.get(**path) != noted.get(**path);
        let change: NameChange =
            paths.iter().filter(differs).map(|path| ((*path).clone(), names.get(*path).copied())).collect();
        if !change.is_empty() {
            noted.clone_from(names);
            pending.push(change);
        }
    }

    /// Returns the durable names with these changes.
    fn names_with(&self, changes: u32) -> BTreeMap<PathBuf, u64> {
        let mut names = self.durable_names.clone();
        let kept = self.pending.0.iter().enumerate().filter(|(number, _)| changes >> number & 1 == 1);
        for (path, inode) in kept.flat_map(|(_, change)| change) {
            match inode {
                Some(inode) => names.insert(path.clone(), *inode),
                None => names.remove(path),
            };
        }
        names
    }

    fn step(&mut self, what: String) -> io::Result<()> {
        self.note_names();
        if self.power_fails_at.is_some_and(|at| self.steps.len() >= at) {
            return Err(io::Error::other("the power is off"));
        }
        if self.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.steps.push(what);
        Ok(())
    }

    fn add(&mut self, kind: FileKind, mode: u32, bytes: &[u8]) -> u64 {
        self.next_inode += 1;
        let inode = Inode {
            kind,
            mode,
            owner: USER,
            bytes: bytes.to_vec(),
            durable: Vec::new(),
            is_broken: false,
            blocks: blocks(0, bytes.len()).collect(),
            locked_by: None,
            modified: self.server_clock,
        };
        self.inodes.insert(self.next_inode, inode);
        self.next_inode
    }

    fn make_directories(&mut self, path: &Path) {
        for directory in path.ancestors() {
            if !self.names.contains_key(directory) {
                let inode = self.add(FileKind::Directory, 0o700, &[]);
                self.names.insert(directory.to_owned(), inode);
                self.durable_names.insert(directory.to_owned(), inode);
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        self.find(path.parent().unwrap_or(Path::new("/"))).map(|_| ())
    }

    fn stat(&self, inode: u64) -> Stat {
        let file = &self.inodes[&inode];
        Stat {
            kind: file.kind,
            mode: file.mode,
            owner: file.owner,
            len: file.bytes.len() as u64,
            links: self.names.values().filter(|other| **other == inode).count() as u64,
            identity: (1, inode),
            modified: file.modified,
        }
    }
}

impl FileSystem for ScriptedFileSystem {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = &state.inodes[&state.find(path)?];
        if file.kind != FileKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if file.bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than expected"));
        }
        Ok(file.bytes.clone())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.state();
        Ok(state.stat(state.find(path)?))
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        self.stat(path)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.state().find(path).map(|_| path.to_owned())
    }

    fn is_mount_point(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.mount_points.contains(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.find(directory)?;
        Ok(state.names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            state.step(format!("mkdir {}", path.display()))?;
        }
        state.make_directories(path);
        Ok(())
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.parent_exists(path)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.step(format!("create {}", path.display()))?;
        let inode = state.add(FileKind::File, 0o600, bytes);
        state.names.insert(path.to_owned(), inode);
        Ok(())
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.parent_exists(path)?;
        let inode = match state.find(path) {
            Ok(inode) => inode,
            Err(_) if create => {
                state.step(format!("create {}", path.display()))?;
                let inode = state.add(FileKind::File, 0o600, &[]);
                state.names.insert(path.to_owned(), inode);
                inode
            }
            Err(error) => return Err(error),
        };
        if state.removed_once_opened.as_deref() == Some(path) {
            state.removed_once_opened = None;
            state.names.remove(path);
        }
        state.next_handle += 1;
        let handle = state.next_handle;
        Ok(Box::new(ScriptedFile { fs: self.clone(), inode, handle, name: path.to_owned() }))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(path)?;
        state.step(format!("chmod {}", path.display()))?;
        state.inodes.get_mut(&inode).expect("found").mode = mode;
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(from)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.no_links {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.step(format!("link {}", to.display()))?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(from)?;
        state.parent_exists(to)?;
        state.step(format!("rename {}", to.display()))?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = self.state();
        if state.no_rename_new {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        drop(state);
        self.rename(from, to)
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.no_exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (first, second) = (state.find(a)?, state.find(b)?);
        state.step(format!("exchange {}", b.display()))?;
        state.names.insert(a.to_owned(), second);
        state.names.insert(b.to_owned(), first);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.step(format!("remove {}", path.display()))?;
        state.names.remove(path);
        Ok(())
    }

    fn medium(&self, _: &Path) -> io::Result<Medium> {
        let state = self.state();
        Ok(match state.locks {
            Locks::Exclude if state.is_ephemeral => Medium::Ephemeral,
            Locks::Exclude => Medium::Local,
            Locks::Lie | Locks::Unknown => Medium::Shared,
        })
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(directory)?;
        state.step(format!("sync {}", directory.display()))?;
        let inside = |path: &PathBuf| path.parent() == Some(directory);
        let names = state.names.clone();
        state.durable_names.retain(|path, _| !inside(path));
        state.durable_names.extend(names.into_iter().filter(|(path, _)| inside(path)));
        for change in &mut state.pending.0 {
            change.retain(|path, _| !inside(path));
        }
        state.pending.0.retain(|change| !change.is_empty());
        Ok(())
    }
}
