//! The words of notices, built in or from `bounce_template_file`. bounce(5)

use config::{Config, Problem};
use std::collections::HashMap;

/// Which notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Mail that was given up.
    Failure,
    /// Mail that is late.
    Delay,
    /// Mail that arrived.
    Success,
    /// An answer to `sendmail -bv`.
    Verify,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Failure, Kind::Delay, Kind::Success, Kind::Verify];

    fn name(self) -> &'static str {
        match self {
            Kind::Failure => "failure_template",
            Kind::Delay => "delay_template",
            Kind::Success => "success_template",
            Kind::Verify => "verify_template",
        }
    }
}

/// One notice's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The character set of `text`.
    pub charset: String,
    /// The value of From.
    pub from: String,
    /// The value of Subject to the sender.
    pub subject: String,
    /// The value of Subject to the postmaster.
    pub postmaster_subject: String,
    /// The first part, lines ended by line feeds; not expanded yet.
    pub text: String,
}

const FROM: &str = "Mail Delivery System <MAILER-DAEMON>";
const OPENING: &str = "This is the mail system at host $myhostname.\n\n";
const HELP: &str = "For further assistance, please send mail to postmaster.\n\n\
    If you do so, please include this problem report. You can\n\
    delete your own text from the attached returned message.\n\n";
const SIGNATURE: &str = "                   The mail system\n";

/// All templates.
#[derive(Clone, Debug)]
pub struct Templates(HashMap<Kind, Template>);

impl Templates {
    /// The built-in ones.
    pub fn built_in() -> Templates {
        let build = |subject: &str, postmaster: &str, middle: &str| Template {
            charset: "utf-8".into(),
            from: FROM.into(),
            subject: subject.into(),
            postmaster_subject: postmaster.into(),
            text: format!("{OPENING}{middle}{SIGNATURE}"),
        };
        let failure = format!(
            "I'm sorry to have to inform you that your message could not\n\
             be delivered to one or more recipients. It's attached below.\n\n{HELP}"
        );
        let frame = "#".repeat(68);
        let delay = format!(
            "{frame}\n# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n{frame}\n\n\
             Your message could not be delivered for more than $delay_warning_time_hours hour(s).\n\
             It will be retried until it is $maximal_queue_lifetime_days day(s) old.\n\n{HELP}"
        );
        let success = "Your message was successfully delivered to the destination(s)\n\
             listed below. If the message was delivered to mailbox you will\n\
             receive no further notifications. Otherwise you may still receive\n\
             notifications of mail delivery errors from other systems.\n\n";
        let verify = "Enclosed is the mail delivery report that you requested.\n\n";
        let report = "Mail Delivery Status Report";
        Templates(HashMap::from([
            (
                Kind::Failure,
                build("Undelivered Mail Returned to Sender", "Postmaster Copy: Undelivered Mail", &failure),
            ),
            (
                Kind::Delay,
                build("Delayed Mail (still being retried)", "Postmaster Warning: Delayed Mail", &delay),
            ),
            (Kind::Success, build("Successful Mail Delivery Report", report, success)),
            (Kind::Verify, build(report, report, verify)),
        ]))
    }

    /// Those of a template file over the built-in ones.
    pub fn read(file: &str, text: &str) -> Result<Templates, Problem> {
        let mut all = Templates::built_in();
        let bad = |line: usize, what: String, remedy: &str| Problem {
            place: Some((file.to_string(), line)),
            name: Some("bounce_template_file".into()),
            what,
            remedy: remedy.into(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((n, line)) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let opening = line.split_once('=').map(|(name, rest)| (name.trim(), rest.trim()));
            let Some((name, end)) =
                opening.and_then(|(name, rest)| Some((name, rest.strip_prefix("<<")?.trim())))
            else {
                return Err(bad(
                    n + 1,
                    format!("{line:?} begins no template"),
                    "write template_name = <<EOF, and a line EOF at its end",
                ));
            };
            let mut body = Vec::new();
            loop {
                match lines.next() {
                    Some((_, l)) if l == end => break,
                    Some((_, l)) => body.push(l),
                    None => {
                        return Err(bad(
                            n + 1,
                            format!("{name} does not end"),
                            "add a line with its end word",
                        ));
                    }
                }
            }
            let Some(kind) = Kind::ALL.into_iter().find(|k| k.name() == name) else {
                return Err(bad(
                    n + 1,
                    format!("no template is named {name}"),
                    "the names are failure_template, delay_template, success_template, verify_template",
                ));
            };
            if let Some(template) = all.0.get_mut(&kind) {
                template.take(&body);
            }
        }
        Ok(all)
    }

    /// The words of a notice.
    pub fn get(&self, kind: Kind) -> Template {
        self.0.get(&kind).cloned().unwrap_or_else(|| Template {
            charset: "utf-8".into(),
            from: FROM.into(),
            subject: String::new(),
            postmaster_subject: String::new(),
            text: String::new(),
        })
    }
}

impl Template {
    fn take(&mut self, body: &[&str]) {
        let mut lines = body.iter();
        let mut text = Vec::new();
        // Without a character set of its own a template is US-ASCII.
        self.charset = "us-ascii".into();
        for line in lines.by_ref() {
            let Some((name, value)) = line
                .split_once(':')
                .filter(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
            else {
                if !line.trim().is_empty() {
                    text.push(*line);
                }
                break;
            };
            let value = value.trim().to_string();
            match name.to_ascii_lowercase().as_str() {
                "charset" => self.charset = value,
                "from" => self.from = value,
                "subject" => self.subject = value,
                "postmaster-subject" => self.postmaster_subject = value,
                _ => {}
            }
        }
        text.extend(lines.copied());
        self.text = text.iter().map(|l| format!("{l}\n")).collect();
    }

    /// The first part with its `$names` replaced.
    pub fn expanded(&self, config: &Config) -> Result<String, Problem> {
        const UNITS: [(&str, u64); 5] =
            [("seconds", 1), ("minutes", 60), ("hours", 3_600), ("days", 86_400), ("weeks", 604_800)];
        let mut values = Vec::new();
        for name in ["delay_warning_time", "maximal_queue_lifetime"] {
            let mut problems = Vec::new();
            let time = config.typed::<config::value::Time>(name, (None, None), &mut problems);
            if let Some(problem) = problems.pop() {
                return Err(problem);
            }
            let seconds = time.unwrap_or_default().as_secs();
            for (unit, length) in UNITS {
                values.push((format!("{name}_{unit}"), (seconds / length).to_string()));
            }
        }
        config.with(values.iter().map(|(n, v)| (n.as_str(), v.as_str()))).expand(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_text(std::path::Path::new("/nowhere"), text).unwrap()
    }

    #[test]
    fn built_in_words_are_those_of_postfix() {
        let c = config("myhostname = mail2.josedomingo.org\ndelay_warning_time = 4h\n");
        let all = Templates::built_in();
        let text = all.get(Kind::Failure).expanded(&c).unwrap();
        assert!(text.starts_with(
            "This is the mail system at host mail2.josedomingo.org.\n\n\
             I'm sorry to have to inform you that your message could not\n\
             be delivered to one or more recipients. It's attached below.\n\nFor further"
        ));
        assert!(text.ends_with("returned message.\n\n                   The mail system\n"));
        let text = all.get(Kind::Delay).expanded(&c).unwrap();
        assert!(text.contains("for more than 4 hour(s).\nIt will be retried until it is 5 day(s) old.\n"));
    }

    #[test]
    fn a_file_replaces_what_it_names() {
        let text = "# comment\n\nfailure_template = <<END\nCharset: iso-8859-1\nSubject: No se pudo\n\n\
                    Hola $myhostname: $$5\n  sangrado\nEND\n";
        let all = Templates::read("/x", text).unwrap();
        let t = all.get(Kind::Failure);
        assert_eq!((t.charset.as_str(), t.subject.as_str()), ("iso-8859-1", "No se pudo"));
        assert_eq!(t.from, FROM);
        assert_eq!(t.expanded(&config("myhostname = h\n")).unwrap(), "Hola h: $5\n  sangrado\n");
        assert_eq!(all.get(Kind::Delay), Templates::built_in().get(Kind::Delay));
        for (bad, line) in
            [("x\n", 1), ("\nother_template = <<E\nE\n", 2), ("failure_template = <<E\nx\n", 1)]
        {
            let problem = Templates::read("/x", bad).unwrap_err();
            assert_eq!(problem.place, Some(("/x".to_string(), line)));
        }
    }
}
