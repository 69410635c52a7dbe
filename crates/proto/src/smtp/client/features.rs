//! What a server says that it can do. RFC 5321 4.1.1.1

use super::Answer;

/// Keywords of EHLO that are not to be noticed (`smtp_discard_ehlo_keywords`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keywords {
    words: Vec<String>,
    silent: bool,
}

impl Keywords {
    /// From the words of a list.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Keywords {
        let mut words: Vec<String> = words.into_iter().map(str::to_ascii_uppercase).collect();
        let silent = words.iter().any(|w| w == "SILENT-DISCARD");
        words.retain(|w| w != "SILENT-DISCARD");
        Keywords { words, silent }
    }

    /// What the log says of them, in Postfix's order; `None` when it is to say nothing.
    pub fn told(&self) -> Option<String> {
        let known = KNOWN.iter().filter(|k| self.has(k)).copied().collect::<Vec<_>>().join(" ");
        (!self.silent && !known.is_empty()).then_some(known)
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }
}

/// The keywords that can be ignored.
const KNOWN: &[&str] = &[
    "8BITMIME",
    "AUTH",
    "CHUNKING",
    "PIPELINING",
    "SIZE",
    "VRFY",
    "ETRN",
    "STARTTLS",
    "XCLIENT",
    "XFORWARD",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "SMTPUTF8",
];

/// What a server can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The name it gave itself.
    pub name: String,
    /// It answered EHLO or LHLO.
    pub extended: bool,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: the largest message; 0 when it does not say.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 2034.
    pub enhanced_codes: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954: the mechanisms, in the server's order.
    pub auth: Vec<String>,
    /// The attributes that XFORWARD takes.
    pub xforward: Vec<String>,
    /// The attributes that XCLIENT takes.
    pub xclient: Vec<String>,
    /// A size that is no number.
    pub bad_size: Option<String>,
}

/// The most words that are kept of a line.
const MOST_WORDS: usize = 100;

impl Features {
    /// From the answer to EHLO or LHLO.
    pub fn extended(answer: &Answer, ignored: &Keywords) -> Features {
        let mut features = Features { extended: true, ..Features::plain(answer) };
        for line in answer.text.split('\n').skip(1) {
            let Some(rest) = line.get(4..) else { continue };
            let mut words = rest.split([' ', '\t', '=']).filter(|w| !w.is_empty());
            let Some(keyword) = words.next().map(str::to_ascii_uppercase) else { continue };
            if ignored.has(&keyword) {
                continue;
            }
            let upper = |words: &mut dyn Iterator<Item = &str>| -> Vec<String> {
                words.take(MOST_WORDS).map(str::to_ascii_uppercase).collect()
            };
            match keyword.as_str() {
                "PIPELINING" => features.pipelining = true,
                "8BITMIME" => features.eight_bit = true,
                "SMTPUTF8" => features.smtputf8 = true,
                "DSN" => features.dsn = true,
                "CHUNKING" => features.chunking = true,
                "ENHANCEDSTATUSCODES" => features.enhanced_codes = true,
                "STARTTLS" => features.starttls = true,
                "SIZE" => {
                    features.size = Some(match words.next() {
                        None => 0,
                        Some(word) => match word.parse() {
                            Ok(size) => size,
                            Err(_) => {
                                features.bad_size = Some(word.to_string());
                                0
                            }
                        },
                    });
                }
                // Old servers write `AUTH=`, alone or beside the right form.
                "AUTH" => {
                    for word in upper(&mut words) {
                        if !features.auth.contains(&word) && features.auth.len() < MOST_WORDS {
                            features.auth.push(word);
                        }
                    }
                }
                "XFORWARD" => features.xforward = upper(&mut words),
                "XCLIENT" => features.xclient = upper(&mut words),
                _ => {}
            }
        }
        features
    }

    /// From the answer to HELO.
    pub fn plain(answer: &Answer) -> Features {
        let first = answer.text.split('\n').next().and_then(|l| l.get(4..)).unwrap_or_default();
        let name = first.split_ascii_whitespace().next().unwrap_or_default().to_string();
        Features { name, ..Features::default() }
    }
}
