//! What was said until the filter is asked: in memory while it is little, then in a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// So much stays in memory.
const LITTLE: usize = 64 * 1024;

/// Bytes in the order in which they came.
pub(super) struct Spool {
    directory: PathBuf,
    memory: Vec<u8>,
    /// What came before `memory`.
    file: Option<File>,
}

impl Spool {
    /// Empty; a file would be made in `directory`.
    pub(super) fn new(directory: &Path) -> Spool {
        Spool { directory: directory.to_path_buf(), memory: Vec::new(), file: None }
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.memory.len() + bytes.len() > LITTLE {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(sys::durable::scratch(&self.directory)?),
            };
            file.write_all(&self.memory)?;
            self.memory.clear();
            if bytes.len() > LITTLE {
                return file.write_all(bytes);
            }
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// Back to the beginning.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.seek(SeekFrom::Start(0)).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The next piece; empty at the end.
    pub(super) fn next(&mut self) -> io::Result<Vec<u8>> {
        if let Some(file) = &mut self.file {
            let mut piece = vec![0; LITTLE];
            let n = file.read(&mut piece)?;
            if n > 0 {
                piece.truncate(n);
                return Ok(piece);
            }
            self.file = None;
        }
        Ok(std::mem::take(&mut self.memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &mut Spool) -> Vec<u8> {
        spool.rewind().unwrap();
        let mut out = Vec::new();
        loop {
            let piece = spool.next().unwrap();
            if piece.is_empty() {
                return out;
            }
            out.extend(piece);
        }
    }

    #[test]
    fn little_and_much() {
        let directory = std::env::temp_dir();
        for (size, times) in [(0, 1), (10, 3), (LITTLE, 1), (LITTLE, 2), (1000, 200), (3 * LITTLE, 2), (1, 9)]
        {
            let mut spool = Spool::new(&directory);
            let mut expected = Vec::new();
            for n in 0..times {
                let piece = vec![n as u8; size];
                spool.write(&piece).unwrap();
                expected.extend(piece);
            }
            assert!(spool.memory.len() <= LITTLE);
            assert_eq!(spool.file.is_some(), expected.len() > LITTLE);
            assert!(all(&mut spool) == expected, "{size} x {times}");
        }
    }

    #[test]
    fn nowhere_to_write() {
        let mut spool = Spool::new(Path::new("/nonexistent"));
        assert!(spool.write(&[0; 10]).is_ok());
        assert!(spool.write(&[0; LITTLE]).is_err());
    }
}
