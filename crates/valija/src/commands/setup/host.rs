//! What Debian's package asks the host before it proposes answers, and what it makes of that.

use std::path::Path;

/// Networks that may relay, as the package proposes them.
pub(super) const NETWORKS: &str = "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128";

/// Names of distributions that once stood in /etc/mailname by mistake.
pub(super) const NOT_A_MAIL_NAME: [&str; 2] = ["debian.org", "ubuntu.com"];

/// Facts.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// `hostname --fqdn`; nothing when the resolver does not know this host.
    pub(super) full_name: Option<String>,
    /// /etc/hostname.
    pub(super) host_file: Option<String>,
    /// /etc/resolv.conf.
    pub(super) resolver: Option<String>,
    /// /etc/mailname.
    pub(super) mail_name: Option<String>,
    /// The self-signed certificate of the package ssl-cert is there.
    pub(super) certificate: bool,
    /// /usr/bin/procmail is there.
    pub(super) procmail: bool,
    /// IPv4 and IPv6, of /proc/sys/net.
    pub(super) protocols: (bool, bool),
}

impl Host {
    /// Asks this machine; files are looked for below `root`.
    pub(super) fn look(root: &Path) -> Host {
        let text = |path: &str| std::fs::read(root.join(path)).ok();
        let text = |path: &str| text(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let key = root.join("etc/ssl/private/ssl-cert-snakeoil.key");
        // Only root may look into that directory: for others the certificate beside it must do.
        let certificate = match std::fs::metadata(&key) {
            Ok(m) => m.is_file(),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                root.join("etc/ssl/certs/ssl-cert-snakeoil.pem").exists()
            }
            Err(_) => false,
        };
        Host {
            full_name: sys::names::canonical(&sys::host::name()),
            host_file: text("etc/hostname"),
            resolver: text("etc/resolv.conf"),
            mail_name: text("etc/mailname"),
            certificate,
            procmail: root.join("usr/bin/procmail").exists(),
            protocols: (Path::new("/proc/sys/net/ipv4").is_dir(), Path::new("/proc/sys/net/ipv6").is_dir()),
        }
    }

    /// `myhostname`: the full name; without a dot in it completed from the resolver's search list.
    pub(super) fn my_host_name(&self) -> String {
        let mut name = self.full_name.clone().unwrap_or_default();
        if name.is_empty() {
            name = self.host_file.as_deref().unwrap_or_default().trim().to_string();
        }
        if name.contains('.') {
            return name;
        }
        let Some(resolver) = &self.resolver else { return format!("{name}.UNKNOWN") };
        // The last such line counts, and of its names the first.
        let mut domain = resolver.lines().filter_map(|line| {
            let rest = line.strip_prefix("search").or_else(|| line.strip_prefix("domain"))?;
            let word = rest.trim_start().trim_start_matches('.').split_whitespace().next();
            Some(word.unwrap_or_default())
        });
        match domain.next_back().map(|d| d.strip_suffix('.').unwrap_or(d)) {
            Some(domain) if !domain.is_empty() => format!("{name}.{domain}"),
            _ => name,
        }
    }

    /// What stands behind the first dot of the full name.
    pub(super) fn domain(&self) -> &str {
        let behind = self.full_name.as_deref().and_then(|n| n.split_once('.')).map(|(_, domain)| domain);
        behind.filter(|d| !d.is_empty()).unwrap_or("localdomain")
    }

    /// The mail name that is proposed.
    pub(super) fn proposed_mail_name(&self) -> String {
        let filed = self.mail_name.as_deref().and_then(|text| text.lines().next()).unwrap_or_default().trim();
        if filed.is_empty() || NOT_A_MAIL_NAME.iter().any(|n| n.eq_ignore_ascii_case(filed)) {
            return self.full_name.clone().unwrap_or_else(|| "localdomain".into());
        }
        filed.to_string()
    }

    /// The relay host that is proposed.
    pub(super) fn proposed_relay(&self) -> String {
        format!("smtp.{}", self.domain())
    }

    /// `mydestination`. A host that takes mail from the Internet is the home of its mail name; the
    /// others leave a parent domain's mail to the relay host.
    pub(super) fn destinations(&self, internet: bool, mail_name: &str) -> String {
        let host = self.full_name.as_deref().unwrap_or("localhost");
        let domain = self.domain();
        if internet && mail_name == host {
            return format!("$myhostname, {mail_name}, localhost.{domain}, , localhost");
        }
        if internet {
            return format!("$myhostname, {mail_name}, {host}, localhost.{domain}, localhost");
        }
        let inside = host == mail_name || host.ends_with(&format!(".{mail_name}"));
        let first = if inside { String::new() } else { format!("{mail_name}, ") };
        format!("{first}$myhostname, {host}, localhost.{domain}, localhost")
    }

    /// `inet_protocols`.
    pub(super) fn internet_protocols(&self) -> &'static str {
        match self.protocols {
            (true, false) => "ipv4",
            (false, true) => "ipv6",
            _ => "all",
        }
    }
}
