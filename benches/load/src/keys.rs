//! A key and a certificate, for the systems and for our own sink.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Words of `openssl req` for a kind of key.
pub type Kind = &'static [&'static str];
/// ECDSA with P-256.
pub const P256: Kind = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// RSA with 2048 bits.
pub const RSA: Kind = &["rsa:2048"];

/// Where they are.
pub struct Keys {
    certificate: PathBuf,
    key: PathBuf,
}

/// Makes them.
pub fn make(folder: &Path, kind: Kind) -> Result<Keys, String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let name = kind.first().map_or("", |k| k.split(':').next().unwrap_or_default());
    let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let status = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=mta.bench.test", "-newkey"])
        .args(kind)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    if status.is_ok_and(|s| s.success()) {
        Ok(Keys { certificate, key })
    } else {
        Err("openssl req: no certificate was made (apt-get install openssl)".into())
    }
}

impl Keys {
    /// Lines of main.cf for a server that offers TLS.
    pub fn smtpd(&self) -> String {
        format!(
            "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = may\n",
            self.certificate.display(),
            self.key.display()
        )
    }

    /// How our own server does TLS.
    pub fn server(&self) -> Result<Arc<ServerConfig>, String> {
        let fault = |e: &dyn std::fmt::Display| format!("{}: {e}", self.certificate.display());
        let certificate = CertificateDer::from_pem_file(&self.certificate).map_err(|e| fault(&e))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| fault(&e))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(&e))?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(|e| fault(&e))?;
        Ok(Arc::new(config))
    }
}
