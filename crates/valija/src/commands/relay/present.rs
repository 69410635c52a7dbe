//! The configuration as it is: what an attempt needs of it, and what of it stands in the way.

use super::login::Login;
use super::options::Options;
use super::settings;
use crate::commands::changes::read;
use crate::commands::names::RelayHost;
use config::directory::{self, Caller};
use config::value::split_list;
use config::{Config, params};
use sasl::Secret;
use smtp::route::Settings;
use std::path::PathBuf;

/// The configuration as it is.
pub(super) struct Present {
    pub(super) directory: PathBuf,
    pub(super) main: Vec<u8>,
    pub(super) config: Config,
}

impl Present {
    pub(super) fn load(options: &Options) -> Result<Present, String> {
        let directory =
            directory::decide(options.directory.as_deref(), Caller::Same).map_err(|p| p.to_string())?;
        let main = read(&directory.join("main.cf"))?.ok_or_else(|| {
            format!(
                "{} has no main.cf yet; begin with: valija setup satellite, or smarthost",
                directory.display()
            )
        })?;
        let config = Config::from_text(&directory, &String::from_utf8_lossy(&main)).map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            format!("main.cf has faults; mend them first: {}", all.join("; "))
        })?;
        Ok(Present { directory, main, config })
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.config.get(name).ok()
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }

    /// What messages of this host are from when nobody says otherwise.
    pub(super) fn sender(&self) -> Result<String, String> {
        let main = params::main::Main::load(&self.config)
            .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        Ok(format!("root@{}", main.myorigin()))
    }

    pub(super) fn helo(&self) -> String {
        let name = self.text("smtp_helo_name");
        if name.trim().is_empty() { self.text("myhostname") } else { name }
    }

    /// How the SMTP client looks for hosts.
    pub(super) fn route(&self) -> Settings {
        let words = |name: &str| split_list(&self.text(name).to_ascii_lowercase());
        let protocols = words("inet_protocols");
        let has = |list: &[String], word: &str| list.iter().any(|w| w == word);
        let all = has(&protocols, "all");
        let dns = !self.text("smtp_dns_support_level").eq_ignore_ascii_case("disabled")
            && !self.text("disable_dns_lookups").eq_ignore_ascii_case("yes");
        let lookup = words("smtp_host_lookup");
        Settings {
            ipv4: all || has(&protocols, "ipv4"),
            ipv6: all || has(&protocols, "ipv6"),
            dns,
            lookup_dns: dns && has(&lookup, "dns"),
            lookup_native: !dns || has(&lookup, "native"),
            own: crate::mail::addresses::own(&self.config).into(),
            ..Settings::default()
        }
    }
}

/// Settings that send mail past the relay host.
pub(super) fn bypasses(present: &Present) -> Vec<String> {
    let mut out = Vec::new();
    let transport = present.text("default_transport");
    if transport != "smtp" && !transport.is_empty() {
        out.push(format!(
            "default_transport = {transport}: mail for elsewhere does not take the relay host; `valija setup satellite` or smarthost changes that"
        ));
    }
    for name in
        ["sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps", "transport_maps"]
    {
        if !present.text(name).trim().is_empty() {
            out.push(format!("{name} is set, and what it names goes another way"));
        }
    }
    out
}

/// The relay host of main.cf, and its login.
pub(super) fn in_force(present: &Present) -> Result<(Option<RelayHost>, Option<Login>), String> {
    let text = present.text("relayhost");
    let first = text.split(',').next().unwrap_or_default().trim();
    if first.is_empty() {
        return Ok((None, None));
    }
    let relay = RelayHost::read(first)?;
    if !present.text("smtp_sasl_auth_enable").eq_ignore_ascii_case("yes") {
        return Ok((Some(relay), None));
    }
    let current = |name: &str| present.get(name);
    let (_, path) = settings::table(&present.directory, &current)?;
    let bytes = read(&path)?.unwrap_or_default();
    let found = settings::row(&bytes, first).or_else(|| settings::row(&bytes, &relay.host));
    let login = found.and_then(|value| {
        let (user, password) = value.split_once(':')?;
        Some(Login { user: user.to_string(), password: Secret::from(password) })
    });
    Ok((Some(relay), login))
}
