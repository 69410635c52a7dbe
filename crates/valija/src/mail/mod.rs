//! The mail role: everything that touches the network and the queue, as the mail user, confined.
//!
//! `master` starts it with a channel on descriptor 3, over which come the listeners and the way to
//! the deliver role. It never forks and never executes anything.

pub(crate) mod addresses;
mod deliver;
mod files;
mod listeners;
mod orders;
mod poison;
mod snapshot;
mod verify;
mod world;

use cleanup::pickup::Pickup;
use config::params::main::Main;
use config::params::master::Master as MasterParams;
use deliver::Deliver;
use files::Passed;
use listeners::Listeners;
use orders::Master;
use proto::QueueId;
use proto::supervision::{Ask, Order};
use qmgr::Manager;
use qmgr::agent::Agent;
use queue::Store;
use snapshot::{Resolvers, Snapshot, join};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use sys::channel::Channel;

/// The queue that this role runs.
pub type Queue = queue::disk::DiskStore;

/// The name by which `master` starts this role.
pub const NAME: &str = "valija-mail";

/// How long deliveries that are under way may take at a stop.
const PATIENCE: Duration = Duration::from_secs(8);

events::events! {
    /// What the kernel confines this process with.
    Confined { landlock: String, seccomp: String } Info "sandbox: landlock {landlock}, seccomp {seccomp}"
    /// A socket for local programs could not be made.
    NoSocket { path: String, what: String } Warning "socket {path}: {what}"
}

/// The present snapshot, shared by everything that lives longer than one.
type Present = Arc<RwLock<Arc<Snapshot>>>;

/// Runs the role until `master` tells it to drain, or is gone.
pub fn main(args: &[String]) -> ExitCode {
    let Some(channel) = sys::spawn::inherited(3).map(Channel::from_descriptor) else {
        eprintln!("valija-mail: fatal: this program is started by master; use `postfix start`");
        return ExitCode::FAILURE;
    };
    sys::allocator::keep_little();
    let board = sys::spawn::inherited(4).map(File::from);
    let (directory, fault) = match args {
        [flag, directory] if flag == "-c" => (PathBuf::from(directory), None),
        [flag, directory, died, signal] if flag == "-c" && died == "-f" => {
            (PathBuf::from(directory), signal.parse().ok())
        }
        _ => (PathBuf::from("/etc/postfix"), None),
    };
    match prepare(&directory, (board, fault)) {
        Ok(prepared) => match run(directory, channel, prepared) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(what) => {
            let _ = channel.send(&Ask::Failed(what).encode(), &[]);
            ExitCode::FAILURE
        }
    }
}

struct Prepared {
    queue: Arc<Queue>,
    queue_directory: PathBuf,
    config: config::Config,
    services: config::master_cf::Services,
    syslog_name: String,
}

/// What is done before the first thread: log, confinement, the queue.
fn prepare(directory: &Path, (board, fault): (Option<File>, Option<i32>)) -> Result<Prepared, String> {
    let (config, services) = Snapshot::read(directory)?;
    let main = Main::load(&config).map_err(join)?;
    let master = MasterParams::load(&config).map_err(join)?;
    install_log(&master)?;
    QueueId::show_long(*main.enable_long_queue_ids());
    let syslog_name = main.syslog_name().clone();
    let queue_directory = PathBuf::from(main.queue_directory());
    if let Some(left) = queue::leftovers(&queue_directory) {
        return Err(left.to_string());
    }
    // Sessions and deliveries are tasks here: thousands of connections belong to one process.
    let _ = sys::host::many_descriptors();
    let log = Path::new(master.maillog_file().as_str()).to_path_buf();
    let mut writable = vec![queue_directory.as_path(), Path::new(master.data_directory().as_str())];
    if log.is_file() {
        writable.push(&log);
    }
    let force = sys::sandbox::confine(&writable);
    let say = events::Source::new(&syslog_name, "master", std::process::id());
    say.say(&Confined { landlock: force.landlock, seccomp: force.seccomp });
    sys::turns::leave_to(queue::disk::NOTER).map_err(|e| format!("start a thread: {e}"))?;
    let options = queue::disk::Options::from_config(&config).map_err(join)?;
    let source = events::Source::new(&syslog_name, "qmgr", std::process::id());
    let queue = Arc::new(Queue::open(&queue_directory, &options, source.clone())?);
    poison::accuse(board, fault, &queue, &source);
    poison::watch(*master.daemon_timeout(), say);
    Ok(Prepared { queue, queue_directory, config, services, syslog_name })
}

fn install_log(master: &MasterParams) -> Result<(), String> {
    let sink =
        events::sink_for(master.maillog_file(), &master.maillog_file_prefixes().0, master.syslog_facility())?;
    events::install(sink);
    Ok(())
}

fn run(directory: PathBuf, channel: Channel, prepared: Prepared) -> Result<(), String> {
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 8);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(32)
        .thread_keep_alive(Duration::from_secs(5))
        // Only workers park: their lines are written together when there is nothing else to do.
        .on_thread_park(|| {
            events::gather();
            events::flush();
        })
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| format!("start the runtime: {e}"))?;
    let queue = prepared.queue.clone();
    let done = runtime.block_on(async move {
        let master = Master::new(channel).map_err(|e| e.to_string())?;
        let outcome = serve(&directory, &master, prepared).await;
        if let Err(what) = &outcome {
            master.tell(&Ask::Failed(what.clone())).await;
        }
        outcome
    });
    // Sessions that are open are dropped: nothing of theirs was acknowledged.
    runtime.shutdown_timeout(Duration::from_millis(200));
    queue::block_on(queue.close());
    events::flush();
    done
}

async fn serve(directory: &Path, master: &Master, prepared: Prepared) -> Result<(), String> {
    let Prepared { queue, queue_directory, config, services, syslog_name } = prepared;
    let counters = Arc::new(smtpd::limits::Limits::of(&config));
    let logins = Arc::new(login::Shared::default());
    let say = events::Source::new(&syslog_name, "master", std::process::id());
    let Equipment { mut sockets, jobs, log } = equipment(master).await.ok_or("master is gone")?;
    log.into_iter().for_each(events::adopt);
    let (again, mut wished_again) = tokio::sync::mpsc::unbounded_channel();
    let Some(passed) = Passed::fetch(&config, &services, master, &again).await else { return Ok(()) };
    let (wishes, wished) = world::wishes();
    let resolvers = Resolvers::system(&config)?;
    let snapshot = Arc::new(Snapshot::build(
        config,
        services,
        &queue,
        (&counters, &logins),
        &wishes,
        &resolvers,
        passed,
    )?);
    let patience = *MasterParams::load(&snapshot.config).map_err(join)?.daemon_timeout();
    let agent = Arc::new(Deliver::new(snapshot.voices(), patience));
    if let Some(jobs) = jobs {
        agent.connect(jobs).map_err(|e| format!("deliver: {e}"))?;
    }
    let manager = Manager::start(queue.clone(), parts(&snapshot, &agent)?);
    tokio::spawn(world::fulfil(wished, manager.clone(), say.clone()));
    if let Some(listener) = socket(&queue_directory.join("public/showq"), &say) {
        tokio::spawn(qmgr::showq::serve(listener, manager.clone()));
    }
    let present: Present = Arc::new(RwLock::new(snapshot.clone()));
    start_pickup(&queue_directory, &present, &say);
    if let Some(socket) = log_socket(&queue_directory.join("public/postlog"), &say) {
        tokio::spawn(take_lines(socket));
    }
    let mut listeners = Listeners::default();
    listeners.serve(std::mem::take(&mut sockets), &snapshot);
    master.tell(&Ask::Ready).await;
    sys::program::forget_start();

    loop {
        let order = tokio::select! {
            order = master.next() => order,
            Some(ask) = wished_again.recv() => {
                master.tell(&ask).await;
                continue;
            }
        };
        match order {
            Some((Order::File { path, .. }, mut descriptors)) => {
                let now = present.read().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(fd) = descriptors.pop() {
                    now.passed.replace(&path, fd.into());
                }
            }
            Some((Order::Reload, _)) => {
                let Some(Equipment { sockets, jobs, log }) = equipment(master).await else { break };
                let built = match Snapshot::read(directory) {
                    Ok((config, services)) => {
                        let fetched = Passed::fetch(&config, &services, master, &again).await;
                        let Some(passed) = fetched else { break };
                        Snapshot::build(
                            config,
                            services,
                            &queue,
                            (&counters, &logins),
                            &wishes,
                            &resolvers,
                            passed,
                        )
                    }
                    Err(what) => Err(what),
                };
                let whole = built.and_then(|new| parts(&new, &agent).map(|parts| (new, parts)));
                // A configuration that cannot be used changes nothing; master says so.
                let outcome = match whole {
                    Ok((new, parts)) => {
                        let new = Arc::new(new);
                        manager.reload(parts);
                        if let Ok(main) = Main::load(&new.config) {
                            QueueId::show_long(*main.enable_long_queue_ids());
                        }
                        if let Ok(params) = MasterParams::load(&new.config) {
                            let _ = install_log(&params);
                        }
                        log.into_iter().for_each(events::adopt);
                        agent.speak_as(new.voices());
                        if let Ok(settings) = smtpd::verify::Settings::load(&new.config) {
                            new.verifier.reload(settings);
                        }
                        *present.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
                        listeners.serve(sockets, &new);
                        Ask::Ready
                    }
                    Err(what) => Ask::Failed(what),
                };
                if let Some(jobs) = jobs {
                    let _ = agent.connect(jobs);
                }
                master.tell(&outcome).await;
            }
            Some((Order::Drain, _)) | None => break,
            // A new deliver role after the old one died comes with all listeners again.
            Some((Order::Deliver, mut descriptors)) => {
                if let Some(jobs) = descriptors.pop() {
                    let _ = agent.connect(Channel::from_descriptor(jobs));
                }
            }
            Some(_) => {}
        }
    }
    listeners.stop();
    manager.drain(PATIENCE).await;
    Ok(())
}

/// What the queue manager gets of a snapshot.
fn parts(snapshot: &Snapshot, agent: &Arc<Deliver>) -> Result<qmgr::Parts<Queue>, String> {
    let settings = qmgr::Settings::load(&snapshot.config, &snapshot.services).map_err(join)?;
    let children = ["local", "pipe", "virtual"].map(|program| (program, agent.clone() as Arc<dyn Agent>));
    let network = ["smtp", "lmtp"].map(|program| (program, snapshot.client.clone() as Arc<dyn Agent>));
    let agents = children.into_iter().chain(network).map(|(program, agent)| (program.to_string(), agent));
    Ok(qmgr::Parts {
        settings,
        intake: snapshot.intake.clone(),
        router: snapshot.rewriter.clone(),
        agents: agents.collect(),
        verification: Some(qmgr::verification::Verification {
            router: snapshot.probe_router.clone(),
            listener: Arc::new(verify::Ear(snapshot.verifier.clone())),
        }),
    })
}

/// What comes with a start or reload.
struct Equipment {
    sockets: Vec<(String, OwnedFd)>,
    jobs: Option<Channel>,
    log: Option<File>,
}

/// Everything up to `Begin`; `None` when master is gone.
async fn equipment(master: &Master) -> Option<Equipment> {
    let (mut sockets, mut jobs, mut log) = (Vec::new(), None, None);
    loop {
        let (order, mut descriptors) = master.next().await?;
        match (order, descriptors.pop()) {
            (Order::Listener { service, .. }, Some(fd)) => sockets.push((service, fd)),
            (Order::Deliver, Some(fd)) => jobs = Some(Channel::from_descriptor(fd)),
            (Order::Log, Some(fd)) => log = Some(File::from(fd)),
            (Order::Begin, _) => return Some(Equipment { sockets, jobs, log }),
            (Order::Drain, _) => return None,
            _ => {}
        }
    }
}

fn start_pickup(queue_directory: &Path, present: &Present, say: &events::Source) {
    let snapshot = present.read().unwrap_or_else(PoisonError::into_inner).clone();
    let source = present.clone();
    let present = Arc::new(move || {
        let now = source.read().unwrap_or_else(PoisonError::into_inner);
        (now.intake.clone(), now.pickup.clone())
    });
    let pickup = Pickup::new(present, queue_directory.to_path_buf());
    let listener = socket(&queue_directory.join("public/pickup"), say);
    let interval =
        snapshot.services.all.iter().find(|s| s.command() == "pickup").map_or(60, |s| s.wakeup().0);
    tokio::spawn(pickup.run(listener, Duration::from_secs(u64::from(interval).max(1))));
}

/// Where programs that cannot write the log file hand their lines in. postlogd(8)
fn log_socket(path: &Path, say: &events::Source) -> Option<tokio::net::UnixDatagram> {
    let _ = std::fs::remove_file(path);
    let made = tokio::net::UnixDatagram::bind(path).and_then(|socket| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(socket)
    });
    made.map_err(|e| say.say(&NoSocket { path: path.display().to_string(), what: e.to_string() })).ok()
}

async fn take_lines(socket: tokio::net::UnixDatagram) {
    let mut line = vec![0; 16 * 1024];
    while let Ok(n) = socket.recv(&mut line).await {
        events::relay(line.get(..n).unwrap_or_default());
    }
}

/// A socket that local programs reach through its directory's permissions.
fn socket(path: &Path, say: &events::Source) -> Option<tokio::net::UnixListener> {
    // One left by a process that was killed; nobody else may write to the directory.
    let _ = std::fs::remove_file(path);
    let made = tokio::net::UnixListener::bind(path).and_then(|listener| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    });
    made.map_err(|e| say.say(&NoSocket { path: path.display().to_string(), what: e.to_string() })).ok()
}
