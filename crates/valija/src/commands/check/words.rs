//! Parameters of the SMTP server that take one of a few words and without one of them refuse to start.

use config::master_cf::Service;
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
    ("mynetworks_style", &["host", "subnet", "class"], "write host, subnet or class"),
    ("reject_tempfail_action", &["defer", "defer_if_permit"], "write defer or defer_if_permit"),
];

/// The same of the `-o` settings of an SMTP server in master.cf.
pub(super) fn overrides(service: &Service, config: &Config) -> Vec<Problem> {
    if service.command() != "smtpd" {
        return Vec::new();
    }
    let set = service.overrides.iter().map(|(name, _)| name.as_str());
    let of = |name: &str| {
        let mut problem = problem(name, &config.get(name).ok()?)?;
        problem.what = format!("{} -o {name}: {}", service.id(), problem.what);
        problem.name = None;
        problem.place = Some((config.directory().join("master.cf").display().to_string(), service.line));
        Some(problem)
    };
    set.filter(|name| !is_without_effect(config, name)).filter_map(of).collect()
}

/// Without `mynetworks`, its style is what counts.
fn is_without_effect(config: &Config, name: &str) -> bool {
    name == "mynetworks_style" && config.explicit("mynetworks").is_some()
}

/// Why the SMTP server would not start with this value.
pub(super) fn problem(name: &str, value: &str) -> Option<Problem> {
    let (_, words, remedy) = WORDS.iter().find(|(known, ..)| *known == name)?;
    let known = words.iter().any(|word| value.eq_ignore_ascii_case(word));
    (!known).then(|| Problem::of(name, format!("bad value {value:?}"), *remedy))
}

/// The same of all settings of main.cf.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let of = |(name, ..): &Words| {
        if is_without_effect(config, name) {
            return None;
        }
        Some(config.placed(name, problem(name, &config.get(name).ok()?)?))
    };
    WORDS.iter().filter_map(of).collect()
}
