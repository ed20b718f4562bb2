//! Opening and reading files that others may change, replace or make into something else.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Opens a regular file, following symbolic links; `None` if nothing is there.
///
/// The path is looked at before it is opened, because opening a pipe already disturbs its writer and
/// opening a device may do anything. Without `NONBLOCK` a pipe put there in between would block.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let opened = rustix::fs::stat(path)
        .and_then(|stat| if is_regular(&stat) { open(path) } else { Err(Errno::INVAL) })
        .and_then(|file| if is_regular(&rustix::fs::fstat(&file)?) { Ok(file) } else { Err(Errno::INVAL) });
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_absence(error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a path leads to a directory.
pub(crate) fn is_directory(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Returns whether an error says that nothing is at a path.
pub(crate) fn is_absence(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR)
}

pub(crate) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Reads a file to its end; `None` if that is farther than `max` bytes.
pub(crate) fn read_bounded(file: &File, size: usize, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::with_capacity(size.min(max) + 1);
    file.take(max as u64 + 1).read_to_end(&mut content)?;
    Ok((content.len() <= max).then_some(content))
}

fn open(path: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::io::FdFlags;

    use super::*;

    /// A program that is run gets no file of ours, and a pipe that takes a file's place between the look
    /// and the opening stops nobody.
    #[test]
    fn what_is_opened_is_not_inherited_and_never_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let file = open_regular(&path).unwrap().unwrap();
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
        assert!(rustix::fs::fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_file_is_read_to_its_bound_whatever_size_it_had_before() {
        for length in [0, 1, 7, 8, 9] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&b"12345678."[..length]).unwrap();
            for size in [0, length, 100] {
                use std::io::Seek as _;

                file.rewind().unwrap();
                let expected = (length <= 8).then(|| b"12345678"[..length.min(8)].to_vec());
                assert_eq!(read_bounded(&file, size, 8).unwrap(), expected, "{length} bytes, once {size}");
            }
        }
    }
}
