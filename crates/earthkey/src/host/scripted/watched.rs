//! Files with somebody who is told of every call before it is made: what a test uses to let others
//! act at that moment, or to let the call fail.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::ScriptedFileSystem;
use crate::host::fs::File;
use crate::host::fs::FileSystem;
use crate::host::fs::Medium;
use crate::host::fs::Stat;

type Before = dyn Fn(&str, &Path) -> io::Result<()> + Send + Sync;

/// A scripted file system that says what it is about to do, and to which path.
pub struct WatchedFileSystem {
    fs: ScriptedFileSystem,
    before: Arc<Before>,
}

impl WatchedFileSystem {
    /// Makes a view of `fs` that calls `before` first, each time.
    pub fn new(fs: &ScriptedFileSystem, before: impl Fn(&str, &Path) + Send + Sync + 'static) -> Self {
        Self::failing(fs, move |call, path| {
            before(call, path);
            Ok(())
        })
    }

    /// Makes a view of `fs` in which a call fails where `before` does.
    pub fn failing(
        fs: &ScriptedFileSystem,
        before: impl Fn(&str, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { fs: fs.clone(), before: Arc::new(before) }
    }

    fn before(&self, call: &str, path: &Path) -> io::Result<&ScriptedFileSystem> {
        (self.before)(call, path)?;
        Ok(&self.fs)
    }
}

impl FileSystem for WatchedFileSystem {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.before("read", path)?.read(path, limit)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.before("stat", path)?.stat(path)
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        self.before("stat", path)?.stat_link(path)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.before("resolve", path)?.real_path(path)
    }

    fn is_mount_point(&self, path: &Path) -> io::Result<bool> {
        self.before("statx", path)?.is_mount_point(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.before("list", directory)?.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.before("mkdir", path)?.create_directory(path)
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.before("create", path)?.create_new(path, bytes)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let file = self.before("open", path)?.open(path, create)?;
        Ok(Box::new(WatchedFile { file, path: path.to_owned(), before: self.before.clone() }))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.before("chmod", path)?.set_mode(path, mode)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before("link", to)?.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before("rename", to)?.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before("rename_new", to)?.rename_new(from, to)
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.before("exchange", b)?.exchange(a, b)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.before("remove", path)?.remove(path)
    }

    fn medium(&self, directory: &Path) -> io::Result<Medium> {
        self.fs.medium(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.before("sync", directory)?.sync_directory(directory)
    }
}

struct WatchedFile {
    file: Box<dyn File>,
    path: PathBuf,
    before: Arc<Before>,
}

impl File for WatchedFile {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.before)("write", &self.path)?;
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }

    fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.release(offset, len)
    }

    fn sync(&self) -> io::Result<()> {
        (self.before)("sync", &self.path)?;
        self.file.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }
}
