//! How rules are cited: `RFC 5321 4.1.1.3`, so that an index can be made of them.

use crate::{Source, none, rust};
use regex::Regex;

fn misspelt(file: &Source) -> Vec<String> {
    let cited = Regex::new(r"\bRFCs? ?[-#]?\d+|\bRFC\b|\brfc[ -]\d+").expect("a pattern");
    let right = Regex::new(r"^RFC [1-9]\d{2,4}($|[^\d])").expect("a pattern");
    let section = Regex::new(r"^RFC \d+,? ?(§|[Ss]ection|[Ss]ec\.|[Cc]hapter)").expect("a pattern");
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        // Only comments cite; a string may be what a peer is to read.
        let Some(at) = line.find("//") else { continue };
        let comment = &line[at..];
        for place in cited.find_iter(comment) {
            let rest = &comment[place.start()..];
            if !right.is_match(rest) || section.is_match(rest) {
                let shown: String = rest.chars().take(30).collect();
                found.push(format!("{}:{}: write `RFC 5321 4.1.1.3`, not `{shown}`", file.path, number + 1));
            }
        }
    }
    found
}

#[test]
fn rules_are_cited_in_one_form() {
    let sample = |text: &str| misspelt(&Source { path: "a.rs".into(), text: text.into() }).len();
    for bad in [
        "// RFC5321 4.5",
        "// RFC 5321 section 4.5",
        "// see RFC 5321, section 4",
        "/// rfc 5321",
        "// RFC-5321",
    ] {
        assert_eq!(sample(bad), 1, "{bad}");
    }
    for good in
        ["// RFC 5321 4.1.1.3", "/// RFC 3463, RFC 3464 2.3", "let a = 1;", "//! strict_rfc821_envelopes"]
    {
        assert_eq!(sample(good), 0, "{good}");
    }
    let citing = rust().iter().filter(|file| file.text.contains("RFC ")).count();
    assert!(citing > 5, "only {citing} files cite a rule");
    none(rust().iter().filter(|file| file.path != "tests/house/rfc.rs").flat_map(misspelt).collect());
}
