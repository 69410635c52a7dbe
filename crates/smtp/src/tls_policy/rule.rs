//! What the administrator demands for a destination: the level of main.cf, or a row of
//! `smtp_tls_policy_maps` or `smtp_tls_per_site`, with what differs there.

use super::{Level, Tls};
use net::tls::Protocols;
use net::tls::ciphers::Ciphers;
use net::tls::client::{Authorities, Roots};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// What is demanded.
#[derive(Clone, Debug)]
pub struct Rule {
    /// How much.
    pub level: Level,
    /// Names to match, where a row says which; else those of main.cf.
    pub matching: Vec<String>,
    /// Versions; a word that is not understood fails the handshake, as in Postfix.
    pub protocols: Result<Protocols, String>,
    /// Ciphers; likewise.
    pub ciphers: Result<Ciphers, String>,
    /// The name to ask for, as written.
    pub server_name: String,
    /// Trusted instead of main.cf's authorities.
    pub anchors: Option<Arc<Roots>>,
    /// An encrypted connection may be used again.
    pub reuse: bool,
    /// A row says so: what domains publish does not change it.
    pub from_table: bool,
    /// What connections under this rule have in common.
    pub key: String,
}

/// Why there is no rule; what is to be said about it in the log was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclear;

/// What a row may say beside its level.
#[derive(Default)]
struct Row {
    level: Option<Level>,
    matching: Vec<String>,
    protocols: Option<Vec<String>>,
    grade: Option<String>,
    exclude: Option<Vec<String>>,
    server_name: Option<String>,
    anchors: Vec<PathBuf>,
    reuse: Option<bool>,
}

impl Tls {
    /// The rule for a next hop (as it is written) and a host of it. What is wrong with a row goes to
    /// `warnings`.
    pub fn rule(&self, destination: &str, host: &str, warnings: &mut Vec<String>) -> Result<Rule, Unclear> {
        let (mut row, mut from_table) = (Row::default(), false);
        let mut level = self.level;
        if !self.policy_maps.is_empty() {
            if let Some(text) = self.row_for(destination, warnings)? {
                let place =
                    format!("{}_tls_policy_maps, next-hop destination \"{destination}\"", self.service);
                row = read_row(&text, &place, warnings)?;
                level = row.level.unwrap_or(level);
                from_table = true;
            }
        } else if !self.per_site.is_empty() {
            let found = self.site(destination, host, warnings)?;
            from_table = found.is_some();
            level = match found {
                // MAY says less than anything else that was said.
                Some(Level::May) => level.max(Level::May),
                Some(found) => found,
                None => level,
            };
        }
        let rule = self.complete(level, row, from_table);
        if level == Level::Fingerprint && rule.matching.is_empty() {
            warnings.push(format!(
                "nexthop domain {destination}: configured at fingerprint security level, but with no fingerprints to match."
            ));
            return Err(Unclear);
        }
        Ok(rule)
    }

    fn complete(&self, level: Level, row: Row, from_table: bool) -> Rule {
        let mandatory = level.is_mandatory();
        let matching = match (level, row.matching.is_empty()) {
            (Level::Verify, true) => self.verify_match.clone(),
            (Level::Secure, true) => self.secure_match.clone(),
            (Level::Fingerprint, true) => self.fingerprints.clone(),
            _ => row.matching,
        };
        let words = row.protocols.as_ref().unwrap_or(if mandatory {
            &self.mandatory_protocols
        } else {
            &self.protocols
        });
        let protocols = Protocols::parse(words).map_err(|_| words.join(" "));
        let grade =
            row.grade.as_deref().unwrap_or(if mandatory { &self.mandatory_grade } else { &self.grade });
        let excluded = self.excluded.iter().chain(self.mandatory_excluded.iter().filter(|_| mandatory));
        let excluded = excluded.chain(row.exclude.iter().flatten()).map(String::as_str);
        let ciphers = match Ciphers::is_grade(grade) {
            true => Ok(Ciphers::default().excluding(excluded)),
            false => Err(grade.to_string()),
        };
        let anchors = match level {
            Level::Verify | Level::Secure if !row.anchors.is_empty() => Some(self.anchors_of(row.anchors)),
            Level::Verify | Level::Secure => self.anchors.clone(),
            _ => None,
        };
        let server_name = row.server_name.unwrap_or_else(|| self.server_name.clone());
        let reuse = row.reuse.unwrap_or(self.reuse);
        let mut rule = Rule {
            level,
            matching,
            protocols,
            ciphers,
            server_name,
            anchors,
            reuse,
            from_table,
            key: String::new(),
        };
        rule.key = rule.name();
        rule
    }

    /// Roots are read once for each set of files.
    fn anchors_of(&self, files: Vec<PathBuf>) -> Arc<Roots> {
        let mut known = self.known_anchors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, roots)) = known.iter().find(|(f, _)| *f == files) {
            return roots.clone();
        }
        let roots = Arc::new(Roots::of(Authorities { only: files.clone(), ..Authorities::default() }));
        if known.len() >= MOST_SETS {
            known.remove(0);
        }
        known.push((files, roots.clone()));
        roots
    }

    /// The row for a next hop. What is written with brackets or a port is looked up as it is; a domain's
    /// parents are looked up, too, with a dot before them.
    fn row_for(&self, destination: &str, warnings: &mut Vec<String>) -> Result<Option<String>, Unclear> {
        let mut key = destination.to_ascii_lowercase();
        let domain = net::dns::valid(&key);
        loop {
            match self.policy_maps.lookup(&key) {
                Ok(Some(hit)) => return Ok(Some(hit.value)),
                Ok(None) => {}
                Err(e) => {
                    warnings.push(e.to_string());
                    warnings.push(format!(
                        "{}_tls_policy_maps, next-hop destination \"{destination}\": policy table lookup error",
                        self.service
                    ));
                    return Err(Unclear);
                }
            }
            match key.get(1..).and_then(|rest| rest.find('.')).filter(|_| domain) {
                Some(at) => key = key.split_off(at + 1),
                None => return Ok(None),
            }
        }
    }

    /// The old tables: the stricter of what they say about next hop and host, but NONE beats MAY.
    fn site(
        &self,
        destination: &str,
        host: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Level>, Unclear> {
        let mut found: Option<Level> = None;
        for key in [destination, host] {
            let said = match self.per_site.lookup(&key.to_ascii_lowercase()) {
                Ok(said) => said,
                Err(e) => {
                    warnings.push(e.to_string());
                    return Err(Unclear);
                }
            };
            let Some(said) = said else { continue };
            let level = match said.value.to_ascii_uppercase().as_str() {
                "NONE" => Level::None,
                "MAY" => Level::May,
                "MUST" => Level::Verify,
                "MUST_NOPEERMATCH" => Level::Encrypt,
                other => {
                    warnings.push(format!(
                        "{}_tls_per_site, \"{key}\": unknown TLS policy \"{other}\"; write NONE, MAY, MUST or MUST_NOPEERMATCH",
                        self.service
                    ));
                    return Err(Unclear);
                }
            };
            found = Some(match (found, level) {
                (None, level) => level,
                (Some(Level::None), Level::May) | (Some(Level::May), Level::None) => Level::None,
                (Some(before), level) => before.max(level),
            });
        }
        Ok(found)
    }
}

/// Sets of trust anchor files that are kept.
const MOST_SETS: usize = 64;

impl Rule {
    /// What distinguishes it from others.
    fn name(&self) -> String {
        let mut name = self.level.to_string();
        let anchors = self.anchors.as_ref().map(Arc::as_ptr);
        let _ = write!(
            name,
            " {:?} {:?} {:?} {} {anchors:?} {}",
            self.matching, self.protocols, self.ciphers, self.server_name, self.reuse
        );
        name
    }
}

fn read_row(text: &str, place: &str, warnings: &mut Vec<String>) -> Result<Row, Unclear> {
    let mut bad = |what: String| {
        warnings.push(format!("{place}: {what}"));
        Unclear
    };
    let mut words = text.split([' ', '\t', '\r', '\n', ',']).filter(|w| !w.is_empty());
    let Some(word) = words.next() else { return Err(bad("invalid empty policy".into())) };
    let level = Level::named(word).ok_or_else(|| bad(format!("invalid security level \"{word}\"")))?;
    let mut row = Row { level: Some(level), ..Row::default() };
    for word in words {
        // Only errors in a level are, when nothing is encrypted.
        if level == Level::None {
            bad(format!("ignoring attribute \"{word}\" with TLS disabled"));
            continue;
        }
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let name = name.to_ascii_lowercase();
        let list = || value.split([':', '|']).filter(|v| !v.is_empty()).map(String::from).collect::<Vec<_>>();
        let invalid = |name: &str| format!("attribute \"{name}\" invalid at security level \"{level}\"");
        let twice = |name: &str| format!("attribute \"{name}\" is specified multiple times");
        match name.as_str() {
            "ciphers" | "protocols" | "servername" | "connection_reuse" | "match" | "tafile" | "exclude"
                if value.is_empty() && name != "exclude" =>
            {
                return Err(bad(format!("attribute \"{name}\" without value")));
            }
            "match" => match level {
                Level::Fingerprint => row.matching.extend(value.split('|').map(String::from)),
                Level::Verify | Level::Secure => row.matching.extend(value.split(':').map(String::from)),
                _ => return Err(bad(invalid("match"))),
            },
            "tafile" => match level {
                Level::Verify | Level::Secure => row.anchors.push(value.into()),
                _ => return Err(bad(invalid("tafile"))),
            },
            "ciphers" if row.grade.is_some() => return Err(bad(twice("ciphers"))),
            "ciphers" => row.grade = Some(value.to_string()),
            "protocols" if row.protocols.is_some() => return Err(bad(twice("protocols"))),
            "protocols" => row.protocols = Some(list()),
            "servername" if row.server_name.is_some() => return Err(bad(twice("servername"))),
            "servername" => row.server_name = Some(value.to_string()),
            "exclude" => row.exclude = Some(list()),
            "connection_reuse" => match value.to_ascii_lowercase().as_str() {
                "yes" => row.reuse = Some(true),
                "no" => row.reuse = Some(false),
                _ => return Err(bad(format!("attribute \"connection_reuse\" has bad value: \"{value}\""))),
            },
            other => return Err(bad(format!("invalid attribute name: \"{other}\""))),
        }
    }
    Ok(row)
}

/// Reads a row; one that cannot be read says why.
#[cfg(any(fuzzing, feature = "fuzz"))]
pub(super) fn row_of(text: &str) {
    let mut warnings = Vec::new();
    let row = read_row(text, "table", &mut warnings);
    assert!(row.is_ok() || !warnings.is_empty());
}
