//! Values of TLS parameters that ask for what our library has not.

use config::value::split_list;
use net::tls::Protocols;

/// What of a parameter's value is not as it says; `None` for what is, or is about something else.
pub(super) fn note(name: &str, value: &str) -> Option<String> {
    let (side, rest) = name.split_once("_tls_")?;
    if !["smtpd", "smtp", "lmtp"].contains(&side) {
        return None;
    }
    match rest {
        "protocols" | "mandatory_protocols" => protocols(value),
        "ciphers" | "mandatory_ciphers" if value.eq_ignore_ascii_case("null") => {
            Some("there are no ciphers here that do not encrypt; write medium or high".into())
        }
        "loglevel" if value.parse::<u32>().is_ok_and(|level| level > 2) => {
            Some("the bytes of sessions are not written down; 2 is the most there is".into())
        }
        "cert_file" if side == "smtpd" && value == "none" => {
            Some("without a certificate nothing is encrypted: there are no anonymous ciphers".into())
        }
        _ => None,
    }
}

/// Versions that the value allows and that are not spoken.
fn protocols(value: &str) -> Option<String> {
    const OLD: [&str; 4] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"];
    let words = split_list(value);
    let Ok(spoken) = Protocols::parse(&words) else {
        return Some("a word of it is not understood; write >=TLSv1.2, or names such as TLSv1.3".into());
    };
    if !spoken.tls12 && !spoken.tls13 {
        return Some("it allows neither TLSv1.2 nor TLSv1.3, and there is nothing else: allow one".into());
    }
    let allowed: Vec<&str> = OLD.into_iter().skip(1).filter(|old| Protocols::allow(&words, old)).collect();
    (!allowed.is_empty()).then(|| {
        format!("{} allowed by it, and not spoken here: such old peers cannot encrypt", join(&allowed))
    })
}

fn join(names: &[&str]) -> String {
    match names {
        [one] => format!("{one} is"),
        _ => format!("{} are", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_ask_for_too_much() {
        for fine in [">=TLSv1.2", "TLSv1.3", "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", "TLSv1.2 TLSv1.3"] {
            assert_eq!(note("smtpd_tls_protocols", fine), None, "{fine}");
        }
        let of = |value| note("smtp_tls_mandatory_protocols", value).unwrap_or_default();
        assert!(of(">=TLSv1").starts_with("TLSv1, TLSv1.1 are allowed"));
        assert!(of("!SSLv2, !SSLv3, !TLSv1").starts_with("TLSv1.1 is allowed"));
        assert!(of("").starts_with("SSLv3, TLSv1, TLSv1.1 are"));
        assert!(of("TLSv1").contains("neither"));
        assert!(of("TLSv9").contains("not understood"));
        assert!(note("smtpd_tls_mandatory_ciphers", "null").is_some());
        assert_eq!(note("smtpd_tls_ciphers", "high"), None);
        assert!(note("smtpd_tls_loglevel", "4").is_some() && note("smtpd_tls_loglevel", "2").is_none());
        assert_eq!(note("mydestination", "null"), None);
    }
}
