//! What an MTA costs: its processor time, memory, and how often the disk was flushed.

use std::collections::HashMap;
use std::fs;

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time of all processes of the MTA, ended children included, seconds.
    pub cpu: f64,
    /// Flushes of all disks of the machine.
    pub flushes: u64,
    /// Bytes written to all disks.
    pub written: u64,
    /// Processor time used by the whole machine, seconds.
    pub machine: f64,
}

struct Process {
    parent: u32,
    cpu: f64,
}

fn processes() -> HashMap<u32, Process> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name may hold anything, a parenthesis too.
        let Some((_, rest)) = text.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        let ticks: u64 = (11..15).map(field).sum();
        all.insert(pid, Process { parent: field(1) as u32, cpu: ticks as f64 / 100.0 });
    }
    all
}

/// The processes that `root` started, and it.
pub fn family(root: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![root];
    let mut n = 0;
    while let Some(parent) = found.get(n).copied() {
        found
            .extend(all.iter().filter(|(pid, p)| p.parent == parent && **pid != parent).map(|(pid, _)| *pid));
        n += 1;
    }
    found.retain(|pid| all.contains_key(pid));
    found
}

/// The counters of an MTA whose first process is `root`.
pub fn now(root: u32) -> Usage {
    let all = processes();
    let cpu = family(root).iter().filter_map(|pid| all.get(pid)).map(|p| p.cpu).sum();
    let (flushes, written) = disks();
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|f| f.parse().ok())
        .collect();
    let idle = ticks.get(3).unwrap_or(&0) + ticks.get(4).unwrap_or(&0);
    let machine = (ticks.iter().sum::<u64>() - idle) as f64 / 100.0;
    Usage { cpu, flushes, written, machine }
}

/// Flushes of all disks of the machine.
pub fn flushes() -> u64 {
    disks().0
}

/// Flushes of all disks, and bytes written to them.
fn disks() -> (u64, u64) {
    let (mut flushes, mut written) = (0, 0);
    for line in fs::read_to_string("/proc/diskstats").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some(name) = fields.get(2) else { continue };
        let virtual_one = ["loop", "ram", "zram", "dm-"].iter().any(|p| name.starts_with(p));
        if virtual_one || !std::path::Path::new("/sys/block").join(name).exists() {
            continue;
        }
        let field = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        written += field(9) * 512;
        flushes += field(18);
    }
    (flushes, written)
}

/// The sum of the proportional set sizes of an MTA's processes, kB, and how many they are.
pub fn memory(root: u32) -> (u64, usize) {
    let family = family(root);
    let pss = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    (family.iter().map(pss).sum(), family.len())
}

/// Processor time of this thread, seconds.
pub fn own_thread() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return 0.0 };
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
