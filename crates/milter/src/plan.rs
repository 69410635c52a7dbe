//! Which filters there are, and how each is treated: `smtpd_milters`, `non_smtpd_milters` and their settings.

use crate::macros::braced;
use config::params::milter::Milter;
use config::value::{self, Value, split_list};
use config::{Config, Problem};
use net::Endpoint;
use proto::milter::machine::Fallback;
use proto::milter::{Offer, Stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One filter.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As it is written, for the log.
    pub name: String,
    pub endpoint: Endpoint,
    /// Where it is for a chrooted daemon of Postfix: below the queue directory.
    pub below: Option<Endpoint>,
    pub offer: Offer,
    pub fallback: Fallback,
    /// The default action as it is written, when it means nothing.
    pub odd_action: Option<String>,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
    pub content_timeout: Duration,
}

/// The filters of a listener, in their order, and the macros they are told.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) targets: Vec<Target>,
    pub(crate) manner: Arc<Manner>,
}

/// What all filters have in common.
#[derive(Debug)]
pub struct Manner {
    params: Milter,
    queue: PathBuf,
    pub(crate) macros: BTreeMap<Stage, Vec<String>>,
    pub(crate) defaults: BTreeMap<String, String>,
    /// `milter_macro_daemon_name`.
    pub daemon_name: String,
    /// `milter_macro_v`.
    pub v: String,
}

impl Manner {
    /// Reads what holds for all filters of this configuration.
    pub fn load(config: &Config) -> Result<Manner, Vec<Problem>> {
        let params = Milter::load(config)?;
        let lists = [
            (Stage::Connect, params.milter_connect_macros()),
            (Stage::Helo, params.milter_helo_macros()),
            (Stage::Mail, params.milter_mail_macros()),
            (Stage::Rcpt, params.milter_rcpt_macros()),
            (Stage::Data, params.milter_data_macros()),
            (Stage::EndOfHeader, params.milter_end_of_header_macros()),
            (Stage::EndOfMessage, params.milter_end_of_data_macros()),
            (Stage::Unknown, params.milter_unknown_command_macros()),
        ];
        let macros =
            lists.into_iter().map(|(stage, list)| (stage, list.0.iter().map(|n| braced(n)).collect()));
        let mut defaults = BTreeMap::new();
        for element in &params.milter_macro_defaults().0 {
            // `{name}=value`, `name=value`, or `{ name = value }` where there is white space.
            let inner = value::in_braces(element).filter(|inner| inner.contains('=')).unwrap_or(element);
            let Some((name, value)) = inner.split_once('=') else {
                let what = format!("missing '=' after \"{element}\"");
                let problem = Problem::of("milter_macro_defaults", what, "write name=value");
                return Err(vec![config.placed("milter_macro_defaults", problem)]);
            };
            defaults.insert(braced(name.trim()), value.trim().to_string());
        }
        Ok(Manner {
            macros: macros.collect(),
            defaults,
            daemon_name: params.milter_macro_daemon_name().clone(),
            v: params.milter_macro_v().clone(),
            queue: PathBuf::from(config.get("queue_directory").unwrap_or_default()),
            params,
        })
    }

    /// Where sockets without a leading slash are, and content while filters look at it.
    pub fn queue(&self) -> &Path {
        &self.queue
    }
}

impl Plan {
    /// `smtpd_milters`; `None` when there are none.
    pub fn of_smtp(config: &Config, manner: &Arc<Manner>) -> Result<Option<Plan>, Vec<Problem>> {
        Plan::read_for(config, "smtpd_milters", &manner.params.smtpd_milters().0, manner)
    }

    /// `non_smtpd_milters`; `None` when there are none.
    pub fn of_others(config: &Config, manner: &Arc<Manner>) -> Result<Option<Plan>, Vec<Problem>> {
        Plan::read_for(config, "non_smtpd_milters", &manner.params.non_smtpd_milters().0, manner)
    }

    fn read_for(
        config: &Config,
        parameter: &str,
        elements: &[String],
        manner: &Arc<Manner>,
    ) -> Result<Option<Plan>, Vec<Problem>> {
        let plan = Plan::read(elements, manner).map_err(|what| {
            let remedy = "write unix:path, inet:host:port, or { inet:host:port, name=value }";
            vec![config.placed(parameter, Problem::of(parameter, what, remedy))]
        })?;
        Ok((!plan.targets.is_empty()).then_some(plan))
    }

    /// The filters that a row of `smtpd_milter_maps` names; an error is words for the administrator.
    pub fn read_row(row: &str, manner: &Arc<Manner>) -> Result<Option<Plan>, String> {
        if row.trim().eq_ignore_ascii_case("DISABLE") {
            return Ok(None);
        }
        let plan = Plan::read(&split_list(row), manner)?;
        Ok((!plan.targets.is_empty()).then_some(plan))
    }

    fn read(elements: &[String], manner: &Arc<Manner>) -> Result<Plan, String> {
        let targets = elements.iter().map(|e| target(e, manner)).collect::<Result<_, _>>()?;
        Ok(Plan { targets, manner: manner.clone() })
    }

    /// What all of them have in common.
    pub fn manner(&self) -> &Arc<Manner> {
        &self.manner
    }
}

fn target(element: &str, manner: &Manner) -> Result<Target, String> {
    let params = &manner.params;
    let words = match value::in_braces(element) {
        Some(inner) => split_list(inner),
        None => vec![element.to_string()],
    };
    let mut words = words.into_iter();
    let name = words.next().ok_or_else(|| format!("no filter in \"{element}\""))?;
    let mut action = params.milter_default_action().clone();
    let mut protocol = params.milter_protocol().0.clone();
    let mut connect_timeout = *params.milter_connect_timeout();
    let mut command_timeout = *params.milter_command_timeout();
    let mut content_timeout = *params.milter_content_timeout();
    for word in words {
        let setting = value::in_braces(&word).unwrap_or(&word).to_string();
        let (key, text) =
            setting.split_once('=').ok_or_else(|| format!("missing '=' after \"{setting}\""))?;
        let (key, text) = (key.trim(), text.trim());
        let time = || Duration::read(key, text).map_err(|p| format!("{key}: {}", p.what));
        match key {
            "default_action" => action = text.to_string(),
            "protocol" => protocol = split_list(text),
            "connect_timeout" => connect_timeout = time()?,
            "command_timeout" => command_timeout = time()?,
            "content_timeout" => content_timeout = time()?,
            other => return Err(format!("unknown setting \"{other}\" of a filter")),
        }
    }
    let offer = Offer::of(&protocol).ok_or_else(|| format!("bad protocol \"{}\"", protocol.join(" ")))?;
    let fallback = Fallback::of(&action);
    let least = |time: Duration| time.max(Duration::from_secs(1));
    let queue = &manner.queue;
    let known = ["inet:", "unix:", "local:"].iter().any(|kind| name.starts_with(kind));
    let endpoint = Endpoint::parse(&name, queue, false).ok().filter(|_| known);
    let endpoint = endpoint.ok_or_else(|| format!("{name:?} names no filter"))?;
    let below = match &endpoint {
        Endpoint::Unix { path, written } => path.strip_prefix("/").ok().filter(|_| written.starts_with('/')),
        Endpoint::Inet { .. } => None,
    };
    let below = below.map(|path| Endpoint::Unix { path: queue.join(path), written: name.clone() });
    Ok(Target {
        endpoint,
        below,
        name,
        offer,
        fallback,
        odd_action: (fallback == Fallback::Unknown).then_some(action),
        connect_timeout: least(connect_timeout),
        command_timeout: least(command_timeout),
        content_timeout: least(content_timeout),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(text: &str) -> Arc<Manner> {
        let text = format!("queue_directory = /q\n{text}");
        let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
        Arc::new(Manner::load(&config).unwrap())
    }

    #[test]
    fn elements() {
        let manner = manner("milter_default_action = accept\nmilter_command_timeout = 5s\n");
        let of = |text: &str| Plan::read(&split_list(text), &manner).map(|p| p.targets);
        let all = of("inet:localhost:8891, unix:private/x { local:/no/such, default_action=reject, { protocol = 2 }, connect_timeout=2m } inet:[::1]:9 inet:7").unwrap();
        let place = |t: &Target| match &t.endpoint {
            Endpoint::Inet { host, port, .. } => format!("{host} {port}"),
            Endpoint::Unix { path, .. } => path.display().to_string(),
        };
        let places: Vec<_> = all.iter().map(place).collect();
        assert_eq!(places, ["localhost 8891", "/q/private/x", "/no/such", "::1 9", " 7"]);
        let below: Vec<_> = all.iter().map(|t| t.below.is_some()).collect();
        assert_eq!(below, [false, false, true, false, false]);
        assert_eq!((all[0].fallback, all[2].fallback), (Fallback::Accept, Fallback::Reject));
        assert_eq!((all[0].command_timeout.as_secs(), all[2].connect_timeout.as_secs()), (5, 120));
        assert_eq!((all[2].offer, all[0].offer == all[2].offer), (Offer::of(&["2".into()]).unwrap(), false));
        assert_eq!((all[2].name.as_str(), all[0].name.as_str()), ("local:/no/such", "inet:localhost:8891"));
        for bad in [
            "localhost",
            "inet:x:y",
            "{ inet:h:1, x=y }",
            "{ inet:h:1, protocol=9 }",
            "{}",
            "{ inet:h:1, a }",
            "{ inet:h:1, connect_timeout=x }",
            "unix:",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(Plan::read_row("disable", &manner).unwrap().is_none());
        assert_eq!(Plan::read_row("inet:h:1 inet:h:2", &manner).unwrap().unwrap().targets.len(), 2);
    }

    #[test]
    fn defaults_and_lists_of_macros() {
        let manner =
            manner("milter_macro_defaults = {x}=a y=b { {z} = c d }\nmilter_data_macros = i x {y}\n");
        let defaults: Vec<_> = manner.defaults.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(defaults, ["y=b", "{x}=a", "{z}=c d"]);
        assert_eq!(manner.macros[&Stage::Data], ["i", "x", "{y}"]);
        let config = Config::from_text(Path::new("/nowhere"), "milter_macro_defaults = x\n").unwrap();
        assert!(Manner::load(&config).is_err());
    }
}
