//! Who gets which notice. bounce(8), RFC 3461 5.2, 6

use super::notice::{Reported, Returned};
use super::template::Kind;
use proto::Address;
use proto::envelope::{Envelope, Notify, Ret};

/// What main.cf says about notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `notify_classes`, lower case.
    pub classes: Vec<String>,
    /// `bounce_notice_recipient`.
    pub bounce: Address,
    /// `2bounce_notice_recipient`.
    pub double_bounce: Address,
    /// `delay_notice_recipient`.
    pub delay: Address,
    /// The sender of mail to the postmaster: `double_bounce_sender@myhostname`.
    pub double_sender: Address,
    /// `bounce_size_limit`; 0 for none.
    pub size_limit: u64,
}

/// One notice to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What it tells.
    pub kind: Kind,
    /// To the postmaster, not to the sender.
    pub postmaster: bool,
    /// Its envelope sender.
    pub sender: Address,
    /// Its recipient.
    pub to: Address,
    /// Places in the list of what happened.
    pub about: Vec<usize>,
    /// How much of the message comes along.
    pub returned: Returned,
}

/// The notices to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub notices: Vec<Planned>,
    /// A notice to the postmaster could not be delivered: nobody hears of that but the log.
    pub discarded: bool,
}

/// Whether the sender wants to hear of a failure. RFC 3461 4.1
pub fn wants_failure(notify: Notify) -> bool {
    !notify.never && (notify.failure || !(notify.success || notify.delay))
}

/// Whether the sender wants to hear of a delay.
pub fn wants_delay(notify: Notify) -> bool {
    !notify.never && (notify.delay || !(notify.success || notify.failure))
}

/// Whether the sender wants to hear of success.
pub fn wants_success(notify: Notify) -> bool {
    !notify.never && notify.success
}

/// Decides about one kind of news of one message. `all`: what happened, with each one's NOTIFY.
pub fn plan(policy: &Policy, kind: Kind, envelope: &Envelope, all: &[(Notify, Reported)]) -> Plan {
    let mut plan = Plan::default();
    let wants = |notify: Notify| match kind {
        Kind::Failure => wants_failure(notify),
        Kind::Delay => wants_delay(notify),
        Kind::Success | Kind::Verify => true,
    };
    let wanted: Vec<usize> = all.iter().enumerate().filter(|(_, (n, _))| wants(*n)).map(|(i, _)| i).collect();
    if all.is_empty() {
        return plan;
    }
    let class = |name: &str| policy.classes.iter().any(|c| c == name);
    let big = policy.size_limit > 0 && envelope.size > policy.size_limit;
    let whole = if kind == Kind::Failure && envelope.dsn_ret != Some(Ret::Headers) && !big {
        Returned::Whole
    } else {
        Returned::Headers
    };
    let postmaster = |to: &Address, about, returned| Planned {
        kind,
        postmaster: true,
        sender: policy.double_sender.clone(),
        to: to.clone(),
        about,
        returned,
    };
    let everybody: Vec<usize> = (0..all.len()).collect();
    if same(&envelope.sender, &policy.double_sender) {
        plan.discarded = kind == Kind::Failure;
    } else if envelope.sender.is_null() {
        // A bounce must not bounce. RFC 5321 6.1
        if kind == Kind::Failure && class("2bounce") {
            plan.notices.push(postmaster(&policy.double_bounce, everybody, whole));
        }
    } else {
        if !wanted.is_empty() {
            plan.notices.push(Planned {
                kind,
                postmaster: false,
                sender: Address::null(),
                to: envelope.sender.clone(),
                about: wanted,
                returned: whole,
            });
        }
        match kind {
            Kind::Failure if class("bounce") => {
                plan.notices.push(postmaster(&policy.bounce, everybody, Returned::Headers));
            }
            Kind::Delay if class("delay") => {
                plan.notices.push(postmaster(&policy.delay, everybody, Returned::Headers));
            }
            _ => {}
        }
    }
    plan
}

fn same(a: &Address, b: &Address) -> bool {
    a.internal().eq_ignore_ascii_case(&b.internal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::job::Action;
    use proto::status::{Code, Status};

    fn policy(classes: &str) -> Policy {
        Policy {
            classes: classes.split_whitespace().map(str::to_string).collect(),
            bounce: Address::from_internal("postmaster"),
            double_bounce: Address::from_internal("two"),
            delay: Address::from_internal("late"),
            double_sender: Address::from_internal("double-bounce@h"),
            size_limit: 1_000,
        }
    }

    fn all(notify: &[&str]) -> Vec<(Notify, Reported)> {
        let one = |text: &&str| {
            let has = |w| text.contains(w);
            let notify = Notify {
                never: has("never"),
                success: has("success"),
                failure: has("failure"),
                delay: has("delay"),
            };
            let reported = Reported {
                to: Address::from_internal("a@b"),
                original: "a@b".into(),
                orcpt: None,
                status: Status::new(Code(5, 0, 0), "x"),
                action: Action::Delivered,
            };
            (notify, reported)
        };
        notify.iter().map(one).collect()
    }

    fn envelope(sender: &str) -> Envelope {
        Envelope { sender: Address::from_internal(sender), size: 300, ..Envelope::default() }
    }

    fn show(plan: Plan) -> Vec<(String, bool, Vec<usize>, Returned)> {
        plan.notices.into_iter().map(|n| (n.to.internal(), n.postmaster, n.about, n.returned)).collect()
    }

    #[test]
    fn failures() {
        use Returned::{Headers, Whole};
        let j = |about: &[usize], r| ("j@b".to_string(), false, about.to_vec(), r);
        let p = |to: &str, n: usize, r| (to.to_string(), true, (0..n).collect::<Vec<_>>(), r);
        let f = |classes: &str, e: &Envelope, n: &[&str]| plan(&policy(classes), Kind::Failure, e, &all(n));
        let e = envelope("j@b");
        assert_eq!(show(f("", &e, &["", "never", "success", "failure", "delay"])), [j(&[0, 3], Whole)]);
        assert_eq!(show(f("bounce", &e, &["never"])), [p("postmaster", 1, Headers)]);
        assert_eq!(show(f("bounce", &e, &[""])), [j(&[0], Whole), p("postmaster", 1, Headers)]);
        assert_eq!(show(f("", &Envelope { size: 3_000, ..e.clone() }, &[""])), [j(&[0], Headers)]);
        assert_eq!(
            show(f("", &Envelope { dsn_ret: Some(Ret::Headers), ..e.clone() }, &[""])),
            [j(&[0], Headers)]
        );
        assert_eq!(f("bounce", &envelope(""), &[""]), Plan::default());
        assert_eq!(show(f("2bounce", &envelope(""), &[""])), [p("two", 1, Whole)]);
        let lost = f("2bounce bounce", &envelope("Double-Bounce@h"), &[""]);
        assert!(lost.discarded && lost.notices.is_empty());
        assert_eq!(f("bounce", &e, &[]), Plan::default());
    }

    #[test]
    fn delays_and_success() {
        let e = envelope("j@b");
        let d = plan(&policy("delay"), Kind::Delay, &e, &all(&["", "failure", "delay", "never"]));
        assert_eq!(d.notices[0].about, [0, 2]);
        assert_eq!((d.notices[1].to.internal().as_str(), d.notices[1].about.len()), ("late", 4));
        assert_eq!(plan(&policy("delay"), Kind::Delay, &envelope(""), &all(&[""])), Plan::default());
        let s = plan(&policy("bounce"), Kind::Success, &e, &all(&["success"]));
        assert_eq!((s.notices.len(), s.notices[0].returned), (1, Returned::Headers));
    }
}
