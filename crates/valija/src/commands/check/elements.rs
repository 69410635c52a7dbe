//! Elements of lists that are not obeyed though the list is: restrictions and table types to come.

use config::value::split_list;

/// Restrictions that are obeyed, and old names of such; `smtpd::restrictions` has the same set.
const OBEYED: [&str; 31] = [
    "permit",
    "reject",
    "defer",
    "permit_mynetworks",
    "permit_sasl_authenticated",
    "reject_unauth_destination",
    "defer_unauth_destination",
    "permit_auth_destination",
    "warn_if_reject",
    "defer_if_permit",
    "defer_if_reject",
    "permit_inet_interfaces",
    "reject_invalid_helo_hostname",
    "reject_invalid_hostname",
    "reject_non_fqdn_helo_hostname",
    "reject_non_fqdn_hostname",
    "reject_non_fqdn_recipient",
    "reject_non_fqdn_sender",
    "reject_unauth_pipelining",
    "reject_unlisted_recipient",
    "reject_unlisted_sender",
    "reject_multi_recipient_bounce",
    "reject_plaintext_session",
    "reject_unknown_recipient",
    "check_relay_domains",
    "check_client_access",
    "check_reverse_client_hostname_access",
    "check_helo_access",
    "check_sender_access",
    "check_recipient_access",
    "check_etrn_access",
];

/// Table types that Postfix has and this build does not open.
const TABLES_TO_COME: [&str; 9] =
    ["mysql", "pgsql", "ldap", "sqlite", "tcp", "socketmap", "memcache", "nis", "mongodb"];

/// Elements of `text`, the expanded value of `name`, that have no effect or another one.
pub(super) fn unsupported(name: &str, text: &str, classes: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let restrictions =
        name.ends_with("_restrictions") && name.starts_with("smtpd_") || classes.iter().any(|c| c == name);
    for element in split_list(text) {
        let plain = element.trim_start_matches(['!', '{', ' ']);
        let plain = plain.strip_prefix("proxy:").unwrap_or(plain);
        if let Some((kind, _)) = plain.split_once(':')
            && TABLES_TO_COME.contains(&kind)
        {
            out.push(format!("{kind}: tables come with a later version"));
        } else if restrictions
            && plain.starts_with(|c: char| c.is_ascii_alphabetic())
            && plain.contains('_')
            && !plain.contains([':', '.', '='])
            && !OBEYED.contains(&plain.to_ascii_lowercase().as_str())
            && !classes.contains(&element)
        {
            out.push(format!("{plain} comes with a later version"));
        }
    }
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_one_by_one() {
        let text = "permit_mynetworks, reject_rbl_client zen.example.org, my_class, check_client_access mysql:/x, permit";
        let classes = ["my_class".to_string()];
        assert_eq!(
            unsupported("smtpd_client_restrictions", text, &classes),
            ["reject_rbl_client comes with a later version", "mysql: tables come with a later version",]
        );
        assert_eq!(unsupported("mydestination", "a_b, hash:/x", &[]), [""; 0]);
        assert_eq!(unsupported("alias_maps", "proxy:ldap:/x", &[]).len(), 1);
    }
}
