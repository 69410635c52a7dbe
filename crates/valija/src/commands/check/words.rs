//! Parameters of the SMTP server that take one of a few words and without one of them refuse to start.

use config::{Config, Problem};

type Words = (&'static str, &'static [&'static str], &'static str);

const WORDS: &[Words] = &[
    (
        "smtpd_tls_security_level",
        &["", "none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure"],
        "write none, may or encrypt",
    ),
    (
        "smtpd_forbid_bare_newline",
        &["no", "yes", "normalize", "note", "reject"],
        "write normalize, note, reject, yes or no",
    ),
    ("reject_tempfail_action", &["defer", "defer_if_permit"], "write defer or defer_if_permit"),
];

/// Why the SMTP server would not start with this value.
pub(super) fn problem(name: &str, value: &str) -> Option<Problem> {
    let (_, words, remedy) = WORDS.iter().find(|(known, ..)| *known == name)?;
    let known = words.iter().any(|word| value.eq_ignore_ascii_case(word));
    (!known).then(|| Problem::of(name, format!("bad value {value:?}"), *remedy))
}

/// The same of all settings of main.cf.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let of = |(name, ..): &Words| Some(config.placed(name, problem(name, &config.get(name).ok()?)?));
    WORDS.iter().filter_map(of).collect()
}
