//! `newaliases`: checks the texts of `alias_database`, names bad lines, and builds the compiled
//! files beside them; the running system reads the texts themselves.

use super::postmap::{Failure, Session};
use std::process::ExitCode;

/// `newaliases [-C directory-or-file] [-oAtable] [-v]`; other options of sendmail do nothing here.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    let (mut directory, mut tables) = (None, Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if let Some(table) = word.strip_prefix("-oA") {
            tables.push(table.to_string());
        } else if word == "-C" || word == "-c" {
            directory = words.next().map(|d| d.trim_end_matches("/main.cf").to_string());
        }
    }
    // Postfix has postalias do the work, and so it is who speaks.
    let mut session = match Session::open("postalias", directory.as_deref()) {
        Ok(session) => session,
        Err(failure) => return failure.report(),
    };
    if tables.is_empty() {
        tables = session.alias_database();
    }
    if tables.len() > 1 {
        return session.build_apart::<String>(&[], &tables).unwrap_or_else(Failure::report);
    }
    let built: Result<Vec<()>, Failure> = tables.iter().map(|t| session.build(t)).collect();
    match built {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
