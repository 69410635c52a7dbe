//! TLS with the relay host: the session is set up whatever the certificate is, and the certificate is
//! judged beside it, by the code that delivers, so that the administrator hears exactly what is wrong
//! with it. Mail delivery at the level encrypt verifies nobody (as Postfix's), so this is the moment when
//! somebody looks.

use net::tls::Failure;
use net::tls::certificate::Certificate;
use net::tls::client::{Authorities, Connected, Connector, Roots, Wish};
use net::tls::proof::{Fault, Proof};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a certificate is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Name, chain and dates are right.
    Verified,
    /// What is wrong, and what to do about it.
    Doubtful(String, String),
}

/// The authorities that this host trusts, and those of `smtp_tls_CAfile`. Without any, no certificate
/// can be verified.
pub(super) fn authorities(file: &str) -> Roots {
    let file = Some(file).filter(|f| !f.is_empty()).map(Into::into);
    Roots::of(Authorities { file, system: true, ..Authorities::default() })
}

/// Makes `io` a session with `name`, and says what its certificate is worth.
pub(super) async fn connect<IO>(
    io: IO,
    name: &str,
    roots: &Roots,
    limit: Duration,
) -> Result<(Connected<IO>, Judgement), Failure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let proof = Proof::Names(vec![name.to_string()]);
    let wish = Wish {
        server_name: Some(name),
        proof: &proof,
        roots: Some(roots),
        observe: true,
        ..Wish::new("relay", limit)
    };
    let connected = Connector::new(Authorities::default()).connect(io, &wish).await?;
    let judgement = match () {
        () if connected.judgement.proved => Judgement::Verified,
        () if roots.anchors().await.0.list.is_empty() => Judgement::Doubtful(
            "this host trusts no certificate authority".into(),
            "install the package ca-certificates".into(),
        ),
        () => doubt(&connected, name),
    };
    Ok((connected, judgement))
}

/// What is wrong in words, with the remedy.
fn doubt<IO>(connected: &Connected<IO>, name: &str) -> Judgement {
    let of = |what: String, remedy: &str| Judgement::Doubtful(what, remedy.to_string());
    match &connected.judgement.fault {
        None if !connected.signed => of(
            "the server's signature cannot be checked, so that anybody could show this certificate".into(),
            "ask the server's operator for a newer key (RSA keys need 2048 bits)",
        ),
        None | Some(Fault::Missing) => of("the server showed no certificate".into(), ""),
        Some(Fault::Expired) => of(
            "the certificate has expired".into(),
            "the server's operator must renew it; look at this host's clock too",
        ),
        Some(Fault::NotYetValid) => {
            of("the certificate is not valid yet".into(), "look at this host's clock")
        }
        Some(Fault::Names) => {
            // A server may show any number of names.
            let own = connected.chain.first().and_then(|der| Certificate::read(der));
            let names: Vec<String> = own
                .iter()
                .flat_map(|c| &c.names)
                .take(10)
                .map(|n| n.chars().filter(|c| !c.is_control()).take(255).collect())
                .collect();
            match names.is_empty() {
                true => of(
                    format!("the certificate is not for {name}; it has no names at all"),
                    "ask the server's operator for a certificate with its name",
                ),
                false => of(
                    format!("the certificate is not for {name} but for {}", names.join(", ")),
                    "write the relay host with a name that the certificate has",
                ),
            }
        }
        Some(Fault::SelfSigned) => of(
            "the certificate is signed by itself, so that anybody could have made it".into(),
            "ask the server's operator for a certificate of a known authority; or add this one to \
             /usr/local/share/ca-certificates and run update-ca-certificates",
        ),
        Some(Fault::UnknownIssuer(_)) => of(
            "the certificate comes from an authority that this host does not know, or the server \
             leaves out an intermediate certificate"
                .into(),
            "add the authority to /usr/local/share/ca-certificates and run update-ca-certificates; or \
             the server's operator must send the whole chain",
        ),
        Some(other) => of(format!("the certificate is not acceptable: {other}"), "ask the server's operator"),
    }
}
