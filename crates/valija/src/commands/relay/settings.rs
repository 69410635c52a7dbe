//! What main.cf and the password table become once the relay host works: pure.

use super::super::names::RelayHost;
use crate::commands::setup::Current;
use config::value::split_list;
use std::path::{Path, PathBuf};
use tables::Grammar;
use tables::text;

/// What the attempt showed, as far as the settings depend on it.
pub(super) struct Works<'a> {
    pub(super) relay: &'a RelayHost,
    pub(super) login: bool,
    pub(super) encrypted: bool,
    /// TLS from the first byte.
    pub(super) wrapped: bool,
}

/// How strict a TLS level is: a higher one is never replaced by a lower one.
fn rank(level: &str) -> u8 {
    match level.trim().to_ascii_lowercase().as_str() {
        "" | "none" => 0,
        "may" => 1,
        "dane" => 2,
        "encrypt" => 3,
        // Levels to come count as strict.
        _ => 4,
    }
}

/// Whether sessions in the clear are out of the question.
pub(super) fn mandatory(level: &str) -> bool {
    rank(level) >= 3
}

/// What main.cf is told, in its order.
pub(super) fn of(works: &Works, table: &str, current: Current) -> Vec<(String, String)> {
    let now = |name: &str| current(name).unwrap_or_default();
    let mut list: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| list.push((name.to_string(), value.to_string()));
    set("relayhost", &works.relay.to_string());
    if works.login {
        set("smtp_sasl_auth_enable", "yes");
        if !split_list(&now("smtp_sasl_password_maps")).iter().any(|t| t == table) {
            set("smtp_sasl_password_maps", table);
        }
        set("smtp_sasl_security_options", "noanonymous");
        // These follow the one above unless somebody wrote them out.
        for name in ["smtp_sasl_tls_security_options", "smtp_sasl_tls_verified_security_options"] {
            let follows = now(name) == now("smtp_sasl_security_options");
            if !follows && split_list(&now(name)).iter().any(|o| o == "noplaintext") {
                set(name, "noanonymous");
            }
        }
    }
    let wanted = match (works.encrypted, works.login || works.wrapped) {
        (true, true) => "encrypt",
        (true, false) => "may",
        (false, _) => "",
    };
    if rank(wanted) > rank(&now("smtp_tls_security_level")) {
        set("smtp_tls_security_level", wanted);
    }
    if works.wrapped != now("smtp_tls_wrappermode").eq_ignore_ascii_case("yes") {
        set("smtp_tls_wrappermode", if works.wrapped { "yes" } else { "no" });
    }
    list
}

/// The password table: its name with type, and its text file.
pub(super) fn table(directory: &Path, current: Current) -> Result<(String, PathBuf), String> {
    let now = current("smtp_sasl_password_maps").unwrap_or_default();
    let listed = split_list(&now);
    let Some(first) = listed.first() else {
        let kind = current("default_database_type").filter(|k| !k.is_empty());
        let path = directory.join("sasl_passwd");
        return Ok((format!("{}:{}", kind.unwrap_or_else(|| "hash".into()), path.display()), path));
    };
    let plain = first.strip_prefix("proxy:").unwrap_or(first);
    match plain.split_once(':') {
        Some(("hash" | "btree" | "lmdb" | "cdb" | "texthash", path)) if path.starts_with('/') => {
            Ok((first.clone(), PathBuf::from(path)))
        }
        _ => Err(format!(
            "smtp_sasl_password_maps is {now}, which is not a text file that can be edited here; add the \
             row there by hand, or change the setting to hash:{}",
            directory.join("sasl_passwd").display()
        )),
    }
}

/// The text of a table with the row of `key` set, or removed; all else stays as it is.
pub(super) fn with_row(old: &[u8], key: &str, value: Option<&str>) -> Vec<u8> {
    let parsed = text::parse(old, Grammar::Map);
    let ours: Vec<(usize, usize)> =
        parsed.rows.iter().filter(|r| r.key.eq_ignore_ascii_case(key)).map(|r| (r.line, r.last)).collect();
    let row = value.map(|v| format!("{key} {v}\n"));
    let mut out = Vec::with_capacity(old.len() + 128);
    let mut placed = false;
    for (at, line) in old.split_inclusive(|b| *b == b'\n').enumerate() {
        let number = at + 1;
        let Some((first, _)) = ours.iter().find(|(first, last)| (*first..=*last).contains(&number)) else {
            out.extend_from_slice(line);
            continue;
        };
        if number == *first && !placed {
            placed = true;
            out.extend_from_slice(row.as_deref().unwrap_or_default().as_bytes());
        }
    }
    if let Some(row) = row.filter(|_| !placed) {
        if out.last().is_some_and(|b| *b != b'\n') {
            out.push(b'\n');
        }
        out.extend_from_slice(row.as_bytes());
    }
    out
}

/// The value of `key` in the text of a table.
pub(super) fn row(old: &[u8], key: &str) -> Option<String> {
    let rows = text::parse(old, Grammar::Map).rows;
    rows.into_iter().find(|r| r.key.eq_ignore_ascii_case(key)).map(|r| r.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use proptest::prelude::*;

    fn written(main: &str, relay: &str, login: bool, encrypted: bool, wrapped: bool) -> String {
        let config = Config::from_text(Path::new("/etc/postfix"), main).unwrap();
        let current = |name: &str| config.get(name).ok();
        let relay = RelayHost::read(relay).unwrap();
        let works = Works { relay: &relay, login, encrypted, wrapped };
        let (table, _) = table(Path::new("/etc/postfix"), &current).unwrap();
        let all = of(&works, &table, &current);
        all.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn settings() {
        assert_eq!(
            written("", "[a.example]:587", true, true, false),
            "relayhost=[a.example]:587\nsmtp_sasl_auth_enable=yes\nsmtp_sasl_password_maps=hash:/etc/postfix/sasl_passwd\n\
             smtp_sasl_security_options=noanonymous\nsmtp_tls_security_level=encrypt"
        );
        assert_eq!(
            written("", "a.example", false, true, false),
            "relayhost=a.example\nsmtp_tls_security_level=may"
        );
        assert_eq!(written("", "a.example", false, false, false), "relayhost=a.example");
        assert!(
            written("", "a.example:465", false, true, true)
                .ends_with("level=encrypt\nsmtp_tls_wrappermode=yes")
        );
    }

    #[test]
    fn a_level_is_never_lowered() {
        for level in ["encrypt", "dane-only", "verify", "secure", "fingerprint"] {
            let main = format!("smtp_tls_security_level = {level}\n");
            assert!(!written(&main, "a.example", true, true, false).contains("level"), "{level}");
        }
        let said = written(
            "smtp_tls_security_level = may\nsmtp_tls_wrappermode = yes\n",
            "a.example",
            true,
            true,
            false,
        );
        assert!(said.ends_with("smtp_tls_security_level=encrypt\nsmtp_tls_wrappermode=no"), "{said}");
        assert!(
            !written("smtp_tls_security_level = may\n", "a.example", false, true, false).contains("level")
        );
        let explicit = "smtp_sasl_tls_security_options = noplaintext\n";
        assert!(
            written(explicit, "a.example", true, true, false)
                .contains("smtp_sasl_tls_security_options=noanonymous")
        );
    }

    #[test]
    fn tables_that_exist() {
        let of = |main: &str| {
            let config = Config::from_text(Path::new("/etc/postfix"), main).unwrap();
            table(Path::new("/etc/postfix"), &|name: &str| config.get(name).ok())
        };
        assert_eq!(of("").unwrap().0, "hash:/etc/postfix/sasl_passwd");
        assert_eq!(of("smtp_sasl_password_maps = texthash:/x/y\n").unwrap().1, PathBuf::from("/x/y"));
        assert!(of("smtp_sasl_password_maps = static:a:b\n").unwrap_err().contains("by hand"));
        assert!(of("smtp_sasl_password_maps = ldap:/x\n").is_err());
    }

    #[test]
    fn rows() {
        let old = b"# mine\n[b.example]:587 u:p\n[A.example]:587 old:old\n  more\nc.example x:y";
        let new = with_row(old, "[a.example]:587", Some("n:n"));
        assert_eq!(
            String::from_utf8_lossy(&new),
            "# mine\n[b.example]:587 u:p\n[a.example]:587 n:n\nc.example x:y"
        );
        let new = with_row(&new, "d.example", Some("n:n"));
        assert!(new.ends_with(b"c.example x:y\nd.example n:n\n"));
        assert_eq!(row(&new, "D.example").as_deref(), Some("n:n"));
        assert_eq!(with_row(b"a b:c\n", "a", None), b"");
    }

    proptest! {
        /// Whatever stands in a table, the new row is read back and the others stay.
        #[test]
        fn a_row_is_read_back(old in "([ab# ]{0,6}\n){0,6}", password in "[!-~]([ -~]{0,8}[!-~])?") {
            let before = text::parse(old.as_bytes(), Grammar::Map).rows;
            let new = with_row(old.as_bytes(), "[x.example]:25", Some(&format!("u:{password}")));
            prop_assert_eq!(row(&new, "[x.example]:25"), Some(format!("u:{password}")));
            for r in before {
                prop_assert_eq!(row(&new, &r.key).is_some(), true);
            }
        }
    }
}
