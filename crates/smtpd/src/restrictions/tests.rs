//! Keys and names; whole lists are tested with sessions.

use super::*;

#[test]
fn enhanced_codes_fit() {
    for (text, code, expected) in [
        ("go away", 550, ("5.7.1", "go away")),
        ("4.7.9 go away", 550, ("5.7.9", "go away")),
        ("5.7.9 go away", 450, ("4.7.9", "go away")),
        ("5.7 go away", 550, ("5.7.1", "5.7 go away")),
        ("5.7.9999 go", 450, ("4.7.1", "5.7.9999 go")),
    ] {
        let (enhanced, rest) = split_enhanced(text, "5.7.1", code);
        assert_eq!((enhanced.as_str(), rest), expected, "{text:?}");
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = FAMILIES.iter().flat_map(|f| f.iter()).map(|(n, _)| *n).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert_eq!(current_name("reject_non_fqdn_hostname"), "reject_non_fqdn_helo_hostname");
}

#[test]
fn codes_suit_what_is_refused() {
    for (code, class, expected) in [
        ("5.1.1", "Sender address", Some("5.1.7")),
        ("4.1.2", "Sender address", Some("4.1.8")),
        ("5.1.8", "Sender address", None),
        ("5.1.7", "Recipient address", Some("5.1.3")),
        ("5.1.1", "Recipient address", None),
        ("5.1.1", "Helo command", Some("5.0.0")),
        ("5.7.1", "Helo command", None),
    ] {
        assert_eq!(suiting(code, class).as_deref(), expected, "{code} {class}");
    }
}
