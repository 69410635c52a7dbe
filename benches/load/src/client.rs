//! A client that takes its time: one connection, blocking, in plain text or over TLS. For what is counted by sessions, not
//! by messages.

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
    version,
};
use std::io::{Error, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub struct Client {
    stream: Stream,
    read: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A reply: its code and its last line.
pub struct Reply {
    /// 0 when the connection ended instead.
    pub code: u16,
    /// The last line.
    pub text: String,
}

/// Whether a client goes on with earlier sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every handshake is a new one.
    New,
    /// Where the server gives it a ticket; TLS 1.3, where this client uses each ticket once.
    Resumed,
    /// The same with TLS 1.2, where it uses them again.
    Resumed12,
}

/// How the client does TLS.
pub fn config(kind: Kind) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = if kind == Kind::Resumed12 { &[&version::TLS12] } else { &[&version::TLS13] };
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|e| format!("TLS: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.resumption =
        if kind == Kind::New { Resumption::disabled() } else { Resumption::in_memory_sessions(8) };
    Ok(Arc::new(config))
}

impl Client {
    /// Connects from an address of the loopback device.
    pub fn connect(from: Ipv4Addr, to: SocketAddrV4) -> Result<Client, Error> {
        let handle = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Ports are then counted for each pair of addresses.
        setsockopt(&handle, sockopt::IpBindAddressNoPort, &true)?;
        bind(handle.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
        connect(handle.as_raw_fd(), &SockaddrIn::from(to))?;
        let stream = TcpStream::from(handle);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: Stream::Plain(stream), read: Vec::new() })
    }

    /// The next reply.
    pub fn reply(&mut self) -> Result<Reply, Error> {
        loop {
            while let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                if line.get(3) != Some(&b'-') {
                    let text = String::from_utf8_lossy(&line).trim_end().to_string();
                    let code = text.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
                    return Ok(Reply { code, text });
                }
            }
            let mut some = [0; 4096];
            let n = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut some)?,
                Stream::Tls(stream) => stream.read(&mut some)?,
            };
            if n == 0 {
                return Ok(Reply { code: 0, text: "the connection was closed".into() });
            }
            self.read.extend_from_slice(some.get(..n).unwrap_or_default());
        }
    }

    /// Says something, and gives the reply.
    pub fn say(&mut self, line: &str) -> Result<Reply, Error> {
        self.put(&format!("{line}\r\n"))?;
        self.reply()
    }

    /// Says something that is not answered.
    pub fn put(&mut self, text: &str) -> Result<(), Error> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(text.as_bytes()),
            Stream::Tls(stream) => {
                stream.write_all(text.as_bytes())?;
                stream.flush()
            }
        }
    }

    /// Says something that must be answered with this code.
    pub fn expect(&mut self, line: &str, code: u16) -> Result<(), String> {
        self.say(line).map_err(|e| format!("{line}: {e}"))?.must(line, code)
    }

    /// Everything up to the point where a session over TLS begins: greeting, EHLO, STARTTLS, handshake.
    pub fn secured(from: Ipv4Addr, to: SocketAddrV4, config: &Arc<ClientConfig>) -> Result<Client, String> {
        let mut client = Client::connect(from, to).map_err(|e| format!("connect to {to}: {e}"))?;
        client.reply().map_err(|e| format!("greeting: {e}"))?.must("greeting", 220)?;
        client.expect("EHLO client.test", 250)?;
        client.expect("STARTTLS", 220)?;
        let Stream::Plain(stream) = client.stream else { return Err("TLS within TLS".into()) };
        let name = ServerName::try_from("mta.bench.test").map_err(|e| e.to_string())?;
        let mut connection = ClientConnection::new(config.clone(), name).map_err(|e| format!("TLS: {e}"))?;
        let mut stream = stream;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|e| format!("handshake: {e}"))?;
        }
        Ok(Client { stream: Stream::Tls(Box::new(StreamOwned::new(connection, stream))), read: Vec::new() })
    }

    /// Whether this session goes on with an earlier one.
    pub fn resumed(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl Reply {
    /// An error unless it has this code.
    pub fn must(self, what: &str, code: u16) -> Result<(), String> {
        if self.code == code { Ok(()) } else { Err(format!("{what}: {}", self.text)) }
    }
}

/// Believes every certificate, but not every signature: the work is the same as with a certificate that is known.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
