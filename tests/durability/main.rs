//! Mail under fire: the real programs take mail from several clients while their processes are killed at random moments.
//! Whatever got 250 is in the mailbox afterwards, whole; nothing is there that nobody sent; what is there twice is counted.
//!
//! `VALIJA_DRILL_SECONDS` makes it longer, `VALIJA_DRILL_SEED` repeats the choice of victims (the moments themselves depend
//! on the machine). `damage` is the same system on a damaged queue, `full` on a full disk and on one that cannot be written;
//! `poison` has messages and peers kill it; `leaks` has it serve sessions of all kinds.

mod damage;
mod full;
mod leaks;
mod load;
mod poison;
mod system;

use load::{Ledger, client, received};
use std::time::{Duration, Instant};
use system::{Role, System, wait};

/// Clients at once.
const CLIENTS: usize = 4;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

#[test]
fn what_got_250_is_delivered_whoever_is_killed() {
    let (seconds, seed) = (number("VALIJA_DRILL_SECONDS", 8), number("VALIJA_DRILL_SEED", 1));
    let folder = std::env::temp_dir().join(format!("valija-drill-{}", std::process::id()));
    let system = System::make(&folder, None, "");
    system.start();
    let ledger = Ledger::default();
    let mut kills = [0u32; 4];
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| client(system.address, &system.user.name, &ledger));
        }
        // Whatever fails in here, the clients end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut rng = Rng(seed);
            let end = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < end {
                attack(&system, &ledger, &mut rng, &mut kills);
            }
        }));
        ledger.enough.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let acknowledged: Vec<u64> = {
        let sent = ledger.sent.lock().expect("no client panicked");
        sent.iter().filter(|(_, a)| **a).map(|(n, _)| *n).collect()
    };
    let mut seen = Default::default();
    wait("an empty queue", &system, || {
        let listing = system.command("mailq", &[]);
        String::from_utf8_lossy(&listing.stdout).contains("Mail queue is empty")
    });
    wait("the last delivery", &system, || {
        let size = std::fs::metadata(system.mailbox()).map(|m| m.len()).ok();
        std::mem::replace(&mut seen, size) == size
    });
    system.stop();
    let received = received(&system.mailbox());
    let lost: Vec<&u64> = acknowledged.iter().filter(|n| !received.contains_key(n)).collect();
    assert!(lost.is_empty(), "seed {seed}: got 250 and are lost: {lost:?}\n{}", system.log_tail());
    let sent = ledger.sent.lock().expect("no client panicked");
    let invented: Vec<&u64> = received.keys().filter(|n| !sent.contains_key(n)).collect();
    assert!(invented.is_empty(), "seed {seed}: nobody sent {invented:?}");
    drop(sent);
    let twice = received.values().filter(|n| **n > 1).count();
    let [mail, deliver, master, all] = kills;
    eprintln!(
        "seed {seed}: killed mail {mail}, deliver {deliver}, master {master}, all at once {all} times; {} messages \
         acknowledged, {} in doubt, {} delivered, {twice} of them more than once",
        acknowledged.len(),
        ledger.doubtful(),
        received.len()
    );
    assert!(!acknowledged.is_empty() && kills.iter().sum::<u32>() > 0, "the test did nothing");
    let left = std::fs::read_dir(folder.join("spool/valija/seg")).expect("the queue").count();
    assert_eq!(left, 0, "an empty queue leaves no files");
}

/// Kills somebody in the middle of the work, and sees that all is up again.
fn attack(system: &System, ledger: &Ledger, rng: &mut Rng, kills: &mut [u32; 4]) {
    // Not before mail is flowing.
    let before = ledger.acknowledged();
    wait("mail to be taken", system, || ledger.acknowledged() > before + 5);
    std::thread::sleep(Duration::from_millis(rng.below(400)));
    match rng.below(8) {
        // A role that dies again soon is started after 1, 2, 4 … seconds; a new master begins anew.
        0..=2 if kills[0] < 2 * (kills[2] + kills[3] + 1) => {
            kills[0] += 1;
            if let Some(old) = system.kill(Role::Mail) {
                system.wait_for_new(Role::Mail, old);
            }
        }
        3 | 4 if kills[1] < 2 * (kills[2] + kills[3] + 1) => {
            kills[1] += 1;
            if let Some(old) = system.kill(Role::Deliver) {
                system.wait_for_new(Role::Deliver, old);
            }
        }
        5 | 6 => {
            kills[2] += 1;
            system.kill(Role::Master);
            system.start();
        }
        _ => {
            kills[3] += 1;
            // Master first, or it would start the others again.
            let (mail, deliver) = (system.process(Role::Mail), system.process(Role::Deliver));
            system.kill(Role::Master);
            for pid in [mail, deliver].into_iter().flatten() {
                system.kill_process(pid);
            }
            system.start();
        }
    }
}
