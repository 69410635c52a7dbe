//! What the queue manager obeys, read from one configuration snapshot.

use crate::agents::Own;
use crate::bounce::plan::Policy;
use crate::bounce::template::Templates;
use crate::schedule::Limits;
use crate::schedule::backoff::Patience;
use crate::schedule::feedback::Share;
use config::master_cf::Services;
use config::params::bounce::Bounce;
use config::params::main::Main;
use config::params::master::Master;
use config::params::qmgr::Qmgr;
use config::{Config, Problem};
use proto::Address;
use std::collections::HashMap;

/// A transport of master.cf.
#[derive(Clone, Debug)]
pub struct Transport {
    /// The program of its line, such as `local`.
    pub command: String,
    /// One of those that need no other process.
    pub own: Option<Own>,
    /// Who speaks in result lines.
    pub voice: events::Source,
    /// What it allows.
    pub limits: Limits,
    /// `defer_transports` names it.
    pub deferred: bool,
    /// `soft_bounce` for it.
    pub soft_bounce: bool,
}

/// Everything read at once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The snapshot.
    pub config: Config,
    /// This host.
    pub main: Main,
    /// Of the scheduler.
    pub qmgr: Qmgr,
    /// Of notices.
    pub bounce: Bounce,
    /// The transports by name.
    pub transports: HashMap<String, Transport>,
    /// When to try again.
    pub patience: Patience,
    /// Who hears what.
    pub policy: Policy,
    /// The words of notices.
    pub templates: Templates,
    /// `postfix/qmgr`.
    pub voice: events::Source,
    /// `postfix/bounce`.
    pub bounce_voice: events::Source,
    /// Feedback amounts that could not be understood: parameter and text.
    pub odd_shares: Vec<(String, String)>,
    /// `postfix/error`, for what no transport can be found for.
    pub error_voice: events::Source,
}

impl Settings {
    /// Reads them. Every fault is reported.
    pub fn load(config: &Config, services: &Services) -> Result<Settings, Vec<Problem>> {
        // Each with the settings of its own line.
        let of = |name: &str| {
            services.all.iter().find(|s| s.name == name).map_or_else(|| config.clone(), |s| s.config(config))
        };
        let (own, notices) = (of("qmgr"), of("bounce"));
        let (main, qmgr) = (Main::load(&own)?, Qmgr::load(&own)?);
        let (bounce, master) = (Bounce::load(&notices)?, Master::load(config)?);
        let bounce_name = Main::load(&notices)?.syslog_name().clone();
        let mut problems = Vec::new();
        let micros = |t: &config::value::Time| t.as_micros() as u64;
        let patience = Patience {
            shortest: micros(qmgr.minimal_backoff_time()),
            longest: micros(qmgr.maximal_backoff_time()).max(micros(qmgr.minimal_backoff_time())),
            run: micros(qmgr.queue_run_delay()),
            lifetime: micros(qmgr.maximal_queue_lifetime()),
            bounce_lifetime: micros(qmgr.bounce_queue_lifetime()),
            warning: micros(qmgr.delay_warning_time()),
        };
        let (mut transports, mut odd_shares) = (HashMap::new(), Vec::new());
        for service in services.all.iter().filter(|s| s.kind == config::master_cf::Kind::Unix) {
            let own = service.config(config);
            match transport(service, &own, &qmgr, &master, &mut odd_shares) {
                Ok(t) => {
                    transports.insert(service.name.clone(), t);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let file = bounce.bounce_template_file();
        let templates = if file.is_empty() {
            Ok(Templates::built_in())
        } else {
            std::fs::read(file)
                .map_err(|e| {
                    let what = format!("open {file}: {e}");
                    Problem::of("bounce_template_file", what, "create the file, or remove the setting")
                })
                .and_then(|bytes| Templates::read(file, &String::from_utf8_lossy(&bytes)))
        };
        let templates = templates.unwrap_or_else(|problem| {
            problems.push(problem);
            Templates::built_in()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let host = main.myhostname();
        let address = |text: &str| Address::from_internal(text);
        let policy = Policy {
            classes: bounce.notify_classes().0.iter().map(|c| c.to_ascii_lowercase()).collect(),
            bounce: address(bounce.bounce_notice_recipient()),
            double_bounce: address(bounce.double_bounce_notice_recipient()),
            delay: address(bounce.delay_notice_recipient()),
            double_sender: Address::new(main.double_bounce_sender(), Some(host)),
            size_limit: u64::try_from(*bounce.bounce_size_limit()).unwrap_or(0),
        };
        let number = std::process::id();
        let voice = |daemon| events::Source::new(main.syslog_name(), daemon, number);
        Ok(Settings {
            voice: voice("qmgr"),
            bounce_voice: events::Source::new(&bounce_name, "bounce", number),
            error_voice: voice("error"),
            config: config.clone(),
            odd_shares,
            transports,
            patience,
            policy,
            templates,
            main,
            qmgr,
            bounce,
        })
    }

    /// The limits of all transports, for the scheduler.
    pub fn limits(&self) -> HashMap<String, Limits> {
        self.transports.iter().map(|(n, t)| (n.clone(), t.limits.clone())).collect()
    }

    /// What is odd without being an error: for the log.
    pub fn warn(&self) {
        if self.patience.bounce_lifetime > self.patience.lifetime {
            self.voice.say(&crate::events::Adjusted {});
        }
        for (name, text) in &self.odd_shares {
            self.voice.say(&crate::events::OddFeedback { name: name.clone(), text: text.clone() });
        }
    }
}

fn transport(
    service: &config::master_cf::Service,
    own: &Config,
    qmgr: &Qmgr,
    master: &Master,
    odd_shares: &mut Vec<(String, String)>,
) -> Result<Transport, Problem> {
    let name = service.name.as_str();
    let number = |suffix: &str, local: Option<i64>| -> Result<usize, Problem> {
        let text = match local {
            Some(n) => n.to_string(),
            None => own.of_transport(name, suffix)?,
        };
        text.trim().parse().map_err(|_| {
            let full = format!("{name}_{suffix}");
            own.placed(
                &full,
                Problem::of(&full, format!("bad numerical value {text:?}"), "write a whole number"),
            )
        })
    };
    // What cannot be understood counts as 1, and is told, as Postfix does.
    let mut share = |suffix: &str| -> Result<Share, Problem> {
        let text = own.of_transport(name, suffix)?;
        let full = format!("{name}_{suffix}");
        let full = if own.explicit(&full).is_some() { full } else { format!("default_{suffix}") };
        Ok(Share::read(&text).unwrap_or_else(|| {
            let odd = (full, text);
            if !odd_shares.contains(&odd) {
                odd_shares.push(odd);
            }
            Share::ONE
        }))
    };
    let time = |suffix: &str| -> Result<u64, Problem> {
        let text = own.of_transport(name, suffix)?;
        let full = format!("{name}_{suffix}");
        let time = <config::value::Time as config::value::Value>::read(&full, &text);
        time.map(|t| t.as_micros() as u64).map_err(|p| own.placed(&full, p))
    };
    let is_local = name == "local";
    let concurrency = number(
        "destination_concurrency_limit",
        is_local.then_some(*qmgr.local_destination_concurrency_limit()),
    )?;
    let recipients =
        number("destination_recipient_limit", is_local.then_some(*qmgr.local_destination_recipient_limit()))?;
    let processes = service
        .process_limit()
        .map_or(usize::try_from(*master.default_process_limit()).unwrap_or(100), |n| n as usize);
    let syslog_name = own.get("syslog_name")?;
    let together = match service.command() {
        // Of one recipient each: one process has one mailbox before it.
        "local" if recipients == 1 => proto::job::MOST_TOGETHER / 2,
        "virtual" => proto::job::MOST_TOGETHER / 2,
        _ => 1,
    };
    Ok(Transport {
        command: service.command().to_string(),
        own: Own::of(service.command()),
        voice: events::Source::new(&syslog_name, service.command(), std::process::id()),
        limits: Limits {
            processes,
            // Those are tasks; the others are processes, or done at once.
            elastic: service.process_limit().is_none() && matches!(service.command(), "smtp" | "lmtp"),
            concurrency,
            together,
            writers: std::thread::available_parallelism().map_or(2, |n| n.get().max(2)),
            initial: number("initial_destination_concurrency", None)?.max(1),
            positive: share("destination_concurrency_positive_feedback")?,
            negative: share("destination_concurrency_negative_feedback")?,
            recipients,
            cohorts: number("destination_concurrency_failed_cohort_limit", None)?,
            dead_time: qmgr.minimal_backoff_time().as_micros() as u64,
            rate_delay: time("destination_rate_delay")?,
            transport_delay: time("transport_rate_delay")?,
        },
        deferred: qmgr.defer_transports().0.iter().any(|t| t == name),
        soft_bounce: <config::value::Bool as config::value::Value>::read(
            "soft_bounce",
            &own.get("soft_bounce")?,
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "local unix - n n - - local\nrelay unix - - n - 7 smtp\n  -o syslog_name=postfix/relay\n\
                          retry unix - - n - - error\nsmtp inet n - n - - smtpd\n";

    fn load(main: &str) -> Settings {
        let config = Config::from_text(std::path::Path::new("/nowhere"), main).unwrap();
        let services = config::master_cf::read("/nowhere/master.cf", MASTER).unwrap();
        Settings::load(&config, &services).unwrap()
    }

    #[test]
    fn transports_and_their_limits() {
        let s = load(
            "myhostname = h.example\ndefault_process_limit = 50\nrelay_destination_concurrency_limit = 3\n\
             relay_destination_rate_delay = 2s\nrelay_transport_rate_delay = 1m\n\
             relay_destination_concurrency_positive_feedback = 1/concurrency\ndefer_transports = relay\nsoft_bounce = yes\n",
        );
        let local = &s.transports["local"];
        assert_eq!((local.limits.processes, local.limits.concurrency, local.limits.recipients), (50, 2, 1));
        let relay = &s.transports["relay"];
        assert_eq!((relay.limits.processes, relay.limits.concurrency, relay.limits.recipients), (7, 3, 50));
        assert_eq!((relay.limits.rate_delay, relay.deferred), (2_000_000, true));
        assert_eq!((relay.limits.transport_delay, relay.limits.positive.at(4)), (60_000_000, 0.25));
        assert_eq!(relay.limits.negative, Share::ONE);
        assert!(!relay.limits.elastic, "its line names a limit");
        assert_eq!(relay.voice.tag(), "postfix/relay/smtp");
        assert_eq!(s.transports["retry"].own, Some(Own::Error));
        assert!(!s.transports.contains_key("smtp") && relay.soft_bounce);
        assert_eq!(s.policy.double_sender.internal(), "double-bounce@h.example");
        assert_eq!(s.patience.shortest, 300_000_000);
    }

    #[test]
    fn feedback_that_means_nothing_is_told_and_counts_as_one() {
        let s = load(
            "relay_destination_concurrency_negative_feedback = 1/2\n\
                      default_destination_concurrency_positive_feedback = 7\n",
        );
        let all: Vec<String> = s.odd_shares.iter().map(|(n, t)| format!("{n} {t}")).collect();
        assert!(all.contains(&"relay_destination_concurrency_negative_feedback 1/2".to_string()), "{all:?}");
        assert!(all.contains(&"default_destination_concurrency_positive_feedback 7".to_string()));
        assert_eq!((all.len(), s.transports["relay"].limits.negative), (2, Share::ONE));
    }

    #[test]
    fn faults_name_the_parameter() {
        let config = Config::from_text(
            std::path::Path::new("/nowhere"),
            "relay_destination_concurrency_limit = many\nbounce_template_file = /no/such\n",
        )
        .unwrap();
        let services = config::master_cf::read("/nowhere/master.cf", MASTER).unwrap();
        let problems = Settings::load(&config, &services).unwrap_err();
        assert!(problems[0].to_string().contains("relay_destination_concurrency_limit"));
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|p| p.contains("/no/such")), "{all:?}");
    }
}
