//! Elements of lists that are not obeyed though the list is: restrictions and table types to come.

use config::value::split_list;

/// Restrictions that are obeyed, and old names of such; `smtpd::restrictions` has the same set.
const OBEYED: &[&str] = &[
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
    "check_sasl_access",
    "reject_sender_login_mismatch",
    "reject_authenticated_sender_login_mismatch",
    "reject_unauthenticated_sender_login_mismatch",
    "reject_known_sender_login_mismatch",
    "check_ccert_access",
    "permit_tls_clientcerts",
    "permit_tls_all_clientcerts",
    "reject_unknown_client_hostname",
    "reject_unknown_client",
    "reject_unknown_reverse_client_hostname",
    "reject_unknown_helo_hostname",
    "reject_unknown_hostname",
    "reject_unknown_sender_domain",
    "reject_unknown_recipient_domain",
    "reject_rbl_client",
    "permit_dnswl_client",
    "reject_rhsbl_client",
    "permit_rhswl_client",
    "reject_rhsbl_reverse_client",
    "reject_rhsbl_helo",
    "reject_rhsbl_sender",
    "reject_rhsbl_recipient",
    "reject_maps_rbl",
    "permit_mx_backup",
    "check_client_a_access",
    "check_client_mx_access",
    "check_client_ns_access",
    "check_reverse_client_hostname_a_access",
    "check_reverse_client_hostname_mx_access",
    "check_policy_service",
    "reject_unverified_sender",
    "reject_unverified_recipient",
    "check_reverse_client_hostname_ns_access",
    "check_helo_a_access",
    "check_helo_mx_access",
    "check_helo_ns_access",
    "check_sender_a_access",
    "check_sender_mx_access",
    "check_sender_ns_access",
    "check_recipient_a_access",
    "check_recipient_mx_access",
    "check_recipient_ns_access",
];

/// What may become of mail when a milter fails.
const MILTER_ACTIONS: [&str; 4] = ["accept", "reject", "tempfail", "quarantine"];

/// Table types that Postfix has and this build does not open.
const TABLES_TO_COME: [&str; 9] =
    ["mysql", "pgsql", "ldap", "sqlite", "tcp", "socketmap", "memcache", "nis", "mongodb"];

/// Elements of `text`, the expanded value of `name`, that have no effect or another one.
pub(super) fn unsupported(name: &str, text: &str, classes: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    if name == "milter_default_action" && !MILTER_ACTIONS.contains(&text) {
        out.push(format!("{text:?} is no action: while a milter fails, mail is refused for now"));
    }
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

/// Tables that are opened by the programs that deliver here, which run as root and link no library for patterns of that type.
const OPENED_BY_ROOT: [&str; 7] = [
    "alias_maps",
    "mailbox_command_maps",
    "mailbox_transport_maps",
    "fallback_transport_maps",
    "virtual_mailbox_maps",
    "virtual_uid_maps",
    "virtual_gid_maps",
];

/// Tables in `text` that cannot be asked where mail is delivered to files. `transport` is what delivers to the domains of
/// virtual mailboxes: another one than `virtual` does not look at the first of their tables.
pub(super) fn not_for_root(name: &str, text: &str, transport: &str) -> Vec<String> {
    let elsewhere = name == "virtual_mailbox_maps" && transport.split(':').next() != Some("virtual");
    if !OPENED_BY_ROOT.contains(&name) || elsewhere {
        return Vec::new();
    }
    let elements = split_list(text);
    let plain = elements.iter().map(|e| e.strip_prefix("proxy:").unwrap_or(e));
    let pcre = plain.filter(|e| e.starts_with("pcre:"));
    pcre.map(|e| format!("{e} cannot be opened by the programs that deliver here; write it as regexp:"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_root_does_not_open() {
        let of = |name, transport| not_for_root(name, "hash:/a, pcre:/b, proxy:pcre:/c", transport).len();
        assert_eq!(of("alias_maps", "lmtp:unix:x"), 2);
        assert_eq!(
            (of("virtual_mailbox_maps", "virtual"), of("virtual_mailbox_maps", "lmtp:unix:x")),
            (2, 0)
        );
        assert_eq!(of("virtual_alias_maps", "virtual"), 0);
    }

    #[test]
    fn named_one_by_one() {
        let text = "permit_mynetworks, check_policy_service unix:private/p, reject_rbl_client x.org, my_class, check_client_access mysql:/x, permit";
        let classes = ["my_class".to_string()];
        assert_eq!(
            unsupported("smtpd_client_restrictions", text, &classes),
            ["mysql: tables come with a later version"]
        );
        assert_eq!(unsupported("mydestination", "a_b, hash:/x", &[]), [""; 0]);
        assert_eq!(unsupported("milter_default_action", "quarantine", &[]), [""; 0]);
        assert!(unsupported("milter_default_action", "shutdown", &[])[0].contains("no action"));
        assert_eq!(unsupported("alias_maps", "proxy:ldap:/x", &[]).len(), 1);
    }
}
