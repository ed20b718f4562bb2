//! Open files in memory.

use std::io;
use std::path::PathBuf;

use super::BLOCK;
use super::Inode;
use super::Locks;
use super::ScriptedFileSystem;
use super::blocks;
use crate::host::fs::File;
use crate::host::fs::Stat;

/// A file in memory that somebody has open.
pub(super) struct ScriptedFile {
    pub(super) fs: ScriptedFileSystem,
    pub(super) inode: u64,
    pub(super) handle: u64,
    pub(super) name: PathBuf,
}

impl ScriptedFile {
    fn take_room(&self, start: usize, end: usize) -> io::Result<()> {
        let mut state = self.fs.state();
        let is_full = state.is_full;
        let taken = &mut state.inodes.get_mut(&self.inode).expect("inodes are never dropped").blocks;
        let missing: Vec<usize> = blocks(start, end).filter(|block| !taken.contains(block)).collect();
        if is_full && !missing.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        taken.extend(missing);
        Ok(())
    }

    fn change<T>(&self, what: &str, change: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut state = self.fs.state();
        if state.inodes[&self.inode].is_broken {
            return Err(io::Error::other("the disk failed"));
        }
        state.step(format!("{what} {}", self.name.display()))?;
        Ok(change(state.inodes.get_mut(&self.inode).expect("inodes are never dropped")))
    }
}

impl File for ScriptedFile {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.fs.state();
        let content = &state.inodes[&self.inode].bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let len = bytes.len().min(content.len() - start);
        bytes[..len].copy_from_slice(&content[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start + bytes.len();
        self.take_room(start, end)?;
        let now = self.fs.state().server_clock;
        self.change("write", |inode| {
            inode.modified = now;
            if inode.bytes.len() < end {
                inode.bytes.resize(end, 0);
            }
            inode.bytes[start..end].copy_from_slice(bytes);
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change("truncate", |inode| {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            inode.bytes.resize(len, 0);
            inode.blocks.retain(|block| *block < len.div_ceil(BLOCK));
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = usize::try_from(offset + len).unwrap_or(usize::MAX);
        self.take_room(start, end)?;
        let writes = self.fs.state().no_allocation;
        self.change("allocate", |inode| {
            if inode.bytes.len() < end {
                inode.bytes.resize(end, 0);
            }
            if writes {
                inode.bytes[start..end].fill(0);
            }
        })
    }

    fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change("release", |inode| {
            let end = usize::try_from(offset + len).unwrap_or(usize::MAX).min(inode.bytes.len());
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
            inode.bytes[start..end].fill(0);
            let whole = start.div_ceil(BLOCK)..end / BLOCK;
            inode.blocks.retain(|block| !whole.contains(block));
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change("sync", |inode| inode.durable = inode.bytes.clone())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.fs.state();
        match state.locks {
            Locks::Exclude => {}
            Locks::Lie => return Ok(true),
            Locks::Unknown => return Err(io::ErrorKind::Unsupported.into()),
        }
        let inode = state.inodes.get_mut(&self.inode).expect("inodes are never dropped");
        match inode.locked_by {
            Some(other) if other != self.handle => Ok(false),
            _ => {
                inode.locked_by = Some(self.handle);
                Ok(true)
            }
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(self.fs.state().stat(self.inode))
    }
}

impl Drop for ScriptedFile {
    fn drop(&mut self) {
        // A test that panicked elsewhere has poisoned the lock; its own message matters more.
        if let Ok(mut state) = self.fs.0.lock() {
            let inode = state.inodes.get_mut(&self.inode).expect("inodes are never dropped");
            if inode.locked_by == Some(self.handle) {
                inode.locked_by = None;
            }
        }
    }
}
