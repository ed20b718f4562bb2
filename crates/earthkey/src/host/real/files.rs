//! Files of this machine.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;

use crate::host::fs::Denied;
use crate::host::fs::File;
use crate::host::fs::FileKind;
use crate::host::fs::FileSystem;
use crate::host::fs::Medium;
use crate::host::fs::Stat;

/// Files of this machine.
#[derive(Debug, Default)]
pub struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // Not to be held up for ever by a pipe that stands where a file should.
        let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path);
        let file = file.map_err(|error| blamed(error, path, Use::File))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0));
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than expected"));
        }
        Ok(bytes)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let metadata = fs::metadata(path).map_err(|error| blamed(error, path, Use::File))?;
        Ok(describe(&metadata))
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        fs::symlink_metadata(path).map(|metadata| describe(&metadata))
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path).map_err(|error| blamed(error, path, Use::File))
    }

    #[cfg(target_os = "linux")]
    fn is_mount_point(&self, path: &Path) -> io::Result<bool> {
        use rustix::fs::AtFlags;
        use rustix::fs::CWD;
        use rustix::fs::StatxAttributes;
        use rustix::fs::StatxFlags;
        match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
            Ok(stat) if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
                return Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
            }
            Err(error) if error != rustix::io::Errno::NOSYS => return Err(error.into()),
            // Before Linux 5.8 a file does not say so itself.
            _ => {}
        }
        Ok(lists_mount_point(&fs::read("/proc/self/mountinfo")?, path))
    }

    #[cfg(not(target_os = "linux"))]
    fn is_mount_point(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory)
            .map_err(|error| blamed(error, directory, Use::File))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| blamed(error, path, Use::Name))
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        made.map_err(|error| blamed(error, path, Use::Name))?.write_all(bytes)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn File>> {
        let open = |write: bool| {
            let mut options = OpenOptions::new();
            options.read(true).write(write).create(create).mode(0o600).custom_flags(NOFOLLOW | NONBLOCK);
            options.open(path)
        };
        let file = match open(true) {
            // What cannot be written can still be read.
            Err(error) if !create && error.kind() == io::ErrorKind::ReadOnlyFilesystem => open(false)?,
            // A file that is not there yet is missed in its folder.
            opened => opened.map_err(|error| blamed(error, path, Use::File))?,
        };
        Ok(Box::new(RealFile(file)))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set.map_err(|error| blamed(error, path, Use::File))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to).map_err(|error| blamed(error, to, Use::Name))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|error| blamed(error, to, Use::Name))
    }

    #[cfg(target_os = "linux")]
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_as(from, to, rustix::fs::RenameFlags::NOREPLACE)
    }

    #[cfg(not(target_os = "linux"))]
    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        rename_as(a, b, rustix::fs::RenameFlags::EXCHANGE)
    }

    #[cfg(not(target_os = "linux"))]
    fn exchange(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|error| blamed(error, path, Use::Name))
    }

    #[cfg(target_os = "linux")]
    fn medium(&self, directory: &Path) -> io::Result<Medium> {
        let kind = u64::try_from(rustix::fs::statfs(directory)?.f_type).unwrap_or(0);
        Ok(match kind {
            _ if LOCAL.contains(&kind) => Medium::Local,
            _ if EPHEMERAL.contains(&kind) => Medium::Ephemeral,
            _ => Medium::Shared,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn medium(&self, _: &Path) -> io::Result<Medium> {
        Ok(Medium::Shared)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(directory)?.sync_all()
    }
}

/// What of a path is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// What it leads to.
    File,
    /// Its name, which belongs to the folder that it is in.
    Name,
}

/// Says which file or folder is to blame where the system says that permission is denied.
fn blamed(error: io::Error, path: &Path, used: Use) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    // The nearest that can be looked at is what lets nobody further.
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let nearest = path.ancestors().find(|path| is_there(path)).unwrap_or(path);
    let at_fault = match used {
        Use::Name if nearest == path => path.parent().unwrap_or(path),
        Use::Name | Use::File => nearest,
    };
    let is_folder = fs::metadata(at_fault).is_ok_and(|metadata| metadata.is_dir());
    io::Error::new(error.kind(), Denied { path: at_fault.to_owned(), is_folder })
}

/// File systems on disks of this machine, by what `statfs` calls them: ext, XFS, Btrfs, ZFS, F2FS
/// (linux/magic.h).
#[cfg(target_os = "linux")]
const LOCAL: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010];

/// File systems that end with the machine or the container: tmpfs, ramfs, overlay.
#[cfg(target_os = "linux")]
const EPHEMERAL: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x794c_7630];

/// Renames as the kernel alone can.
#[cfg(target_os = "linux")]
fn rename_as(from: &Path, to: &Path, flags: rustix::fs::RenameFlags) -> io::Result<()> {
    use rustix::fs::CWD;
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        outcome => Ok(outcome?),
    }
}

/// Returns whether something is mounted at `path`, as the list of mounts has it
/// (`proc_pid_mountinfo(5)`): with blanks and backslashes as octal numbers.
#[cfg(target_os = "linux")]
fn lists_mount_point(mounts: &[u8], path: &Path) -> bool {
    let mut listed = Vec::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => listed.extend(format!("\\{byte:03o}").bytes()),
            byte => listed.push(*byte),
        }
    }
    mounts
        .split(|byte| *byte == b'\n')
        .any(|mount| mount.split(|byte| *byte == b' ').nth(4) == Some(&*listed))
}

/// Whether a lock failed for want of locks, as over NFS without a lock daemon.
fn knows_no_locks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unknown = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| unknown.contains(&code))
}

#[expect(clippy::cast_possible_wrap, reason = "open flags are small bit sets")]
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits() as i32;
#[expect(clippy::cast_possible_wrap, reason = "open flags are small bit sets")]
const NONBLOCK: i32 = OFlags::NONBLOCK.bits() as i32;

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.0.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), offset, len) {
            // Where room cannot be set aside, zeros take it.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.0.write_all_at(&vec![0; usize::try_from(len).unwrap_or(0)], offset)
            }
            outcome => Ok(outcome?),
        }
    }

    fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.0, flags, offset, len)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) if knows_no_locks(&error) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        self.0.metadata().map(|metadata| describe(&metadata))
    }
}

fn describe(metadata: &fs::Metadata) -> Stat {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Link,
        _ => FileKind::Other,
    };
    Stat {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: metadata.uid(),
        len: metadata.len(),
        links: metadata.nlink(),
        identity: (metadata.dev(), metadata.ino()),
        modified: u64::try_from(metadata.mtime()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mount_point_is_known_by_the_list_of_mounts_too() {
        let mounts = b"36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw\n\
                       37 36 98:0 /x/token.json /home/a\\040b/token.json rw - ext4 /dev/root rw\n";
        for (path, expected) in [
            ("/", true),
            ("/home/a b/token.json", true),
            ("/home/a b", false),
            ("/x/token.json", false),
            ("/home/a\\040b/token.json", false),
        ] {
            assert_eq!(lists_mount_point(mounts, Path::new(path)), expected, "{path}");
        }
        // What this machine says of itself, by both ways.
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        for path in ["/", "/proc", "/proc/self"] {
            let path = Path::new(path);
            assert_eq!(RealFileSystem.is_mount_point(path).unwrap(), lists_mount_point(&mounts, path));
        }
    }

    #[test]
    fn a_name_is_taken_only_where_nothing_has_it() {
        let folder = std::env::temp_dir().join(format!("earthkey-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        match RealFileSystem.rename_new(&from, &to).unwrap_err().kind() {
            io::ErrorKind::AlreadyExists => {
                fs::remove_file(&to).unwrap();
                RealFileSystem.rename_new(&from, &to).unwrap();
                assert_eq!(fs::read(&to).unwrap(), b"new");
            }
            kind => assert_eq!((kind, cfg!(target_os = "linux")), (io::ErrorKind::Unsupported, false)),
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
