//! The service file of Cyrus SASL, `smtpd.conf`: lines `option: value`.

use std::path::{Path, PathBuf};

/// Where a password is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By saslauthd.
    Saslauthd,
    /// With the password in sasldb.
    Sasldb,
}

/// What of a service file is obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFile {
    /// `pwcheck_method`, in this order.
    pub methods: Vec<Method>,
    /// `mech_list`; none: all there are.
    pub mechanisms: Option<Vec<String>>,
    /// `saslauthd_path`: its socket.
    pub saslauthd: Option<PathBuf>,
    /// `sasldb_path`.
    pub sasldb: Option<PathBuf>,
}

/// More a service file does not hold.
const LONGEST: usize = 65_536;

/// Reads one. An error says what it asks for that cannot be served, and what to do.
pub fn read(text: &str) -> Result<ServiceFile, String> {
    if text.len() > LONGEST {
        return Err("it is too long for a service file".into());
    }
    let mut options: Vec<(String, &str)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && name.chars().all(named) => {
                options.push((name.to_ascii_lowercase(), value.trim()));
            }
            // Cyrus SASL refuses the whole file, too.
            _ => return Err(format!("line {number} is no \"option: value\"")),
        }
    }
    // Of two lines for the same option the first counts.
    let get = |name: &str| options.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    let plugins = get("auxprop_plugin").filter(|p| !p.is_empty());
    let mut methods = Vec::new();
    for word in get("pwcheck_method").filter(|m| !m.is_empty()).unwrap_or("auxprop").split_whitespace() {
        let method = match word.to_ascii_lowercase().as_str() {
            "saslauthd" => Method::Saslauthd,
            "auxprop" => match plugins {
                None => Method::Sasldb,
                Some(all) if all.split([' ', ',', '\t']).any(|p| p.eq_ignore_ascii_case("sasldb")) => {
                    Method::Sasldb
                }
                Some(other) => {
                    return Err(format!(
                        "auxprop_plugin: {other} is not served; there is sasldb; or use \
                         smtpd_sasl_type = dovecot, or valija with a lookup table"
                    ));
                }
            },
            other => {
                return Err(format!(
                    "pwcheck_method: {other} is not served; there are saslauthd, and auxprop with sasldb"
                ));
            }
        };
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    let path = |name: &str| get(name).filter(|p| p.starts_with('/')).map(PathBuf::from);
    Ok(ServiceFile {
        methods,
        mechanisms: get("mech_list").filter(|m| !m.is_empty()).map(|m| {
            m.split([' ', ',', '\t']).filter(|w| !w.is_empty()).map(str::to_ascii_uppercase).collect()
        }),
        // A directory, or the socket in it.
        saslauthd: path("saslauthd_path").map(|p| if p.is_dir() { p.join("mux") } else { p }),
        sasldb: path("sasldb_path"),
    })
}

/// Where a service file may be: the directories of `cyrus_sasl_config_path`, or those that Debian's
/// Postfix looks into.
pub fn places(search: &str, config_directory: &Path, service: &str) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> =
        search.split(':').filter(|d| !d.is_empty()).map(PathBuf::from).collect();
    if directories.is_empty() {
        directories = vec![config_directory.join("sasl"), PathBuf::from("/usr/lib/sasl2")];
    }
    directories.into_iter().map(|d| d.join(format!("{service}.conf"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_as_guides_write_them() {
        let file = read("pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\n").unwrap();
        assert_eq!(file.methods, [Method::Saslauthd]);
        assert_eq!(file.mechanisms.unwrap(), ["PLAIN", "LOGIN"]);
        let file = read("# x\n  Pwcheck_Method:auxprop\nauxprop_plugin: sasldb\nmech_list: plain cram-md5\nsasldb_path: /srv/db\nlog_level: 7\n").unwrap();
        assert_eq!((file.methods, file.sasldb), (vec![Method::Sasldb], Some("/srv/db".into())));
        assert_eq!(file.mechanisms.unwrap(), ["PLAIN", "CRAM-MD5"]);
        assert_eq!(read("").unwrap().methods, [Method::Sasldb]);
        let both = read("pwcheck_method: saslauthd auxprop\nsaslauthd_path: /run/x/mux\n").unwrap();
        assert_eq!(both.methods, [Method::Saslauthd, Method::Sasldb]);
        assert_eq!(both.saslauthd, Some("/run/x/mux".into()));
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        for (text, why) in [
            ("pwcheck_method: auxprop\nauxprop_plugin: sql\n", "auxprop_plugin: sql is not served"),
            ("pwcheck_method: alwaystrue\n", "pwcheck_method: alwaystrue is not served"),
            ("pwcheck_method saslauthd\n", "line 1"),
            ("a: b\n mech list: x\n", "line 2"),
        ] {
            assert!(read(text).unwrap_err().contains(why), "{text}");
        }
        assert!(read(&"#\n".repeat(40_000)).is_err());
    }

    #[test]
    fn where_it_is_looked_for() {
        let config = Path::new("/etc/postfix");
        let text = |search| {
            let all = places(search, config, "smtpd");
            all.iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(text(""), ["/etc/postfix/sasl/smtpd.conf", "/usr/lib/sasl2/smtpd.conf"]);
        assert_eq!(text("/a::/b"), ["/a/smtpd.conf", "/b/smtpd.conf"]);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(text in "([a-z_]{0,12}[: #]{0,2}\\PC{0,12}\n){0,6}") {
            if let Ok(file) = read(&text) {
                prop_assert!(!file.methods.is_empty());
            }
        }
    }
}
