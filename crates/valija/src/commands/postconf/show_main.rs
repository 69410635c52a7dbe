//! Printing main.cf parameters: all, those that are set (`-n`), defaults (`-d`), or the named ones.

use super::entry;
use super::names::Names;
use super::options::Options;
use super::{Done, fold, print, warn, warning};
use config::directory;
use config::{Config, Problem};
use std::path::Path;

/// Expanded only when they are used, with names of their own; `-x` leaves them alone.
pub(super) const RAW: [&str; 9] = [
    "command_execution_directory",
    "default_rbl_reply",
    "forward_path",
    "luser_relay",
    "mailbox_command",
    "postscreen_expansion_filter",
    "postscreen_reject_footer",
    "smtpd_expansion_filter",
    "smtpd_reject_footer",
];

pub(super) fn show(options: &Options, directory: &Path) -> Done {
    let defaults = options.listing('d');
    let config = if defaults { defaults_of()? } else { load(directory)? };
    let config = config.with(options.overrides.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let services = match entry::load(directory) {
        Ok(entries) => entries.iter().map(entry::Entry::service).collect(),
        Err(text) if text.starts_with("open ") => {
            warning(&text);
            Vec::new()
        }
        Err(text) => return Err(text),
    };
    let names = Names::new((!defaults).then_some(&config), &services);
    if !defaults {
        warn::undefined(&config, &services, &names, directory);
    }
    let mut out = String::new();
    let mut one = |name: &str| -> Done {
        let mut value = names.raw(&config, name);
        if options.listing('x') && !RAW.contains(&name) {
            value = config.expand(&value).map_err(expansion)?;
        }
        out.push_str(&fold::setting(name, &value, options));
        Ok(())
    };
    // As Postfix sees it, who names the folder sets the parameter.
    let folder_named = options.directory.is_some() || std::env::var_os("MAIL_CONFIG").is_some();
    let set = |name: &str| name == "config_directory" && folder_named || config.explicit(name).is_some();
    if options.words.is_empty() {
        for (name, classes) in &names.all {
            if classes.iter().any(|c| options.classes.contains(c)) && (!options.listing('n') || set(name)) {
                one(name)?;
            }
        }
    }
    for word in &options.words {
        match names.all.get(word) {
            Some(_) if options.listing('n') && !set(word) => {}
            Some(_) => one(word)?,
            None => warning(&format!("{word}: unknown parameter")),
        }
    }
    print(&out);
    if !defaults {
        warn::unused_main(&config, &names, directory);
        warn::unused_master(&services, &names, directory);
    }
    Ok(())
}

/// Defaults as they are anywhere.
fn defaults_of() -> Result<Config, String> {
    Config::from_text(Path::new(directory::DEFAULT), "").map_err(|p| joined(&p))
}

/// main.cf, with its warnings told.
pub(super) fn load(directory: &Path) -> Result<Config, String> {
    let config = Config::load(directory).map_err(|p| joined(&p))?;
    config.warnings().iter().for_each(|p| warning(&told(p)));
    config.compatibility_level().map_err(expansion)?;
    Ok(config)
}

/// As Postfix says it, without the remedy, which its readers do not expect.
fn told(problem: &Problem) -> String {
    match &problem.place {
        // Postfix names no line here.
        Some((file, _)) if problem.what.starts_with("logical line") => format!("{file}: {}", problem.what),
        Some((file, line)) => format!("{file}, line {line}: {}", problem.what),
        None => problem.what.clone(),
    }
}

fn joined(problems: &[Problem]) -> String {
    problems.first().map(told).unwrap_or_default()
}

/// An expression that cannot be read.
pub(super) fn expansion(problem: Problem) -> String {
    warning(&problem.what);
    "macro processing error".to_string()
}
