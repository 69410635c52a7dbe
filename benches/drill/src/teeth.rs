//! The disk has teeth: what is not synced is lost on it, and a disk that only pretends to sync makes even valija lose mail,
//! which the drill notices. Without this, a drill that finds nothing proves nothing.

use crate::cut::drill;
use crate::disk::Disk;
use crate::options::Options;
use crate::rng::Rng;
use crate::system::Kind;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Files of each kind.
const FILES: u64 = 200;

/// All of it.
pub fn run(options: &Options) -> Result<(), String> {
    files(options)?;
    let options = Options { cuts: options.cuts.min(2), ..options.clone() };
    match drill(Kind::Valija, &options, true) {
        Ok(found) => {
            let faults = found.faults();
            if !faults.iter().any(|f| f.contains("are lost")) {
                return Err(format!("a disk that lies lost no mail: {faults:?}"));
            }
            println!("valija on a disk that only pretends to sync: {}", faults.join("; "));
        }
        Err(why) => return Err(format!("valija on a disk that only pretends to sync: {why}")),
    }
    if !options.keep {
        let _ = fs::remove_dir_all(&options.folder);
    }
    Ok(())
}

fn files(options: &Options) -> Result<(), String> {
    let at = options.folder.join("disk");
    let mut disk = Disk::make(&options.folder.join("fuse"), &at, &options.filesystem)?;
    let mut rng = Rng(options.seed);
    let fault = |e: std::io::Error| format!("write to the disk: {e}");
    let (mut gone, mut whole) = (0, 0);
    for round in 0..3u64 {
        for n in 0..FILES {
            for sync in [false, true] {
                let mut file = File::create(name(&at, round, n, sync)).map_err(fault)?;
                file.write_all(&content(round, n)).map_err(fault)?;
                // The files that are synced last make the names of all durable; so they come first.
                if sync && n < FILES / 2 {
                    file.sync_all().map_err(fault)?;
                }
            }
        }
        disk.cut(&mut rng);
        disk.power()?;
        for n in 0..FILES {
            let there = |sync| fs::read(name(&at, round, n, sync)).is_ok_and(|t| t == content(round, n));
            if n < FILES / 2 && !there(true) {
                return Err(format!("file {n} of round {round} was synced and is lost"));
            }
            whole += u64::from(n < FILES / 2);
            gone += u64::from(!there(false));
        }
    }
    let all = 3 * FILES;
    println!(
        "files that were not synced: {gone} of {all} lost or damaged by 3 power cuts; synced: none of {whole}"
    );
    if gone == 0 { Err("this disk loses nothing".into()) } else { Ok(()) }
}

fn name(at: &Path, round: u64, n: u64, sync: bool) -> std::path::PathBuf {
    at.join(format!("{round}-{n}-{}", if sync { "synced" } else { "not" }))
}

fn content(round: u64, n: u64) -> Vec<u8> {
    format!("{round} {n} something worth keeping\n").repeat(40).into_bytes()
}
