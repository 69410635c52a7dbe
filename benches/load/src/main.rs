//! The relay benchmark. `cargo run --release -p load -- help` says what it can do; `docs/performance.md`
//! says what it found.
//!
//! Everything runs in network, mount and process namespaces of its own, which end with it: no
//! port and no name of the host is touched, nothing gets out, and nothing stays behind but the
//! folder with logs and queues. In reading order: [`relay`] (rounds, and the table of ratios), [`bad`]
//! (a busy queue with bad destinations), [`tls`] (handshakes, idle connections), [`logins`] (guessed
//! passwords), [`mta`] (an instance of Postfix or valija, configured in
//! the same way), [`source`] and [`sink`] (the load; one thread each, no more than epoll), [`client`] (sessions over TLS), [`table`], [`wire`],
//! [`usage`] (what an MTA cost), [`namespace`].

mod bad;
mod client;
mod logins;
mod mta;
mod namespace;
mod options;
mod relay;
mod sink;
mod source;
mod table;
mod tls;
mod usage;
mod wire;

use options::{Options, What};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::read(&words) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("load: {why}\n\n{}", options::HELP);
            return ExitCode::from(64);
        }
    };
    let result = match options.what {
        What::Help => {
            println!("{}", options::HELP);
            Ok(())
        }
        What::Ceiling => relay::ceiling(&options),
        What::Relay => {
            prepare(&options).and_then(|inside| if inside { relay::run(&options) } else { Ok(()) })
        }
        What::Tls => prepare(&options).and_then(|inside| if inside { tls::run(&options) } else { Ok(()) }),
        What::Logins => {
            prepare(&options).and_then(|inside| if inside { logins::run(&options) } else { Ok(()) })
        }
        What::Bad => prepare(&options).and_then(|inside| if inside { bad::run(&options) } else { Ok(()) }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Builds what is to be measured, then runs this program again in namespaces; true in there.
fn prepare(options: &Options) -> Result<bool, String> {
    if namespace::inside() {
        return Ok(true);
    }
    let tree = match (&options.tree, options.only.as_deref()) {
        (Some(tree), _) => std::path::absolute(tree).map_err(|e| format!("{}: {e}", tree.display()))?,
        (None, Some("postfix" | "debian")) => options.folder.clone(),
        (None, _) => mta::build(options)?,
    };
    namespace::enter(&tree).map(|()| false)
}
