//! The runner of the scenarios: the same configuration, dialogue and commands on a real Postfix and on valija, each in
//! a world of its own, and the comparison of what came out. How to run and how to write one: `tests/README.md`.
//!
//! In reading order: `scenario` (what lies in a folder), `debian` (the configuration Debian generates), `world` (the
//! namespaces, files and processes), `site` (the network around it, with `names`, a name server, and `remote`, scripted
//! servers, `milter`, scripted mail filters), `dovecot` (a real one beside the mail system), `log` (what was said on /dev/log), `dialogue` (SMTP by the line; `tls`, its
//! encryption), `normal` (what
//! changes from run to run becomes a placeholder), `reload` (when one is over; `processes`, who runs), `run` (steps, results, comparison).
//! Nothing here knows how valija works inside.

pub mod debian;
pub mod dialogue;
pub mod dovecot;
pub mod log;
pub mod milter;
pub mod names;
pub mod normal;
pub mod processes;
pub mod reload;
pub mod remote;
pub mod run;
pub mod scenario;
pub mod site;
pub mod tls;
pub mod world;
