//! A file in memory that nobody can change any more: how content is handed to another process.

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Seek, Write};

/// A sealed file with this content, positioned at its start, close-on-exec.
pub fn sealed(content: &[u8]) -> io::Result<File> {
    sealed_pieces(&[content])
}

/// The same with several pieces, one after the other.
pub fn sealed_pieces(pieces: &[&[u8]]) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"message", flags)?);
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn content_is_read_back_and_cannot_be_changed() {
        let mut file = sealed(b"hola\r\n").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hola\r\n");
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(1).is_err());
    }
}
