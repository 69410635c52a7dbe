//! Warnings about settings: names that nothing uses, and references to nothing.

use super::names::{self, Names};
use super::warning;
use config::Config;
use config::master_cf::Service;
use std::path::Path;

/// `undefined parameter`: a value mentions a name that nobody set and nobody knows.
pub(super) fn undefined(config: &Config, services: &[Service], names: &Names, directory: &Path) {
    for name in ["process_name", "service_name", "process_id"] {
        if let Some(raw) = config.explicit(name) {
            let main = directory.join("main.cf");
            warning(&format!("{}: read-only parameter assignment: {name}={}", main.display(), raw.text));
        }
    }
    let known = |name: &str| config.explicit(name).is_some() || names.all.contains_key(name);
    for setting in config.set_names().chain(config.override_names()) {
        // What is expanded with names of its own may mention any.
        if super::show_main::RAW.contains(&setting) {
            continue;
        }
        let Some(raw) = config.explicit(setting) else { continue };
        for name in names::mentioned(&raw.text).iter().filter(|n| !known(n)) {
            warning(&format!("{}: undefined parameter: {name}", directory.join("main.cf").display()));
        }
    }
    for class in config::value::split_list(&config.get("smtpd_restriction_classes").unwrap_or_default()) {
        if !known(&class) {
            warning(&format!("{}: undefined parameter: {class}", directory.join("main.cf").display()));
        }
    }
    for service in services {
        let own = |name: &str| service.overrides.iter().any(|(n, _)| n == name);
        for name in names::local_names(service).iter().filter(|n| !known(n) && !own(n)) {
            warning(&format!("{}: undefined parameter: {name}", directory.join("master.cf").display()));
        }
    }
}

/// `unused parameter` in main.cf.
pub(super) fn unused_main(config: &Config, names: &Names, directory: &Path) {
    let mut all: Vec<&str> = config.set_names().chain(config.override_names()).collect();
    all.sort_unstable();
    all.dedup();
    for name in all.into_iter().filter(|n| !names.all.contains_key(*n)) {
        let value = config.explicit(name).map(|r| r.text).unwrap_or_default();
        warning(&format!("{}: unused parameter: {name}={value}", directory.join("main.cf").display()));
    }
}

/// `unused parameter` among the `-o` settings of master.cf.
pub(super) fn unused_master(services: &[Service], names: &Names, directory: &Path) {
    for service in services {
        let local = names::local_names(service);
        for (name, value) in &service.overrides {
            if !names.all.contains_key(name) && !local.contains(name) {
                warning(&format!(
                    "{}: unused parameter: {name}={value}",
                    directory.join("master.cf").display()
                ));
            }
        }
    }
}
