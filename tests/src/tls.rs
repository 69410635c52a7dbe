//! TLS on the client's side of a dialogue: no certificate of a server is refused here.

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, StreamOwned,
};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;

/// What a client's handshake is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The server's name that is asked for.
    pub sni: Option<String>,
    /// A file in PEM format with the client's certificate and chain.
    pub cert: Option<String>,
    /// The file with its key, if that is another one.
    pub key: Option<String>,
    /// `TLSv1.2` or `TLSv1.3` alone.
    pub protocol: Option<String>,
    /// Go on with an earlier session of this scenario, or leave one for a later dialogue.
    pub resume: bool,
}

impl Options {
    /// Reads one word of them; `None` when it is none of them.
    pub fn read(&mut self, word: &str) -> Option<()> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = || Some(value.to_string()).filter(|v| !v.is_empty());
        match key {
            "sni" => self.sni = Some(value()?),
            "cert" => self.cert = Some(value()?),
            "key" => self.key = Some(value()?),
            "protocol" if ["TLSv1.2", "TLSv1.3"].contains(&value()?.as_str()) => self.protocol = value(),
            "resume" if word == key => self.resume = true,
            _ => return None,
        }
        Some(())
    }

    /// How the library shall do it; with `resume` always the same.
    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if !self.resume {
            return self.new_config().map(Arc::new);
        }
        KEPT.with_borrow_mut(|kept| {
            let same = Options { sni: None, ..self.clone() };
            if let Some((_, config)) = kept.iter().find(|(options, _)| *options == same) {
                return Ok(config.clone());
            }
            let config = Arc::new(self.new_config()?);
            kept.push((same, config.clone()));
            Ok(config)
        })
    }

    fn new_config(&self) -> Result<ClientConfig, String> {
        let versions = match self.protocol.as_deref() {
            Some("TLSv1.2") => &[&rustls::version::TLS12][..],
            Some(_) => &[&rustls::version::TLS13][..],
            None => rustls::ALL_VERSIONS,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
        let mut config = match &self.cert {
            None => config.with_no_client_auth(),
            Some(cert) => {
                let wrong = |file: &str, error: &dyn std::fmt::Display| format!("{file}: {error}");
                let chain = CertificateDer::pem_file_iter(cert)
                    .and_then(Iterator::collect)
                    .map_err(|error| wrong(cert, &error))?;
                let file = self.key.as_ref().unwrap_or(cert);
                let key = PrivateKeyDer::from_pem_file(file).map_err(|error| wrong(file, &error))?;
                config.with_client_auth_cert(chain, key).map_err(|error| wrong(cert, &error))?
            }
        };
        if !self.resume {
            config.resumption = Resumption::disabled();
        }
        Ok(config)
    }
}

thread_local! {
    /// What keeps the sessions of this world: a thread runs one scenario on one product.
    static KEPT: RefCell<Vec<(Options, Arc<ClientConfig>)>> = const { RefCell::new(Vec::new()) };
}

/// A connection of a dialogue.
pub enum Connection {
    /// Nothing is encrypted.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Connection::Plain(stream) => stream,
            Connection::Tls(stream) => &stream.sock,
        }
    }

    /// The handshake; `TLSv1.3`, or why there is none.
    pub fn encrypt(&mut self, options: &Options) -> Result<String, String> {
        let said = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server closes the connection".to_string(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "the connection is lost".to_string()
            }
            _ => error.to_string(),
        };
        let name = match &options.sni {
            Some(name) => {
                ServerName::try_from(name.clone()).map_err(|error| format!("sni={name}: {error}"))?
            }
            None => ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let client = ClientConnection::new(options.config()?, name);
        let mut client = client.map_err(|error| error.to_string())?;
        let mut socket = self.socket().try_clone().map_err(|error| error.to_string())?;
        while client.is_handshaking() {
            client.complete_io(&mut socket).map_err(said)?;
        }
        let protocol = match client.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let resumed = match client.handshake_kind() {
            Some(HandshakeKind::Resumed) => ", resumed",
            _ => "",
        };
        *self = Connection::Tls(Box::new(StreamOwned::new(client, socket)));
        Ok(format!("{protocol}{resumed}"))
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(stream) => stream.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(stream) => stream.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Plain(stream) => stream.flush(),
            Connection::Tls(stream) => stream.flush(),
        }
    }
}

/// Takes every certificate: what servers show is not the dialogue's matter.
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
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let mut options = Options::default();
        for word in ["sni=a.org", "cert=/c", "key=/k", "protocol=TLSv1.2", "resume"] {
            options.read(word).unwrap();
        }
        assert_eq!((options.sni.as_deref(), options.resume), (Some("a.org"), true));
        for bad in ["sni", "sni=", "protocol=TLSv1.1", "resume=1", "x=y"] {
            assert_eq!(options.read(bad), None, "{bad}");
        }
    }
}
