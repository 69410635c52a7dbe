//! A connection as sessions use it: to another machine or on this one, in plain text or encrypted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connection, with or without TLS.
#[derive(Debug)]
pub enum Stream<IO = Socket> {
    /// In plain text.
    Plain(IO),
    /// Encrypted.
    Tls(Box<TlsStream<IO>>),
}

impl<IO> Stream<IO> {
    /// It is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// What is below TLS.
    pub fn get_ref(&self) -> &IO {
        match self {
            Stream::Plain(io) => io,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// What a connection is made of.
#[derive(Debug)]
pub enum Socket {
    /// To any machine.
    Tcp(TcpStream),
    /// On this one.
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Socket {
        Socket::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Socket {
        Socket::Unix(stream)
    }
}

/// Reading and writing is done by whichever of the two there is.
macro_rules! passes_on {
    ([$($parameters:tt)*] $name:ty, $one:path, $other:path) => {
        impl<$($parameters)*> AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $one(s) => Pin::new(s).poll_read(cx, buf),
                    $other(s) => Pin::new(s).poll_read(cx, buf),
                }
            }
        }

        impl<$($parameters)*> AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $one(s) => Pin::new(s).poll_write(cx, buf),
                    $other(s) => Pin::new(s).poll_write(cx, buf),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                all: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $one(s) => Pin::new(s).poll_write_vectored(cx, all),
                    $other(s) => Pin::new(s).poll_write_vectored(cx, all),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $one(s) => s.is_write_vectored(),
                    $other(s) => s.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $one(s) => Pin::new(s).poll_flush(cx),
                    $other(s) => Pin::new(s).poll_flush(cx),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $one(s) => Pin::new(s).poll_shutdown(cx),
                    $other(s) => Pin::new(s).poll_shutdown(cx),
                }
            }
        }
    };
}

passes_on!([IO: AsyncRead + AsyncWrite + Unpin] Stream<IO>, Stream::Plain, Stream::Tls);
passes_on!([] Socket, Socket::Tcp, Socket::Unix);
