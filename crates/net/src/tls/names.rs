//! The names in certificates, and which of them fit. RFC 6125, with the wildcards that Postfix takes.

use super::certificate::Certificate;

/// How the names of a certificate are compared with what is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// `*.example.com` stands for `a.b.example.com`, too (`tls_wildcard_matches_multiple_labels`).
    pub many_labels: bool,
}

/// Whether the certificate has one of `wanted`: a name, or `.example.com` for whatever is below it.
/// The common name counts only where there are no DNS names.
pub fn fit(certificate: &Certificate, wanted: &[String], manner: Manner) -> bool {
    let own = |name: &str| wanted.iter().any(|w| fits(name, w, manner));
    match certificate.names.is_empty() {
        true => own(&certificate.subject),
        false => certificate.names.iter().any(|name| own(name)),
    }
}

/// Whether a certificate's name fits what is wanted.
fn fits(name: &str, wanted: &str, manner: Manner) -> bool {
    let (name, wanted) = (name.to_ascii_lowercase(), wanted.trim_end_matches('.').to_ascii_lowercase());
    if wanted.is_empty() || name.is_empty() {
        return false;
    }
    if wanted.len() > 1 && wanted.starts_with('.') {
        return name.len() > wanted.len() && name.ends_with(&wanted);
    }
    match name.strip_prefix("*.") {
        // A star for all of a top level domain is no name.
        Some(rest) if rest.contains('.') && !rest.contains('*') => match wanted.split_once('.') {
            Some((_, parent)) if parent == rest => true,
            _ if manner.many_labels => wanted
                .strip_suffix(rest)
                .is_some_and(|w| w.len() > 1 && w.ends_with('.') && !w.starts_with('.')),
            _ => false,
        },
        _ => name == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit() {
        let (one, many) = (Manner::default(), Manner { many_labels: true });
        let cases = [
            ("mail.example.org", "MAIL.example.org", true, true),
            ("mail.example.org", "mail.example.org.", true, true),
            ("mail.example.org", "example.org", false, false),
            ("*.example.org", "mail.example.org", true, true),
            ("*.example.org", "a.b.example.org", false, true),
            ("*.example.org", "example.org", false, false),
            ("*.example.org", ".example.org", true, true),
            ("*.example.org", "xexample.org", false, false),
            ("*.org", "example.org", false, false),
            ("m*.example.org", "mail.example.org", false, false),
            ("*.*.org", "a.b.org", false, false),
            ("a.example.org", ".example.org", true, true),
            ("example.org", ".example.org", false, false),
            ("", "", false, false),
            ("*", "a", false, false),
            ("a", ".", false, false),
            ("evil.org\0.example.org", "evil.org", false, false),
        ];
        for (name, wanted, single, multiple) in cases {
            assert_eq!(fits(name, wanted, one), single, "{name} {wanted}");
            assert_eq!(fits(name, wanted, many), multiple, "{name} {wanted}, many labels");
        }
    }
}
