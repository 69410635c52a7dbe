//! A site: the world the scenario is about, and around it the network it asks for: a name server, scripted servers, and
//! further mail hosts, each a world of its own with a Postfix.

use crate::dovecot;
use crate::milter::Milter;
use crate::names::{self, Zone};
use crate::remote;
use crate::scenario::{Change, Host, Scenario, Step, usual_prefix};
use crate::world::{First, NAME_SERVER, PATIENCE, Product, SYSLOG, World, enter_network, network};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// The worlds of one scenario, entered by the thread that made them.
pub struct Site {
    /// The further hosts.
    pub peers: BTreeMap<String, Actor<World>>,
    /// The host it is about.
    pub world: World,
    servers: BTreeMap<String, remote::Server>,
    milters: BTreeMap<String, Milter>,
    names: Option<names::Server>,
    outside: Actor<()>,
    home: Vec<String>,
}

/// A thread in a namespace of its own, which does there what it is told.
pub struct Actor<T> {
    orders: Option<Sender<Order<T>>>,
    thread: Option<JoinHandle<()>>,
}

type Order<T> = Box<dyn FnOnce(&T) + Send>;

impl<T: 'static> Actor<T> {
    fn start(make: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<Actor<T>, String> {
        let (orders, received) = channel::<Order<T>>();
        let (answer, answered) = channel();
        let thread = std::thread::spawn(move || {
            let held = match make() {
                Ok(held) => held,
                Err(error) => return drop(answer.send(Err(error))),
            };
            let _ = answer.send(Ok(()));
            for order in received {
                order(&held);
            }
        });
        answered.recv().unwrap_or_else(|_| Err("a thread of the network ended".into()))?;
        Ok(Actor { orders: Some(orders), thread: Some(thread) })
    }

    /// Begins something there; the result comes out of the channel.
    pub fn begin<R: Send + 'static>(
        &self,
        what: impl FnOnce(&T) -> Result<R, String> + Send + 'static,
    ) -> Receiver<Result<R, String>> {
        let (answer, answered) = channel();
        if let Some(orders) = &self.orders {
            let _ = orders.send(Box::new(move |held| drop(answer.send(what(held)))));
        }
        answered
    }

    /// Does something there.
    pub fn call<R: Send + 'static>(
        &self,
        what: impl FnOnce(&T) -> Result<R, String> + Send + 'static,
    ) -> Result<R, String> {
        wait(&self.begin(what))
    }
}

fn wait<R>(answer: &Receiver<Result<R, String>>) -> Result<R, String> {
    answer.recv().unwrap_or_else(|_| Err("another host of the scenario ended".into()))
}

impl<T> Drop for Actor<T> {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Site {
    /// Builds everything; the calling thread is then in the scenario's own world, for good.
    pub fn enter(product: Product, scenario: &Scenario, tree: Option<&Path>) -> Result<Site, String> {
        let plan = Plan::of(scenario);
        let host = &scenario.host;
        let mut first = First::build(host, tree, &plan.inside(host), &plan.outside())?;
        let mut peers = Vec::new();
        for (name, peer) in &scenario.peers {
            peers.push((name, peer, First::build(peer, None, "", "")?));
        }
        first.ready()?;
        for (number, (_, peer, process)) in peers.iter_mut().enumerate() {
            process.ready()?;
            let outside = format!("--net=/proc/{}/root/run/netns/outside", first.id());
            let port = format!("p{number}");
            let link = format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master bridge\nlink set {port} up\n",
                process.id()
            );
            ip(&outside, &link)?;
            ip(&format!("--net=/proc/{}/ns/net", process.id()), &plan.inside(peer))?;
        }
        // A busy machine may take more than a second for an answer; where none is to come, that is waited for.
        let zones = || scenario.zone.iter().chain(scenario.zones.values());
        let patience =
            if zones().any(Zone::is_silent) { "timeout:1 attempts:1" } else { "timeout:10 attempts:1" };
        let resolver =
            scenario.zone.as_ref().map(|_| format!("nameserver {NAME_SERVER}\noptions {patience}\n"));
        let mut hosts = BTreeMap::new();
        for (name, peer, process) in peers {
            let (peer, resolver) = (peer.clone(), resolver.clone());
            let actor = Actor::start(move || {
                let (world, ()) = World::join(process, Product::Postfix, &peer, || Ok(()))?;
                world.furnish(&peer, resolver.as_deref())?;
                Ok(world)
            })?;
            hosts.insert(name.clone(), actor);
        }
        let (world, outside) =
            World::join(first, product, host, || Actor::start(|| enter_network("/run/netns/outside")))?;
        world.furnish(host, resolver.as_deref())?;
        let mut site = Site {
            peers: hosts,
            world,
            servers: BTreeMap::new(),
            milters: BTreeMap::new(),
            names: None,
            outside,
            home: host.addresses.iter().map(|(address, _)| address.to_string()).collect(),
        };
        if let Some(zone) = scenario.zone.clone() {
            site.names = Some(site.outside.call(move |()| {
                names::Server::start(SocketAddr::new(NAME_SERVER, 53), zone)
                    .map_err(|error| format!("the name server at {NAME_SERVER}: {error}"))
            })?);
        }
        for (name, script) in scenario.servers.iter().filter(|(_, script)| !script.listen.is_empty()) {
            let server = remote::Server::new(script.clone());
            site.servers.insert(name.clone(), server.clone());
            if script.up {
                site.outside.call(move |()| server.up())?;
            }
        }
        for (name, script) in scenario.milters.iter().filter(|(_, script)| !script.listen.is_empty()) {
            let milter = Milter::new(script.clone());
            site.milters.insert(name.clone(), milter.clone());
            if script.up {
                site.outside.call(move |()| milter.up())?;
            }
        }
        Ok(site)
    }

    /// Starts the mail system of the host, where `own`, and of the further hosts that are to run from the beginning.
    pub fn start(&self, scenario: &Scenario) -> Result<(), String> {
        for (name, _) in scenario.peers.iter().filter(|(_, peer)| peer.dovecot.is_some()) {
            self.peers.get(name).ok_or("no such host")?.call(dovecot::up)?;
        }
        if scenario.host.dovecot.is_some() {
            dovecot::up(&self.world)?;
        }
        let started: Vec<_> = self
            .peers
            .iter()
            .filter(|(name, _)| scenario.peers.get(*name).is_some_and(|peer| peer.starts))
            .map(|(_, peer)| peer.begin(World::start))
            .collect();
        if scenario.host.starts {
            self.world.start()?;
        }
        started.iter().try_for_each(wait)
    }

    /// Waits until every message on every host has left its queue, or waits there.
    pub fn settle(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let mut before = usize::MAX;
        loop {
            self.world.settle()?;
            for peer in self.peers.values() {
                peer.call(World::settle)?;
            }
            let lines = self.lines()?;
            if lines == before || self.peers.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err("the hosts do not come to rest".into());
            }
            before = lines;
        }
    }

    fn lines(&self) -> Result<usize, String> {
        let mut count = self.world.log.lines().len();
        for peer in self.peers.values() {
            count += peer.call(|world| Ok(world.log.lines().len()))?;
        }
        Ok(count)
    }

    /// Waits a while until no mail host holds a connection to another, so that their logs are whole.
    pub fn rest(&self) -> Result<(), String> {
        let quiet = |world: &World| {
            let _ = world.log.wait("the end of all connections", PATIENCE, |lines| {
                let count = |words: &str| {
                    let of_smtpd = lines.iter().filter(|line| line.tag.ends_with("/smtpd"));
                    of_smtpd.filter(|line| line.text.starts_with(words)).count()
                };
                count("connect from ") <= count("disconnect from ")
            });
            world.log.drain(SYSLOG)
        };
        if self.peers.is_empty() {
            return Ok(());
        }
        quiet(&self.world)?;
        self.peers.values().try_for_each(|peer| peer.call(quiet))
    }

    /// Changes the network.
    pub fn change(&self, step: &Step, scenario: &Scenario) -> Result<(), String> {
        match step {
            Step::Zone(name) => {
                let zone = scenario.zones.get(name).ok_or("no such zone")?;
                self.names.as_ref().ok_or("no name server")?.replace(zone.clone());
                Ok(())
            }
            Step::Server(name, change) if self.milters.contains_key(name) => {
                let milter = self.milters.get(name).ok_or("no such milter")?.clone();
                match change {
                    Change::Up => return self.outside.call(move |()| milter.up()),
                    Change::Down => milter.down(),
                    Change::Use(script) => {
                        milter.replace(scenario.milters.get(script).ok_or("no such script")?);
                    }
                }
                Ok(())
            }
            Step::Server(name, change) => {
                let server = self.servers.get(name).ok_or("no such server")?.clone();
                match change {
                    Change::Up => self.outside.call(move |()| server.up()),
                    Change::Down => {
                        server.down();
                        Ok(())
                    }
                    Change::Use(script) => {
                        server.replace(scenario.servers.get(script).ok_or("no such script")?);
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// What each scripted server and milter saw, by `server/NAME` and `milter/NAME`.
    pub fn seen(&self) -> impl Iterator<Item = (String, String)> {
        let servers = self.servers.iter();
        let servers = servers.map(|(name, server)| (format!("server/{name}"), server.text(&self.home)));
        servers.chain(self.milters.iter().map(|(name, milter)| (format!("milter/{name}"), milter.text())))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.servers.values().for_each(remote::Server::down);
        self.milters.values().for_each(Milter::down);
    }
}

/// Which addresses and networks there are.
struct Plan {
    networks: BTreeSet<(IpAddr, u8)>,
    outside: BTreeSet<(IpAddr, u8)>,
    bridged: bool,
}

/// The clients of every scenario, outside of mynetworks.
const CLIENTS: [&str; 3] = ["10.77.9.9", "10.77.9.10", "fd00:77::9"];

impl Plan {
    fn of(scenario: &Scenario) -> Plan {
        let clients = scenario.steps.iter().filter_map(|written| match &written.step {
            Step::Smtp { from, .. } => Some(from.as_str()),
            _ => None,
        });
        let servers = scenario.servers.values().flat_map(|script| &script.listen);
        let places = servers.chain(scenario.milters.values().flat_map(|script| &script.listen));
        let listening = places.filter_map(|place| match place {
            remote::Place::Address(address) => Some(address.ip()),
            remote::Place::Path(_) => None,
        });
        let hosts = std::iter::once(&scenario.host).chain(scenario.peers.values());
        let mut networks: BTreeSet<(IpAddr, u8)> = hosts
            .flat_map(|host| &host.addresses)
            .filter_map(|(address, prefix)| Some((network(*address, *prefix)?, *prefix)))
            .collect();
        let mut outside = BTreeSet::new();
        for address in CLIENTS
            .into_iter()
            .chain(clients)
            .filter_map(|text| text.parse().ok())
            .chain(listening)
            .chain(scenario.zone.is_some().then_some(NAME_SERVER))
            .filter(|address| !address.is_loopback())
        {
            let known = networks.iter().find(|(net, prefix)| network(address, *prefix) == Some(*net));
            let prefix = known.map_or_else(|| usual_prefix(address), |(_, prefix)| *prefix);
            networks.extend(network(address, prefix).map(|net| (net, prefix)));
            outside.insert((address, prefix));
        }
        Plan { networks, outside, bridged: !scenario.peers.is_empty() }
    }

    /// The devices of a host, as lines for `ip -batch`.
    fn inside(&self, host: &Host) -> String {
        self.device("eth0", host.addresses.iter())
    }

    /// Those of the namespace outside.
    fn outside(&self) -> String {
        match self.bridged {
            false => self.device("eth0", self.outside.iter()),
            true => {
                let bridge = "link add bridge type bridge\nlink set eth0 master bridge\nlink set eth0 up\n"
                    .to_string();
                bridge + &self.device("bridge", self.outside.iter())
            }
        }
    }

    fn device<'a>(&self, name: &str, addresses: impl Iterator<Item = &'a (IpAddr, u8)> + Clone) -> String {
        let mut lines = String::new();
        for (address, prefix) in addresses.clone() {
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            lines.push_str(&format!("address add {address}/{prefix} dev {name}{nodad}\n"));
        }
        lines.push_str(&format!("link set {name} up\n"));
        // All networks are on one wire.
        for (net, prefix) in &self.networks {
            let attached = addresses
                .clone()
                .any(|(own, length)| length == prefix && network(*own, *length) == Some(*net));
            let family = addresses.clone().any(|(own, _)| own.is_ipv4() == net.is_ipv4());
            if !attached && family {
                lines.push_str(&format!("route add {net}/{prefix} dev {name}\n"));
            }
        }
        lines
    }
}

/// Runs `ip -batch` in a network namespace.
fn ip(namespace: &str, lines: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("nsenter {namespace} ip: {error}");
    let mut process = Command::new("nsenter")
        .args([namespace, "ip", "-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = process.stdin.take() {
        input.write_all(lines.as_bytes()).map_err(failed)?;
    }
    match process.wait().map_err(failed)?.success() {
        true => Ok(()),
        false => Err(format!("the network could not be built: ip -batch with\n{lines}")),
    }
}
