//! Which certificate the services show: the one that is named, that of main.cf, Let's Encrypt's for this host,
//! that of Debian's package ssl-cert, or one that the server makes for itself.

use net::tls::server::{Acceptor, Identity, Say, Setup};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Debian's self-signed certificate.
const SNAKEOIL: (&str, &str) =
    ("etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/ssl/private/ssl-cert-snakeoil.key");

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// main.cf names it.
    Stays(String),
    /// Files with a certificate and its key; why these.
    Files(PathBuf, PathBuf, String),
    /// The server makes one.
    None,
}

/// What is known when looking.
pub(super) struct Wanted<'a> {
    /// `myhostname`.
    pub(super) host: &'a str,
    /// Where the file system begins.
    pub(super) root: &'a Path,
    /// A certificate and a key that were named.
    pub(super) named: Option<(PathBuf, PathBuf)>,
    /// The value of a parameter of main.cf.
    pub(super) current: &'a dyn Fn(&str) -> String,
}

/// Looks.
pub(super) fn find(wanted: &Wanted<'_>) -> Result<Found, String> {
    if let Some((certificate, key)) = &wanted.named {
        works(certificate, key)?;
        return Ok(Found::Files(certificate.clone(), key.clone(), "as you say".into()));
    }
    let chains = (wanted.current)("smtpd_tls_chain_files");
    if !chains.trim().is_empty() {
        return Ok(Found::Stays(format!("smtpd_tls_chain_files = {}", chains.trim())));
    }
    let now = (wanted.current)("smtpd_tls_cert_file");
    let snakeoil = now.ends_with("ssl-cert-snakeoil.pem");
    if !matches!(now.trim(), "" | "none") && !snakeoil {
        let key = (wanted.current)("smtpd_tls_key_file");
        works(Path::new(&now), Path::new(&key)).map_err(|what| format!("{what} (main.cf names it)"))?;
        return Ok(Found::Stays(format!("smtpd_tls_cert_file = {now}")));
    }
    if let Some((certificate, key)) = lets_encrypt(wanted) {
        return Ok(Found::Files(certificate, key, "Let's Encrypt made it for this host".into()));
    }
    let (certificate, key) = (wanted.root.join(SNAKEOIL.0), wanted.root.join(SNAKEOIL.1));
    if works(&certificate, &key).is_ok() {
        return Ok(match snakeoil {
            true => Found::Stays(format!("smtpd_tls_cert_file = {now}")),
            false => Found::Files(certificate, key, "Debian made it".into()),
        });
    }
    Ok(Found::None)
}

/// A folder of certbot's whose certificate has the host's name.
fn lets_encrypt(wanted: &Wanted<'_>) -> Option<(PathBuf, PathBuf)> {
    let live = wanted.root.join("etc/letsencrypt/live");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&live).ok()?.flatten().map(|e| e.path()).collect();
    folders.sort();
    // The folder of the same name first.
    folders.sort_by_key(|f| f.file_name().is_none_or(|n| n != wanted.host));
    folders.into_iter().find_map(|folder| {
        let (certificate, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
        let fits = names(&certificate).iter().any(|n| covers(n, wanted.host));
        (fits && works(&certificate, &key).is_ok()).then_some((certificate, key))
    })
}

/// Whether `name` of a certificate, perhaps with a star, stands for `host`. RFC 6125 6.4.3
fn covers(name: &str, host: &str) -> bool {
    name.eq_ignore_ascii_case(host)
        || name
            .strip_prefix("*.")
            .zip(host.split_once('.'))
            .is_some_and(|(parent, (_, rest))| parent.eq_ignore_ascii_case(rest))
}

/// The names of the first certificate in a file.
fn names(path: &Path) -> Vec<String> {
    let first = CertificateDer::pem_file_iter(path).ok().and_then(|mut all| all.next()).and_then(Result::ok);
    let Some(der) = first else { return Vec::new() };
    match webpki::EndEntityCert::try_from(&der) {
        Ok(certificate) => certificate.valid_dns_names().map(str::to_string).collect(),
        Err(_) => Vec::new(),
    }
}

/// Whether the two files are a certificate and its key.
fn works(certificate: &Path, key: &Path) -> Result<(), String> {
    let identity =
        Identity::Pair { kind: "server", certificate: certificate.to_path_buf(), key: key.to_path_buf() };
    let setup = Setup { identities: vec![identity], ..Setup::default() };
    let words = |say: &Say| match say {
        Say::Warning(text) | Say::Info(text) | Say::Library(text) => {
            text.replace(": disabling TLS support", "")
        }
    };
    let loaded = Acceptor::load(&setup, Arc::new(|path: &Path| File::open(path)));
    loaded.map(|_| ()).map_err(|all| all.iter().map(words).collect::<Vec<_>>().join(": "))
}

/// What mail programs will say of it; nothing when there is nothing to say.
pub(super) fn remark(certificate: &Path, host: &str) -> Option<String> {
    let names = names(certificate);
    let first = CertificateDer::pem_file_iter(certificate).ok()?.next()?.ok()?;
    let parsed = webpki::EndEntityCert::try_from(&first).ok()?;
    if parsed.issuer() == parsed.subject() {
        return Some(format!(
            "the certificate is signed by itself: mail programs warn of it. A known one costs nothing: \
             certbot certonly -d {host}, then valija setup submission again"
        ));
    }
    (!names.iter().any(|n| covers(n, host))).then(|| {
        format!(
            "the certificate is for {}, not for {host}: mail programs that are told {host} warn",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(PathBuf);

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Root {
        fn new(name: &str) -> Root {
            let root = std::env::temp_dir().join(format!("valija-certificate-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(&root).unwrap();
            Root(root)
        }

        fn put(&self, certificate: &str, key: &str, host: &str) -> (PathBuf, PathBuf) {
            let made = rcgen::generate_simple_self_signed([host.to_string()]).unwrap();
            let paths = (self.0.join(certificate), self.0.join(key));
            std::fs::create_dir_all(paths.0.parent().unwrap()).unwrap();
            std::fs::create_dir_all(paths.1.parent().unwrap()).unwrap();
            std::fs::write(&paths.0, made.cert.pem()).unwrap();
            std::fs::write(&paths.1, made.signing_key.serialize_pem()).unwrap();
            paths
        }

        fn find(
            &self,
            named: Option<(PathBuf, PathBuf)>,
            settings: &[(&str, &str)],
        ) -> Result<Found, String> {
            let current = |name: &str| {
                settings.iter().find(|(n, _)| *n == name).map_or(String::new(), |(_, v)| v.to_string())
            };
            find(&Wanted { host: "mail.example.org", root: &self.0, named, current: &current })
        }
    }

    #[test]
    fn the_best_one_is_found() {
        let root = Root::new("best");
        assert_eq!(root.find(None, &[]), Ok(Found::None));
        let (oil, oil_key) = root.put(SNAKEOIL.0, SNAKEOIL.1, "host");
        assert!(matches!(root.find(None, &[]), Ok(Found::Files(c, k, _)) if c == oil && k == oil_key));
        let named = oil.display().to_string();
        assert!(matches!(root.find(None, &[("smtpd_tls_cert_file", &named)]), Ok(Found::Stays(_))));
        let live = |folder: &str, host: &str| {
            root.put(
                &format!("etc/letsencrypt/live/{folder}/fullchain.pem"),
                &format!("etc/letsencrypt/live/{folder}/privkey.pem"),
                host,
            )
        };
        live("aaa.org", "aaa.org");
        assert!(matches!(root.find(None, &[]), Ok(Found::Files(c, ..)) if c == oil));
        let (star, _) = live("example.org", "*.example.org");
        assert!(
            matches!(root.find(None, &[("smtpd_tls_cert_file", &named)]), Ok(Found::Files(c, ..)) if c == star)
        );
        let (own, own_key) = live("mail.example.org", "mail.example.org");
        assert!(matches!(root.find(None, &[]), Ok(Found::Files(c, k, _)) if c == own && k == own_key));
        assert!(remark(&own, "mail.example.org").unwrap().contains("signed by itself"));
        // A key of another certificate.
        let said = root.find(Some((own, oil_key)), &[]).unwrap_err();
        assert!(said.contains("private key"), "{said}");
        let gone = root.find(None, &[("smtpd_tls_cert_file", "/nonexistent.pem")]).unwrap_err();
        assert!(gone.contains("/nonexistent.pem") && gone.contains("main.cf names it"), "{gone}");
        assert!(matches!(root.find(None, &[("smtpd_tls_chain_files", "/x")]), Ok(Found::Stays(_))));
    }

    #[test]
    fn names_with_stars() {
        assert!(
            covers("*.example.org", "mail.example.org") && covers("MAIL.example.org", "mail.example.org")
        );
        assert!(!covers("*.example.org", "a.mail.example.org") && !covers("*.example.org", "example.org"));
    }
}
