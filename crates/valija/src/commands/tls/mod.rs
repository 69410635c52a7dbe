//! `valija tls test`: how mail to a domain would be encrypted, and what its servers prove, in plain words.
//!
//! Nothing is sent and nothing is kept. Everything is found by the code that delivers: the route, the
//! TLSA records, the published policy, the judgement of certificates.

mod host;

use config::Config;
use config::directory::{self, Caller};
use config::value::split_list;
use net::dns::Resolver;
use net::tls::client::{Authorities, Connector, Roots};
use smtp::route::{self, NextHop, Protocol, Random, Route, Target};
use smtp::sts::{Means, Mode, Sts};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: valija tls test [-c DIRECTORY] DOMAIN | [HOST] | HOST:PORT

Shows for a domain, or for a host in brackets, as mail is sent there from here:
  its mail exchangers, and whether name servers vouch for them (DNSSEC);
  the TLSA records of each, and which of them are about its certificate (DANE);
  the policy that the domain publishes (MTA-STS);
  the handshake, the certificates, and what each level of smtp_tls_security_level makes of them.

Exit status: 0 when all hosts encrypt, and prove what the domain publishes about them; 1 when one does
not; 69 when nothing could be found or reached; 64 for wrong words.
";

/// sysexits.h
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;

/// How long a server may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (directory, place) = match words.as_slice() {
        ["--help" | "-h"] | [_, "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["test", place] if !place.starts_with('-') => (None, *place),
        ["test", "-c", directory, place] => (Some(*directory), *place),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(EX_USAGE);
        }
    };
    let hop = match route::parse(place, Protocol::Smtp, 25) {
        Ok(Target::Inet(hop)) => hop,
        Ok(Target::Unix(_)) => return fail("a socket needs no encryption", EX_USAGE),
        Err(status) => return fail(&status.text, EX_USAGE),
    };
    let config = match load(directory) {
        Ok(config) => config,
        Err(why) => return fail(&why, 1),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e.to_string(), 1),
    };
    let world = World::of(&config);
    match runtime.block_on(test(&hop, &world)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => fail(&why, EX_UNAVAILABLE),
    }
}

fn fail(why: &str, status: u8) -> ExitCode {
    eprintln!("valija tls: {why}");
    ExitCode::from(status)
}

/// The configuration, or none where there is none.
fn load(directory: Option<&str>) -> Result<Config, String> {
    let place = directory::decide(directory, Caller::Same).map_err(|p| p.to_string())?;
    if directory.is_none() && !place.join("main.cf").exists() {
        return Config::from_text(&place, "").map_err(|_| "no configuration".to_string());
    }
    Config::load(&place)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// What is outside.
struct World {
    resolver: Resolver,
    route: route::Settings,
    roots: Roots,
    connector: Connector,
    /// How this host names itself.
    helo: String,
    /// For the words about name servers.
    local_resolver: bool,
}

impl World {
    fn of(config: &Config) -> World {
        let text = |name: &str| config.get(name).unwrap_or_default();
        let protocols = split_list(&text("inet_protocols"));
        let speaks = |name: &str| protocols.iter().any(|p| p == name || p == "all");
        let path = |name: &str| Some(text(name)).filter(|t| !t.is_empty()).map(Into::into);
        let authorities = Authorities {
            file: path("smtp_tls_CAfile"),
            path: path("smtp_tls_CApath"),
            system: true,
            ..Authorities::default()
        };
        let servers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let mut servers = servers.lines().filter_map(|l| l.strip_prefix("nameserver")).map(str::trim);
        let local = |a: &str| a.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
        World {
            resolver: Resolver::system(),
            route: route::Settings {
                ipv4: speaks("ipv4"),
                ipv6: speaks("ipv6"),
                ..route::Settings::default()
            },
            roots: Roots::of(authorities),
            connector: Connector::new(Authorities::default()),
            helo: text("myhostname"),
            local_resolver: servers.all(local),
        }
    }
}

/// Whether all is well.
async fn test(hop: &NextHop, world: &World) -> Result<bool, String> {
    let found = route::find(hop, &world.route, &world.resolver, &mut Random::new()).await;
    let route = found.map_err(|none| none.status.text)?;
    for warning in &route.warnings {
        println!("note: {warning}");
    }
    tell_route(hop, &route, world);
    let policy = match hop.bracketed {
        true => None,
        false => published(hop, world).await,
    };
    let (mut reached, mut good) = (false, true);
    let mut seen = Vec::new();
    for to in &route.hops {
        let mut host = host::Host { world, to: hop, route: &route, hop: to, policy: policy.as_ref() };
        println!("\n{}[{}]:{}", to.host, to.address.ip(), to.address.port());
        match host.test().await {
            Ok(fine) => {
                reached = true;
                good &= fine;
                seen.push((to, fine));
            }
            Err(why) => {
                println!("  {why}");
                good = false;
            }
        }
    }
    println!();
    if !reached {
        return Err("no host could be reached".into());
    }
    println!("{}", if good { "All is well." } else { "Not all is well: see above." });
    Ok(good)
}

fn tell_route(hop: &NextHop, route: &Route, world: &World) {
    let signed = |yes: bool| if yes { "signed" } else { "not signed" };
    match (route.by_mx, hop.bracketed) {
        (true, _) => println!("{}: MX records, {}", hop.host, signed(route.secure)),
        (false, true) => println!("{}: a host, in brackets", hop.host),
        (false, false) => println!("{}: no MX records; mail goes to the host of that name", hop.host),
    }
    if let Some(alias) = &route.canonical {
        println!("  it is another name of {alias}");
    }
    for to in &route.hops {
        let alias = to.canonical.as_ref().map_or(String::new(), |a| format!(", another name of {a}"));
        let (host, address) = (&to.host, to.address.ip());
        println!("  {:>5}  {host} [{address}], {}{alias}", to.preference, signed(to.secure));
    }
    if !world.local_resolver {
        println!(
            "note: the name servers of /etc/resolv.conf are not on this host: whoever is between can say \"signed\", too"
        );
    }
}

/// What the domain publishes.
async fn published(hop: &NextHop, world: &World) -> Option<smtp::sts::Policy> {
    let families = (world.route.ipv4, world.route.ipv6);
    let means =
        Means { resolver: &world.resolver, connector: &world.connector, roots: &world.roots, families };
    let found = Sts::forgetful().find(&hop.host, means).await;
    match (&found.policy, &found.failure) {
        (Some(policy), _) => {
            let mode = match policy.mode {
                Mode::Enforce => "enforced",
                Mode::Testing => "only tested",
                Mode::None => "withdrawn",
            };
            println!("MTA-STS policy, {mode}: {} (for {} seconds)", policy.mx.join(", "), policy.max_age);
        }
        (None, Some(failure)) => println!("MTA-STS policy announced, but {failure}"),
        (None, None) => println!("MTA-STS policy: none"),
    }
    found.policy
}
