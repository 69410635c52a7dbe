//! What is wanted of each scenario: a ratio against the better of the two Postfixes in the same run, or a number.

use crate::mta::System;
use crate::options::Options;
use crate::samples::{Samples, digits, more_is_better};

/// What a value is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A ratio, at least or at most, as the measure has it.
    Ratio(f64),
    /// The same, and one that is hoped for.
    Stretch(f64, f64),
    /// A number that is not to be exceeded.
    Most(f64),
    /// A number that is to be reached.
    Least(f64),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The scenario's name.
    pub scenario: &'static str,
    /// What of it.
    pub measure: &'static str,
    /// In words.
    pub title: &'static str,
    /// What is wanted.
    pub target: Target,
}

const fn goal(scenario: &'static str, measure: &'static str, title: &'static str, target: Target) -> Goal {
    Goal { scenario, measure, title, target }
}

use Target::{Least, Most, Ratio, Stretch};

/// All lines.
pub const GOALS: &[Goal] = &[
    goal("relay-100", "drained/s", "relay, 100 sessions: drained", Stretch(8.0, 10.0)),
    goal("relay-100", "accepted/s", "relay, 100 sessions: accepted", Stretch(6.0, 8.0)),
    goal("relay-10", "drained/s", "relay, 10 sessions: drained", Ratio(5.0)),
    goal("relay-1", "accepted/s", "relay, 1 session: accepted", Ratio(3.0)),
    goal(
        "relay-100-one",
        "accepted/s",
        "relay, 100 sessions, one message per connection: accepted",
        Ratio(5.0),
    ),
    goal("relay-1k", "drained/s", "relay, 1 KiB, 100 sessions: drained", Ratio(9.0)),
    goal("relay-100k", "drained/s", "relay, 100 KiB, 100 sessions: drained", Ratio(3.0)),
    goal("relay-1", "dot to 250 ms, p50", "final dot to 250, 1 session, p50", Ratio(0.45)),
    goal("relay-1", "dot to 250 ms, p99", "final dot to 250, 1 session, p99", Ratio(0.7)),
    goal("relay-100", "dot to 250 ms, p99", "final dot to 250, 100 sessions, p99", Ratio(0.3)),
    goal("relay-100", "CPU us/message", "CPU per relayed message, us", Stretch(1.0 / 9.0, 1.0 / 12.0)),
    goal("relay-100", "disk bytes/message", "bytes written to disk per message", Ratio(0.8)),
    goal("durable", "flushed before 250, %", "acknowledged only after a flush of the disk, %", Least(100.0)),
    goal("memory", "fresh, PSS MiB", "memory, fresh, MiB", Most(10.0)),
    goal("memory", "1,000 idle sessions, PSS MiB", "memory, 1,000 idle sessions, MiB", Ratio(1.0 / 30.0)),
    goal("memory", "10,000 idle sessions, PSS MiB", "memory, 10,000 idle sessions, MiB", Most(200.0)),
    goal("deferred", "mailq s", "100,000 deferred: mailq, s", Ratio(1.0 / 8.0)),
    goal("deferred", "filled, PSS MiB", "100,000 deferred: memory after they came, MiB", Most(60.0)),
    goal(
        "deferred",
        "after mailq, PSS MiB",
        "100,000 deferred: memory after a start and mailq, MiB",
        Most(60.0),
    ),
    goal("deferred", "start to banner s", "100,000 deferred: start to banner, s", Ratio(1.0 / 3.0)),
    goal("million", "start to banner s", "1,000,000 deferred: start to banner, s", Most(2.0)),
    goal("million", "first line of mailq s", "1,000,000 deferred: first message in mailq, s", Most(0.2)),
    goal("maildir", "drained/s", "local delivery, Maildir: drained", Ratio(3.0)),
    goal("mbox", "drained/s", "local delivery, mbox, one recipient: drained", Ratio(10.0)),
    goal("mbox-20", "drained/s", "local delivery, mbox, 20 recipients: drained", Ratio(8.0)),
    goal("relay-tls", "drained/s", "relay, TLS on both sides, 100 sessions: drained", Ratio(4.0)),
    goal("handshakes", "ECDSA P-256, new/s", "new TLS handshakes per second, ECDSA", Ratio(1.5)),
    goal("handshakes", "RSA 2048, new/s", "new TLS handshakes per second, RSA", Ratio(1.5)),
    goal(
        "bad",
        "live ones, times as long",
        "mail for live destinations beside 110 bad ones, times as long",
        Most(1.3),
    ),
];

impl Target {
    fn text(self, more: bool) -> String {
        let sign = if more { ">=" } else { "<=" };
        match self {
            Ratio(wanted) => format!("{sign} {}x", part(wanted)),
            Stretch(wanted, hoped) => format!("{sign} {}x, stretch {}x", part(wanted), part(hoped)),
            Most(wanted) => format!("<= {}", digits(wanted)),
            Least(wanted) => format!(">= {}", digits(wanted)),
        }
    }

    /// `own` is the value, `ratio` that to the others.
    fn verdict(self, more: bool, own: f64, ratio: Option<f64>) -> &'static str {
        let reached = |value: f64, wanted: f64| if more { value >= wanted } else { value <= wanted };
        match (self, ratio) {
            (Most(wanted), _) => met(own <= wanted),
            (Least(wanted), _) => met(own >= wanted),
            (_, None) => "-",
            (Ratio(wanted), Some(ratio)) => met(reached(ratio, wanted)),
            (Stretch(_, hoped), Some(ratio)) if reached(ratio, hoped) => "met, stretch",
            (Stretch(wanted, _), Some(ratio)) => met(reached(ratio, wanted)),
        }
    }
}

fn met(yes: bool) -> &'static str {
    if yes { "met" } else { "**missed**" }
}

/// A ratio as the issue writes it.
fn part(ratio: f64) -> String {
    let whole = (1.0 / ratio).round();
    if ratio < 0.4 && (1.0 / ratio - whole).abs() < 1e-9 { format!("1/{whole}") } else { format!("{ratio}") }
}

/// A ratio as it is compared with that.
fn ratio_text(ratio: f64) -> String {
    match ratio {
        r if r > 0.0 && r < 0.2 => format!("1/{}", digits(1.0 / r)),
        r => digits(r),
    }
}

/// A shorter run has fewer messages, and says so.
fn title(goal: &Goal, options: &Options) -> String {
    match goal.scenario {
        "deferred" => goal.title.replace("100,000", &options.deferred.to_string()),
        "million" => goal.title.replace("1,000,000", &options.million.to_string()),
        _ => goal.title.into(),
    }
}

/// The lines of what was measured, and how many of how many targets were met.
pub fn table(samples: &Samples, options: &Options) -> String {
    let mut text = String::from(
        "| | valija: best (median, worst) | tuned Postfix | Debian's Postfix | ratio | target | |\n|---|---|---|---|---|---|---|\n",
    );
    let (mut all, mut good) = (0, 0);
    for goal in GOALS {
        let Some(own) = samples.summary(goal.scenario, System::Valija, goal.measure) else { continue };
        let cell =
            |system| samples.summary(goal.scenario, system, goal.measure).map_or("-".into(), |s| s.text());
        let ratio = samples.ratio(goal.scenario, goal.measure);
        let more = more_is_better(goal.measure);
        let verdict = goal.target.verdict(more, own.best, ratio);
        if verdict != "-" {
            all += 1;
            good += usize::from(verdict.starts_with("met"));
        }
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {verdict} |\n",
            title(goal, options),
            own.text(),
            cell(System::Postfix),
            cell(System::Debian),
            ratio.map_or("-".into(), ratio_text),
            goal.target.text(more),
        ));
    }
    if all == 0 && text.lines().count() == 2 {
        return String::new();
    }
    text.push_str(&format!("\n{good} of {all} targets met.\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Sample;

    #[test]
    fn targets_are_met_or_missed() {
        let v = |target: Target, more, own, ratio| target.verdict(more, own, ratio);
        assert_eq!(v(Ratio(5.0), true, 1.0, Some(5.0)), "met");
        assert_eq!(v(Ratio(5.0), true, 1.0, Some(4.9)), "**missed**");
        assert_eq!(v(Ratio(0.45), false, 1.0, Some(0.46)), "**missed**");
        assert_eq!(v(Stretch(8.0, 10.0), true, 1.0, Some(9.0)), "met");
        assert_eq!(v(Stretch(1.0 / 9.0, 1.0 / 12.0), false, 1.0, Some(0.08)), "met, stretch");
        assert_eq!(v(Most(10.0), false, 10.5, Some(3.0)), "**missed**");
        assert_eq!(v(Least(100.0), true, 100.0, None), "met");
        assert_eq!(v(Ratio(5.0), true, 1.0, None), "-");
        assert_eq!(Ratio(1.0 / 30.0).text(false), "<= 1/30x");
        assert_eq!(
            (Ratio(1.0 / 3.0).text(false), Ratio(0.3).text(false)),
            ("<= 1/3x".into(), "<= 0.3x".into())
        );
    }

    #[test]
    fn only_what_was_measured_is_listed() {
        let options = Options::read(&[]).unwrap();
        let mut samples = Samples::default();
        assert_eq!(table(&samples, &options), "");
        for (system, rate) in [(System::Valija, 4000.0), (System::Postfix, 900.0), (System::Debian, 1000.0)] {
            samples.add(Sample { scenario: "maildir".into(), system, values: vec![("drained/s", rate)] });
        }
        let table = table(&samples, &options);
        assert!(table.contains("| 4000 | 900 | 1000 | 4.00 | >= 3x | met |"), "{table}");
        assert!(table.contains("1 of 1 targets met"), "{table}");
    }
}
