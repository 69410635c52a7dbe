//! Everything the mail role makes of one reading of the configuration. Built as a whole before it
//! is used; what began with an older one keeps that.

use super::Queue;
use super::addresses;
use super::deliver::Voices;
use super::files::Passed;
use super::verify::{self, Probes};
use super::world::{Wishes, World};
use cleanup::Intake;
use cleanup::intake::Door;
use cleanup::pickup::Manner;
use config::master_cf::{Kind, Services};
use config::params::main::Main;
use config::params::smtpd::Smtpd;
use config::{Config, Problem};
use net::dns::Resolver;
use rewrite::Rewriter;
use smtpd::limits::Limits;
use smtpd::verify::Verifier;
use smtpd::{Parts, Service};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tables::Types;

events::events! {
    /// A lookup table has a fault, or row, that the administrator should mend.
    TableWarning { what: String } Warning "{what}"
    /// A lookup table changed.
    TableNews { what: String } Info "{what}"
}

/// Who finds things out, for longer than a snapshot. Who asks name servers has a limited number of questions open at a time, and so what strangers
/// make us ask about themselves does not hold up our own mail.
pub struct Resolvers {
    /// For the SMTP server.
    pub of_strangers: Resolver,
    /// For deliveries.
    pub of_our_mail: Resolver,
    /// Who knows whether addresses can be delivered to.
    pub verifier: Arc<Verifier>,
}

impl Resolvers {
    /// Name servers are those of this machine's resolv.conf.
    pub fn system(config: &Config) -> Result<Resolvers, String> {
        let settings = smtpd::verify::Settings::load(config).map_err(join)?;
        Ok(Resolvers {
            of_strangers: Resolver::system(),
            of_our_mail: Resolver::system(),
            verifier: Arc::new(Verifier::new(settings)),
        })
    }
}

/// One configuration in force.
pub struct Snapshot {
    /// main.cf.
    pub config: Config,
    /// master.cf.
    pub services: Arc<Services>,
    /// What addresses mean.
    pub rewriter: Arc<Rewriter>,
    /// Where probes of addresses go.
    pub probe_router: Arc<Rewriter>,
    /// Who knows whether addresses can be delivered to.
    pub verifier: Arc<Verifier>,
    /// The doors into the queue.
    pub intake: Intake<Queue>,
    /// The SMTP servers, by the name of their service.
    pub smtpd: BTreeMap<String, Arc<Service<Intake<Queue>>>>,
    /// How many sessions each may have at once; 0 is without limit.
    pub limits: BTreeMap<String, usize>,
    /// `syslog_name`.
    pub syslog_name: String,
    /// What becomes of mail from the maildrop.
    pub pickup: Manner,
    /// Files that master opened for it.
    pub passed: Passed,
    /// Mail to other hosts.
    pub client: Arc<smtp::Client>,
}

impl Snapshot {
    /// Reads main.cf and master.cf; the text of an error names file, line and remedy.
    pub fn read(directory: &Path) -> Result<(Config, Services), String> {
        let config = Config::load(directory).map_err(join)?;
        let services = config::master_cf::load(directory).map_err(join)?;
        Ok((config, services))
    }

    /// Builds everything from what was read.
    pub fn build(
        config: Config,
        services: Services,
        queue: &Arc<Queue>,
        (counters, logins): (&Arc<Limits>, &Arc<login::Shared>),
        wishes: &Wishes,
        resolvers: &Resolvers,
        passed: Passed,
    ) -> Result<Snapshot, String> {
        let main = Main::load(&config).map_err(join)?;
        let syslog_name = main.syslog_name().clone();
        let types = types(&config, &syslog_name, passed.clone());
        let own = addresses::own(&config);
        let rewriter = Arc::new(Rewriter::open(&config, &types, &own).map_err(join)?);
        let intake = doors(&config, &services, queue, &types, &rewriter)?;
        let probe_router = verify::router(&config, &types, &own, &rewriter)?;
        smtpd::verify::Settings::load(&config).map_err(join)?;
        let verifier = resolvers.verifier.clone();
        let probes = Arc::new(Probes::new(intake.clone(), verifier.clone()));
        let around = smtp::Surroundings {
            types: &types,
            rewriter: rewriter.clone(),
            own: &own,
            resolver: resolvers.of_our_mail.clone(),
        };
        let client = Arc::new(smtp::Client::load(&config, &services, &around).map_err(join)?);
        let default_limit = config.get("default_process_limit").ok().and_then(|t| t.parse().ok());
        let pickup = pickup(&config, &services)?;
        let smtpd_voice = events::Source::new(&syslog_name, "smtpd", std::process::id());
        let allowed = config.get("valija_allow_open_relay").is_ok_and(|v| v.eq_ignore_ascii_case("yes"));
        let (mut smtpd, mut limits) = (BTreeMap::new(), BTreeMap::new());
        for service in services.all.iter().filter(|s| s.kind == Kind::Inet && s.command() == "smtpd") {
            let own_config = service.config(&config);
            let lister = match service.overrides.iter().any(|(name, _)| names_addresses(name)) {
                true => Arc::new(Rewriter::open(&own_config, &types, &own).map_err(join)?),
                false => rewriter.clone(),
            };
            let parts = Parts {
                backend: intake.clone(),
                world: Arc::new(World::new(
                    (rewriter.clone(), lister),
                    resolvers.of_strangers.clone(),
                    wishes.clone(),
                    (verifier.clone(), probes.clone()),
                    smtpd_voice.clone(),
                )),
                types: types.clone(),
                limits: counters.clone(),
                logins: logins.clone(),
                chroot: service.chroot(&config),
                name: service.name.clone(),
                own_addresses: own.iter().copied().collect(),
            };
            let built = Service::load(&own_config, parts).map_err(join)?;
            if !allowed
                && !only_from_here(service, &own_config)
                && let Some(why) = built.relays_for_strangers()
            {
                let remedy = "mend the restrictions, or write valija_allow_open_relay = yes";
                return Err(format!(
                    "master.cf, line {}: service {}: {why}; {remedy}",
                    service.line, service.name
                ));
            }
            smtpd.insert(service.name.clone(), Arc::new(built));
            let limit = service.process_limit().map(|n| n as usize).or(default_limit);
            limits.insert(service.name.clone(), limit.unwrap_or(100));
        }
        Ok(Snapshot {
            config,
            services: Arc::new(services),
            probe_router,
            verifier,
            rewriter,
            intake,
            smtpd,
            limits,
            syslog_name,
            pickup,
            passed,
            client,
        })
    }

    /// Who speaks for the deliveries of a transport: the program of its service, under the
    /// service's `syslog_name`.
    pub fn voices(&self) -> Voices {
        let mut names = BTreeMap::new();
        for service in self.services.all.iter().filter(|s| s.kind != Kind::Inet) {
            let config = service.config(&self.config);
            let tag =
                Main::load(&config).map_or_else(|_| self.syslog_name.clone(), |m| m.syslog_name().clone());
            names.insert(service.name.clone(), (tag, service.command().to_string()));
        }
        let default = self.syslog_name.clone();
        Arc::new(move |transport| match names.get(transport) {
            Some((tag, program)) => events::Source::new(tag, program, std::process::id()),
            None => events::Source::new(&default, transport, std::process::id()),
        })
    }
}

fn types(config: &Config, syslog_name: &str, passed: Passed) -> Types {
    let source = events::Source::new(syslog_name, "proxymap", std::process::id());
    pcre::register(Types::for_config(config))
        .opener(Arc::new(move |path: &Path| passed.open(path)))
        .notices(move |notice| match notice.warning {
            true => source.say(&TableWarning { what: notice.to_string() }),
            false => source.say(&TableNews { what: notice.to_string() }),
        })
        .build()
}

/// The service `pickup`, with its overrides.
fn pickup(config: &Config, services: &Services) -> Result<Manner, String> {
    let service = services.all.iter().find(|s| s.command() == "pickup");
    let own = service.map_or_else(|| config.clone(), |s| s.config(config));
    let (main, smtpd) = (Main::load(&own).map_err(join)?, Smtpd::load(&own).map_err(join)?);
    Ok(Manner {
        service: smtpd.cleanup_service_name().clone(),
        content_filter: smtpd.content_filter().clone(),
        overrides: smtpd.receive_override_options().0.clone(),
        speaker: events::Source::new(main.syslog_name(), "pickup", std::process::id()),
    })
}

fn doors(
    config: &Config,
    services: &Services,
    queue: &Arc<Queue>,
    types: &Types,
    rewriter: &Arc<Rewriter>,
) -> Result<Intake<Queue>, String> {
    let mut named = BTreeMap::new();
    for service in services.all.iter().filter(|s| s.kind == Kind::Unix && s.command() == "cleanup") {
        // A cleanup service may have tables of its own.
        let own_config = service.config(config);
        let own = match service.overrides.is_empty() {
            true => rewriter.clone(),
            false => {
                Arc::new(Rewriter::open(&own_config, types, &addresses::own(&own_config)).map_err(join)?)
            }
        };
        let door = Door::load(&own_config, types, own).map_err(join)?;
        named.insert(service.name.clone(), door);
    }
    let door = match named.remove("cleanup") {
        Some(door) => door,
        None => Door::load(config, types, rewriter.clone()).map_err(join)?,
    };
    Ok(Intake::new(queue.clone(), door, named))
}

/// Whether smtpd itself asks the tables of this parameter whether an address exists.
fn names_addresses(parameter: &str) -> bool {
    parameter.ends_with("_maps") || parameter == "show_user_unknown_table_name"
}

/// Whether a listener is reached from this host alone: what it permits, it permits to nobody else.
fn only_from_here(service: &config::master_cf::Service, config: &Config) -> bool {
    let loopback = |address: &str| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        address.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback()) || address == "localhost"
    };
    match service.listen().and_then(|l| l.host) {
        Some(host) => loopback(&host),
        None => {
            let text = config.get("inet_interfaces").unwrap_or_default();
            let all = tables::split_list(&text);
            !all.is_empty() && all.iter().all(|a| a == "loopback-only" || loopback(a))
        }
    }
}

/// All problems in one line.
pub fn join(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
