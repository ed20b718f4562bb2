//! The file-system seam: what a store that must survive power loss needs, and no more.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::word;

/// Files. Paths are absolute; errors are the system's own, with [`Denied`] in those of permissions.
pub trait FileSystem: Send + Sync {
    /// Reads a whole file of at most `limit` bytes, links followed.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Describes what `path` leads to, links followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Describes `path` itself.
    fn stat_link(&self, path: &Path) -> io::Result<Stat>;

    /// Resolves every link on the way.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf>;

    /// Returns whether something is mounted at `path`: such a name cannot be replaced.
    fn is_mount_point(&self, path: &Path) -> io::Result<bool>;

    /// Lists a directory's names, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a directory and its parents, mode 0700; an existing one is left as it is.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes a file that does not exist yet, mode 0600 from the first byte, not yet durable.
    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Opens a file of our own to read and write at offsets, never through a link; makes it
    /// (0600) where `create`.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>>;

    /// Sets a file's permission bits.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Gives a file a second name; fails where that name exists.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames where nothing is in the way: `AlreadyExists` where something is, `Unsupported` where the
    /// system cannot look and rename in one step.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Exchanges two names in one step; `Unsupported` where the system cannot.
    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns what keeps the files of `directory`.
    fn medium(&self, directory: &Path) -> io::Result<Medium>;

    /// Makes names in `directory` durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// What keeps the files of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A disk of this machine.
    Local,
    /// Memory, or the layer of a container: gone with the machine or the container.
    Ephemeral,
    /// Something that other machines may have, too, or of which nothing is known.
    Shared,
}

impl Medium {
    /// Returns whether a lock on a file is known to exclude everybody else; on a file system of a network
    /// it may exclude nobody.
    pub fn locks_exclude(self) -> bool {
        self != Self::Shared
    }
}

/// An open file of our own.
pub trait File: Send + Sync {
    /// Reads at `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes room on the disk, so that a later write cannot fail for lack of it.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Gives room back; what was there reads as zeros.
    fn release(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;

    /// Takes the file's exclusive lock if nobody holds it; it ends with this handle. `Unsupported`
    /// where the file system knows no locks.
    fn try_lock(&self) -> io::Result<bool>;

    /// Describes the open file, so that it can be compared with what its path now leads to.
    fn stat(&self) -> io::Result<Stat>;
}

/// What the store needs to know of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, set-id and sticky bits included (`0o7777`).
    pub mode: u32,
    /// The owner's user id.
    pub owner: u32,
    /// Bytes.
    pub len: u64,
    /// Names.
    pub links: u64,
    /// Device and inode: what the file is, whatever it is called.
    pub identity: (u64, u64),
    /// When it was last changed, in Unix seconds.
    pub modified: u64,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// What did not let this process use a path: the file itself, or a folder on the way to it.
#[derive(Debug, thiserror::Error)]
#[error("permission denied by the {} `{}`", if *.is_folder { "folder" } else { "file" }, .path.display())]
pub struct Denied {
    /// The file or the folder.
    pub path: PathBuf,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Makes an error of kind `Store` for `path`, with what to do about its cause.
pub(crate) fn unusable(what: &str, path: &Path, error: io::Error) -> Error {
    let denied = error.get_ref().and_then(|inner| inner.downcast_ref::<Denied>());
    let at_fault = word(denied.map_or(path, |denied| &denied.path).display());
    // Where files of our own lie, one variable moves them; others lie where their own clients look.
    let is_ours = path.components().any(|part| part.as_os_str() == "earthkey");
    let elsewhere = if is_ours {
        "set `EARTHKEY_HOME` to a folder that can be written"
    } else {
        "set the variable of the system's own client for its folder, or `HOME`, to a place that can be written"
    };
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => format!("look at `ls -ld {at_fault}`: it must be yours to use"),
        io::ErrorKind::ReadOnlyFilesystem => format!("the file system is read-only: {elsewhere}"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room on the file system of `{}`", path.display())
        }
        _ => format!("look at what is there: `ls -ld {}`", word(path.display())),
    };
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    let error = Error::store(format!("{what} `{}`", path.display())).caused_by(error).hint(hint);
    if is_denied && is_ours { error.hint(format!("or {elsewhere}")) } else { error }
}
