//! Published policies as they are written: the TXT record that says that there is one, and the policy.
//! RFC 8461 3.

/// What a domain demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mail must not go otherwise.
    Enforce,
    /// Mail goes; what would have been refused is to be reported.
    Testing,
    /// Nothing (any more).
    None,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What it demands.
    pub mode: Mode,
    /// For how many seconds it holds.
    pub max_age: u64,
    /// Names of mail exchangers; `*.` stands for one label.
    pub mx: Vec<String>,
}

/// RFC 8461 3.2: a year.
const LONGEST: u64 = 31_557_600;
/// More exchangers no domain has.
const MOST_MX: usize = 200;

/// The id of the policy that a domain's records announce. Several of them mean none. RFC 8461 3.1
pub fn announced<'a>(records: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut ours = records.into_iter().filter(|r| {
        let first = r.split(';').next().unwrap_or_default();
        first.trim_end() == "v=STSv1"
    });
    let record = ours.next()?;
    if ours.next().is_some() {
        return None;
    }
    let fields = record.split(';').filter_map(|f| f.split_once('='));
    let id = fields.into_iter().find(|(name, _)| name.trim() == "id").map(|(_, v)| v.trim())?;
    let good = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then(|| id.to_string())
}

impl Policy {
    /// Reads it; the error says what is wrong. RFC 8461 3.2
    pub fn read(text: &str) -> Result<Policy, String> {
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim() {
                // Of what is there twice the first counts, but for the exchangers.
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" => {
                    let name = value.trim_end_matches('.').to_ascii_lowercase();
                    if !net::dns::valid(&name) {
                        return Err(format!("mx {:?} is no name", shortened(value)));
                    }
                    mx.push(name);
                }
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("its version is not STSv1".into());
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            other => return Err(format!("mode {:?} is none", shortened(other.unwrap_or_default()))),
        };
        let digits =
            max_age.filter(|a| !a.is_empty() && a.len() <= 10 && a.bytes().all(|b| b.is_ascii_digit()));
        let max_age = digits.and_then(|a| a.parse::<u64>().ok()).ok_or("max_age is missing, or no number")?;
        if mx.is_empty() && mode != Mode::None {
            return Err("it names no mx".into());
        }
        if mx.len() > MOST_MX {
            return Err(format!("it names more than {MOST_MX} mx"));
        }
        Ok(Policy { mode, max_age: max_age.min(LONGEST), mx })
    }

    /// Whether it names this exchanger. RFC 8461 4.1
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => {
                host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == parent)
            }
            None => *pattern == host,
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn announcements() {
        let id = |records: &[&str]| announced(records.iter().copied());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["v=spf1 -all", "v=STSv1;id=1"]).as_deref(), Some("1"));
        assert_eq!(id(&["v=STSv1; x=y; id=abc; z"]).as_deref(), Some("abc"));
        for none in [
            "",
            "v=STSv1",
            "v=STSv1;",
            "v=STSv1; id=",
            "v=STSv2; id=1",
            " v=STSv1x; id=1",
            "v=STSv1; id=a b",
            "v=STSv1; id=../x",
        ] {
            assert_eq!(id(&[none]), None, "{none}");
        }
        assert_eq!(id(&[&format!("v=STSv1; id={}", "1".repeat(33))]), None);
        assert_eq!(id(&["v=STSv1; id=1", "v=STSv1; id=2"]), None, "several");
    }

    #[test]
    fn policies() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\nmax_age: 604800\r\nnew: x\r\n";
        let policy = Policy::read(text).unwrap();
        assert_eq!((policy.mode, policy.max_age, policy.mx.len()), (Mode::Enforce, 604_800, 2));
        for (host, named) in [
            ("MAIL.example.com.", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("xmail.example.com", false),
        ] {
            assert_eq!(policy.names(host), named, "{host}");
        }
        assert!(Policy::read("version:STSv1\nmode:none\nmax_age:99999999999\n").is_err());
        assert_eq!(Policy::read("version:STSv1\nmode:none\nmax_age:9999999999\n").unwrap().max_age, LONGEST);
        for bad in [
            "",
            "mode: enforce\nmx: a.b\nmax_age: 1\n",
            "version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 1\n",
            "version: STSv1\nmode: always\nmx: a.b\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: a.b\n",
            "version: STSv1\nmode: enforce\nmx: a.b\nmax_age: -1\n",
            "version: STSv1\nmode: enforce\nmx: a..b/c\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n",
        ] {
            assert!(Policy::read(bad).is_err(), "{bad}");
        }
        let many = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{}", "mx: a.b\n".repeat(201));
        assert!(Policy::read(&many).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,300}", host in ".{0,40}") {
            let _ = announced([text.as_str()]);
            if let Ok(policy) = Policy::read(&text) {
                let _ = policy.names(&host);
            }
        }
    }
}
