//! Which parameters there are: the program's own, those that services of master.cf have, those the
//! administrator made (macros and restriction classes).

use super::options::Class;
use config::master_cf::{Kind, Service};
use config::{Config, catalogue, params, value};
use std::collections::{BTreeMap, BTreeSet};

/// All names with their class, and what services give as defaults.
pub(super) struct Names {
    pub(super) all: BTreeMap<String, Vec<Class>>,
    service_defaults: BTreeMap<String, &'static str>,
}

impl Names {
    /// The names known in the light of main.cf (absent for `-d`) and master.cf.
    pub(super) fn new(config: Option<&Config>, services: &[Service]) -> Names {
        let mut all: BTreeMap<String, Vec<Class>> =
            builtin().map(|n| (n.to_string(), vec![Class::Builtin])).collect();
        let mut service_defaults = BTreeMap::new();
        for service in services {
            for (suffix, default) in suffixes(service) {
                let name = format!("{}_{suffix}", service.name);
                let classes: &mut Vec<Class> = all.entry(name.clone()).or_default();
                if classes.is_empty() {
                    service_defaults.insert(name, default);
                }
                classes.push(Class::Service);
            }
        }
        let mut names = Names { all, service_defaults };
        if let Some(config) = config {
            for name in user_names(config, services) {
                if config.explicit(&name).is_some() {
                    names.all.entry(name).or_insert_with(|| vec![Class::User]);
                }
            }
        }
        names
    }

    /// The value of `name` before expansion, with the default that a service gives it.
    pub(super) fn raw(&self, config: &Config, name: &str) -> String {
        match config.raw(name) {
            Some(raw) => raw.text,
            None => self.service_defaults.get(name).map_or(String::new(), |d| d.to_string()),
        }
    }
}

/// Every parameter of the program's own.
pub(super) fn builtin() -> impl Iterator<Item = &'static str> {
    let declared = params::GROUPS.iter().flat_map(|g| g.iter()).map(|d| d.name);
    let known = catalogue::entries().filter(|e| e.fate != catalogue::Fate::Legacy).map(|e| e.name);
    declared.chain(known).chain(config::computed::NAMES)
}

/// The parameters that a service brings.
fn suffixes(service: &Service) -> impl Iterator<Item = (&'static str, &'static str)> {
    let program = service.command().rsplit('/').next().unwrap_or_default();
    let command = service.command();
    let agent = command == program
        && service.kind != Kind::Inet
        && matches!(program, "smtp" | "lmtp" | "local" | "pipe" | "virtual" | "error");
    let inet_agent = service.kind == Kind::Inet && matches!(command, "smtp" | "lmtp");
    let timed = matches!(command, "pipe" | "spawn");
    let transport = catalogue::TRANSPORT.iter().filter(move |_| agent || inet_agent);
    transport.chain(catalogue::COMMAND.iter().filter(move |_| timed)).copied()
}

/// Names that some value mentions, and restriction classes.
fn user_names(config: &Config, services: &[Service]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let explicit = config.set_names().chain(config.override_names());
    let values: Vec<String> = explicit.filter_map(|n| config.explicit(n)).map(|r| r.text).collect();
    values.iter().for_each(|v| names.extend(mentioned(v)));
    catalogue::entries().for_each(|e| names.extend(mentioned(e.default)));
    params::GROUPS.iter().flat_map(|g| g.iter()).for_each(|d| names.extend(mentioned(d.default)));
    names.extend(classes(&config.get("smtpd_restriction_classes").unwrap_or_default()));
    for value in &values {
        names.extend(table_names(config, value));
    }
    for service in services {
        names.extend(local_names(service));
    }
    names
}

/// Names that the `-o` settings of a service mention, and its restriction classes.
pub(super) fn local_names(service: &Service) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in &service.overrides {
        names.extend(mentioned(value));
        if name == "smtpd_restriction_classes" {
            names.extend(classes(value));
        }
    }
    names
}

fn classes(value: &str) -> Vec<String> {
    value::split_list(value)
}

/// The names behind `$` in a text, in their order.
pub(super) fn mentioned(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once('$') {
        rest = tail;
        if let Some(tail) = rest.strip_prefix('$') {
            rest = tail;
            continue;
        }
        let body = rest.trim_start_matches(['{', '(']).trim_start();
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let (name, _) = body.split_at(end);
        if !name.is_empty() && !rest.starts_with("{{") {
            names.push(name.to_string());
        }
    }
    names
}

/// Settings of tables that main.cf itself describes, in the old style: `ldap:foo` has `foo_server_host`.
fn table_names(config: &Config, value: &str) -> Vec<String> {
    let mut names = Vec::new();
    for element in value::split_list(value) {
        let element = element.strip_prefix("proxy:").unwrap_or(&element);
        let Some((kind, source)) = element.split_once(':') else { continue };
        let Some((_, suffixes)) = OLD_STYLE.iter().find(|(k, _)| *k == kind) else { continue };
        let source = config.expand(source).unwrap_or_default();
        if !source.starts_with(['/', '.']) && !source.is_empty() {
            names.extend(suffixes.split(' ').map(|s| format!("{source}_{s}")));
        }
    }
    names
}

const SQL: &str = "user password dbname hosts query table select_field where_field additional_conditions \
domain result_format expansion_limit select_function";

/// What the settings of each old style table are called.
const OLD_STYLE: [(&str, &str); 5] = [
    (
        "ldap",
        "server_host server_port version search_base timeout query_filter domain scope size_limit dereference \
         chase_referrals bind bind_dn bind_pw cache cache_expiry cache_size recursion_limit expansion_limit \
         debuglevel result_attribute result_filter result_format terminal_result_attribute leaf_result_attribute \
         special_result_attribute start_tls tls_ca_cert_dir tls_ca_cert_file tls_cert tls_key tls_require_cert \
         tls_random_file tls_cipher_suite sasl_mechs sasl_realm sasl_authz_id sasl_minssf",
    ),
    (
        "mysql",
        "user password dbname hosts query table select_field where_field additional_conditions domain result_format expansion_limit option_file option_group tls_cert_file tls_key_file tls_CAfile tls_CApath tls_ciphers tls_verify_cert require_result_set charset",
    ),
    ("pgsql", SQL),
    (
        "sqlite",
        "dbpath query table select_field where_field additional_conditions domain result_format expansion_limit",
    ),
    (
        "memcache",
        "memcache backup key_format domain max_try line_size_limit data_size_limit timeout retry_pause ttl flags",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_values() {
        assert_eq!(
            mentioned("$a ${b?{$c}} $(d) $$e ${{$f} == {g} ? {$h}}x${ i }"),
            ["a", "b", "c", "d", "f", "h", "i"]
        );
    }

    #[test]
    fn services_bring_names() {
        let text = "a unix - - - - - pipe\nb unix - - - - - spawn\nc unix - - - - - qmgr\n";
        let services = config::master_cf::read("master.cf", text).unwrap();
        let names = Names::new(None, &services.all);
        assert_eq!(
            names.service_defaults.get("a_destination_rate_delay"),
            Some(&"$default_destination_rate_delay")
        );
        assert_eq!(names.service_defaults.get("b_time_limit"), Some(&"$command_time_limit"));
        assert_eq!(names.service_defaults.get("b_destination_rate_delay"), None);
        assert!(!names.all.keys().any(|n| n.starts_with("c_")));
    }
}
