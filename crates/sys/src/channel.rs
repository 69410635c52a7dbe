//! A socket pair between two of our processes: whole messages, descriptors travelling along.

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The longest message, bytes.
pub const LONGEST: usize = 64 * 1024;
/// The most descriptors with one message.
pub const MOST_DESCRIPTORS: usize = 4;

/// One end. Order and message borders are kept (SOCK_SEQPACKET).
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two ends, both close-on-exec and blocking.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel(a), Channel(b)))
    }

    /// An end that the parent passed on.
    pub fn from_descriptor(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// From now on calls that would wait fail with `WouldBlock`.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        let flags = nix::fcntl::fcntl(&self.0, nix::fcntl::FcntlArg::F_GETFL)?;
        let flags = nix::fcntl::OFlag::from_bits_truncate(flags) | nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&self.0, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        Ok(())
    }

    /// Says that nothing more will be sent; the peer reads its end, and can still answer.
    pub fn finish(&self) -> io::Result<()> {
        Ok(nix::sys::socket::shutdown(self.0.as_raw_fd(), nix::sys::socket::Shutdown::Write)?)
    }

    /// Sends one message with descriptors. A peer that is gone gives `BrokenPipe`, no signal.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(message)], control, flags, None)?;
        Ok(())
    }

    /// Receives one message and its descriptors; `None` when the peer is gone. A message that was
    /// cut off is an error.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; LONGEST];
        let mut space = nix::cmsg_space!([i32; MOST_DESCRIPTORS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        // A peer that went without reading all it was sent: the error comes once, before what it said.
        // Asking for it clears it.
        let _ = nix::sys::socket::getsockopt(&self.0, nix::sys::socket::sockopt::SocketError);
        let mut pieces = [IoSliceMut::new(&mut buffer)];
        let got = recvmsg::<()>(self.0.as_raw_fd(), &mut pieces, Some(&mut space), flags)?;
        let mut descriptors = Vec::new();
        for message in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these descriptors for us; nothing else owns them.
                descriptors.extend(raw.into_iter().map(|n| unsafe { OwnedFd::from_raw_fd(n) }));
            }
        }
        let (length, cut) = (got.bytes, got.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC));
        if cut {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut off"));
        }
        if length == 0 && descriptors.is_empty() {
            return Ok(None);
        }
        buffer.truncate(length);
        Ok(Some((buffer, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn messages_keep_borders_and_carry_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let mut file = std::fs::File::from(
            nix::sys::memfd::memfd_create(c"t", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap(),
        );
        file.write_all(b"hola").unwrap();
        a.send(b"one", &[]).unwrap();
        a.send(b"two", &[file.as_fd()]).unwrap();
        drop(a);
        assert_eq!(b.receive().unwrap().unwrap().0, b"one");
        let (text, mut fds) = b.receive().unwrap().unwrap();
        assert_eq!((text.as_slice(), fds.len()), (&b"two"[..], 1));
        let mut copy = std::fs::File::from(fds.pop().unwrap());
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hola");
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn the_last_words_of_a_peer_are_heard_though_it_read_nothing() {
        let (a, b) = Channel::pair().unwrap();
        a.send(b"never read", &[]).unwrap();
        b.send(b"farewell", &[]).unwrap();
        drop(b);
        assert_eq!(a.receive().unwrap().unwrap().0, b"farewell");
        assert!(a.receive().unwrap().is_none());
    }
}
