//! Handshakes, after STARTTLS or first of all, and what a session knows of the encryption. RFC 3207.

use crate::backend::Backend;
use crate::events::*;
use crate::limits::Kind;
use crate::session::Session;
use crate::tls;
use net::Stream;
use net::tls::server::Accepted;
use net::tls::{Failure, Summary, Trust};
use proto::smtp::reply::Reply;
use proto::smtp::server::{Faults, Session as Machine};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// What came of a handshake.
enum Encrypted<IO> {
    /// The session goes on.
    Yes(Stream<IO>),
    /// The client is told this, encrypted, and no more; it may count as a handshake that went well.
    Unwelcome(Stream<IO>, Reply, bool),
    /// There is no connection any more.
    No,
    /// Certificates or keys cannot be used.
    Unable,
}

impl<B: Backend> Session<B> {
    /// The handshake after STARTTLS. Without a connection the session is over.
    pub(crate) async fn starttls<IO>(&mut self, io: IO, machine: &mut Machine) -> Option<Stream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (stream, refusal, good) = match self.encrypt(io).await {
            Encrypted::Yes(stream) => (Some(stream), None, true),
            Encrypted::Unwelcome(stream, refusal, good) => (Some(stream), Some(refusal), good),
            Encrypted::No | Encrypted::Unable => (None, None, false),
        };
        machine.encrypted(good);
        refusal.inspect(|refusal| machine.end(refusal));
        stream
    }

    /// The handshake of wrapper mode, before anything is said.
    pub(crate) async fn wrap<IO>(
        &mut self,
        stream: Option<Stream<IO>>,
        machine: &mut Machine,
    ) -> Option<Stream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Some(Stream::Plain(io)) = stream else { return None };
        machine.begin_encrypted();
        match self.encrypt(io).await {
            Encrypted::Yes(stream) => Some(stream),
            Encrypted::Unwelcome(stream, refusal, _) => {
                machine.end(&refusal);
                Some(stream)
            }
            Encrypted::No => {
                self.lost = true;
                None
            }
            Encrypted::Unable => None,
        }
    }

    async fn encrypt<IO>(&mut self, io: IO) -> Encrypted<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let service = self.service.clone();
        let (tls, client) = (&service.tls, self.label.clone());
        let Some(acceptor) = tls.acceptor(&self.source) else {
            self.source.say(&WrapperDropped { client, service: service.name.clone() });
            return Encrypted::Unable;
        };
        if tls.loglevel >= 2 {
            self.source.say(&SettingUpTls { client: client.clone() });
        }
        // Apart from the session, which is small while it waits for commands.
        let accepted = Box::pin(acceptor.accept(io, tls.limit)).await;
        let Accepted { outcome, unmatched, untrusted, says } = accepted;
        tls::tell(&self.source, says);
        if let Some(name) = unmatched {
            self.source.say(&UnmatchedName { name, client: client.clone() });
        }
        let (stream, summary) = match outcome {
            Ok(done) => done,
            Err(failure) => {
                self.tell_failure(client, &failure);
                return Encrypted::No;
            }
        };
        if let Some(why) =
            untrusted.filter(|_| tls.requires_clients && tls.loglevel >= 1 || tls.loglevel >= 2)
        {
            self.source.say(&TlsNews { what: why.replace("{client}", &client) });
        }
        let (resumed, trust) = (summary.resumed, summary.trust);
        self.encrypted(summary);
        if let Some(refusal) = self.too_many_handshakes(resumed) {
            return Encrypted::Unwelcome(stream, refusal, false);
        }
        match self.unwelcome(trust) {
            Some(refusal) => Encrypted::Unwelcome(stream, refusal, true),
            None => Encrypted::Yes(stream),
        }
    }

    /// Nothing of what the client said before counts (RFC 3207 4.2).
    fn encrypted(&mut self, summary: Summary) {
        let loglevel = self.service.tls.loglevel;
        if let Some(peer) = summary.peer.as_ref().filter(|_| loglevel >= 2) {
            self.source.say(&ClientCertificate {
                client: self.label.clone(),
                subject: peer.subject.clone(),
                issuer: peer.issuer.clone(),
                fingerprint: peer.fingerprint.clone(),
                key: peer.key_fingerprint.clone(),
            });
        }
        if loglevel >= 1 {
            let (mut client, trust) = (self.label.clone(), summary.trust);
            if let Some(name) = &summary.name {
                client.push_str(&format!(" to {name}"));
            }
            self.source.say(&TlsEstablished { trust, client, summary: summary.to_string() });
        }
        self.unsay_helo();
        // As in Postfix it stays a session of ESMTP, if only by name.
        (self.pipelined, self.login) = (false, None);
        self.mechanisms = None;
        self.forget();
        self.tls = Some(Box::new(summary));
    }

    /// `smtpd_client_new_tls_session_rate_limit`. Sessions that go on cost little and do not count.
    fn too_many_handshakes(&mut self, resumed: bool) -> Option<Reply> {
        let (service, limit) = (self.service.clone(), self.service.tls.new_sessions);
        let ip = self.client.ip.filter(|_| limit > 0 && !resumed && !self.unlimited)?;
        let count = service.limits.count(Kind::Handshakes, &service.name, ip, Instant::now());
        if count <= limit {
            return None;
        }
        self.faults = self.faults | Faults::POLICY;
        let (client, name) = (self.label.clone(), service.name.clone());
        self.source.say(&TooManyHandshakes { count, client: client.clone(), service: name });
        let hostname = service.hostname();
        Some(Reply::new(421, format!("4.7.0 {hostname} Error: too many new TLS sessions from {client}")))
    }

    /// `smtpd_tls_req_ccert`.
    fn unwelcome(&mut self, trust: Trust) -> Option<Reply> {
        let why = match trust {
            _ if !self.service.tls.requires_clients => return None,
            Trust::Trusted | Trust::Verified => return None,
            Trust::Anonymous => "No client certificate presented",
            Trust::Untrusted => "Client certificate not trusted",
        };
        self.source.say_of("NOQUEUE", &TlsAbort { client: self.label.clone(), why });
        self.faults = self.faults | Faults::POLICY;
        Some(Reply::new(421, format!("4.7.1 {} Error: {why}", self.service.hostname())))
    }

    fn tell_failure(&self, client: String, failure: &Failure) {
        let what = match failure {
            Failure::Timeout | Failure::Lost => failure.to_string(),
            Failure::Handshake(_) | Failure::Unusable(_) => "-1".into(),
        };
        self.source.say(&TlsFailed { client, what });
        if let Failure::Handshake(what) | Failure::Unusable(what) = failure {
            self.source.say(&TlsLibrary { what: what.clone() });
        }
    }

    /// The lines about encryption in a Received header.
    pub(crate) fn tls_received(&self) -> Vec<String> {
        let Some(summary) = self.tls.as_ref().filter(|_| self.service.tls.received_header) else {
            return Vec::new();
        };
        let mut lines = summary.received();
        lines.push(match &summary.peer {
            Some(peer) => {
                let verified = match summary.trust {
                    Trust::Trusted | Trust::Verified => "verified OK",
                    _ => "not verified",
                };
                let (subject, issuer) = (in_comment(&peer.subject), in_comment(&peer.issuer));
                format!("(Client CN \"{subject}\", Issuer \"{issuer}\" ({verified}))")
            }
            None if self.service.tls.asks_clients => "(Client did not present a certificate)".into(),
            None => "(No client certificate requested)".into(),
        });
        lines
    }
}

/// A foreign text as it may stand in a comment: ASCII, with parentheses in pairs. RFC 5322 3.2.2
fn in_comment(text: &str) -> String {
    let (mut out, mut open) = (String::new(), 0);
    for byte in text.bytes() {
        out.push(match byte {
            b'(' => {
                open += 1;
                '('
            }
            b')' if open > 0 => {
                open -= 1;
                ')'
            }
            b')' | b'\\' => '?',
            b' '..=b'~' => char::from(byte),
            _ => '?',
        });
    }
    out.extend(std::iter::repeat_n(')', open));
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn comments() {
        let of = super::in_comment;
        assert_eq!(of("José \"López\", jr."), "Jos?? \"L??pez\", jr.");
        assert_eq!(of("a(b)c)d\\\\e(f;g@h"), "a(b)c?d??e(f;g@h)");
        assert_eq!(of("\r\n\t"), "???");
    }
}
