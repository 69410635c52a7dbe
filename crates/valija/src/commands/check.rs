//! `valija check [--json] [DIR]`: what becomes of each setting of main.cf and each line of master.cf.
//!
//! It reads and changes nothing. Status 0: everything is the same here or may be ignored; 1: something
//! differs, is unsupported or unknown; 2: the configuration cannot be read, or would not be started.

mod elements;
mod encryption;
mod report;
mod verdict;
mod words;

use config::directory::{self, Caller};
use config::{Config, Problem, master_cf};
pub(super) use report::Report;
use report::Row;
use std::process::ExitCode;

/// Runs the command.
pub fn run(_name: &str, args: &[String]) -> ExitCode {
    let mut json = false;
    let mut named: Option<&str> = None;
    for word in args {
        match word.as_str() {
            "--json" => json = true,
            "--" => {}
            option if option.starts_with('-') => {
                eprintln!("valija check: unknown option {option}; use: valija check [--json] [DIR]");
                return ExitCode::from(2);
            }
            directory if named.is_none() => named = Some(directory),
            _ => {
                eprintln!("valija check: one directory at a time; use: valija check [--json] [DIR]");
                return ExitCode::from(2);
            }
        }
    }
    let report = match directory::decide(named, Caller::Same) {
        Ok(directory) => look(&directory),
        Err(problem) => Report { faults: vec![problem], ..Report::default() },
    };
    let text = if json { report.json() } else { report.text() };
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::from(report.status())
}

/// Why a system with these texts would not start; `mail_name` is what /etc/mailname will hold.
pub(super) fn faults(
    directory: &std::path::Path,
    main: &str,
    master: &str,
    mail_name: Option<&str>,
) -> Vec<String> {
    let file = directory.join("master.cf").display().to_string();
    let (config, services) = match (Config::from_text(directory, main), master_cf::read(&file, master)) {
        (Ok(config), Ok(services)) => (config, services),
        (config, services) => {
            let all = config.err().into_iter().chain(services.err()).flatten();
            return all.map(|p| p.to_string()).collect();
        }
    };
    let filed = config.get("myorigin").is_ok_and(|o| o == "/etc/mailname");
    let view = match mail_name {
        Some(name) if filed => config.with([("myorigin", name)]),
        _ => config.clone(),
    };
    let mut problems = config::params::problems(&view);
    problems.extend(config::refused(&config, &services.all));
    problems.iter().map(ToString::to_string).collect()
}

/// Looks at everything in `directory`.
pub(super) fn look(directory: &std::path::Path) -> Report {
    let mut report = Report { directory: directory.display().to_string(), ..Report::default() };
    let (config, services) = match (Config::load(directory), master_cf::load(directory)) {
        (Ok(config), Ok(services)) => (config, services),
        (config, services) => {
            report.faults.extend(config.err().into_iter().chain(services.err()).flatten());
            return report;
        }
    };
    report.faults.extend(config.compatibility_level().err());
    report.faults.extend(config::params::problems(&config));
    report.faults.extend(words::problems(&config));
    report.faults.dedup();
    report.notes.extend(config.warnings().iter().chain(&services.warnings).cloned());
    report.notes.extend(config::suspicious(&config));
    let dangers = config::danger(&config, &services.all);
    let allowed = config::params::main::Main::load(&config).is_ok_and(|m| *m.valija_allow_open_relay());
    if allowed {
        report.notes.extend(dangers)
    } else {
        report.faults.extend(dangers)
    }

    let judge = verdict::Judge::new(&config, &services.all);
    for name in config.set_names() {
        let (verdict, note) = judge.setting(&config, name);
        let value = config.explicit(name).map(|r| r.text).unwrap_or_default();
        let place = config.placed(name, Problem::of(name, "", "")).place;
        report.rows.push(Row {
            line: place.map_or(0, |(_, l)| l),
            file: "main.cf",
            name: name.to_string(),
            value,
            verdict,
            note,
        });
    }
    for service in &services.all {
        let own = service.config(&config);
        report.faults.extend(words::overrides(service, &own));
        let (verdict, note) = judge.service(service, &config);
        let value = service.argv.join(" ");
        report.rows.push(Row {
            line: service.line,
            file: "master.cf",
            name: service.id(),
            value,
            verdict,
            note,
        });
        for (name, value) in &service.overrides {
            let (verdict, note) = verdict::overridden(service, name, judge.setting(&own, name));
            let (name, value) = (format!("{} -o {name}", service.id()), value.clone());
            report.rows.push(Row { line: service.line, file: "master.cf", name, value, verdict, note });
        }
    }
    report.rows.sort_by_key(|r| (r.file, r.line));
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::Verdict;

    fn on(main: &str, master: &str) -> Report {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("valija-check-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("main.cf"), main).unwrap();
        std::fs::write(dir.join("master.cf"), master).unwrap();
        let report = look(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        report
    }

    fn row<'a>(report: &'a Report, name: &str) -> &'a Row {
        report.rows.iter().find(|r| r.name == name).unwrap()
    }

    const SMTP: &str = "smtp inet n - y - - smtpd\n";

    #[test]
    fn words_that_the_smtp_server_refuses() {
        let master = format!("{SMTP}  -o smtpd_tls_security_level=must\n");
        let report = on(
            "compatibility_level = 3.6\nsmtpd_tls_security_level = encript\nsmtpd_forbid_bare_newline = Yes\n",
            &master,
        );
        assert_eq!(report.status(), 2);
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults[1]
                .contains("master.cf, line 1: smtp/inet -o smtpd_tls_security_level: bad value \"must\""),
            "{faults:?}"
        );
        assert!(
            faults[0].contains("line 2") && faults[0].contains("write none, may or encrypt"),
            "{faults:?}"
        );
        assert_eq!(row(&report, "smtpd_tls_security_level").verdict, Verdict::Unsupported);
        assert_eq!(row(&report, "smtpd_forbid_bare_newline").verdict, Verdict::Same);
        assert_eq!(row(&report, "smtp/inet -o smtpd_tls_security_level").verdict, Verdict::Unsupported);
    }

    #[test]
    fn a_style_of_networks_that_there_is_not() {
        let main = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmynetworks_style = subnets\n";
        let report = on(main, SMTP);
        assert_eq!(report.status(), 2);
        assert!(report.faults[0].to_string().contains("write host, subnet or class"), "{:?}", report.faults);
        // It is not looked at where the networks are written out.
        assert_eq!(on(&format!("{main}mynetworks = 127.0.0.0/8\n"), SMTP).faults, []);
        let master = format!("{SMTP}  -o mynetworks_style=subnets\n");
        let fine = "compatibility_level = 3.6\nmyhostname = mx.example.org\n";
        assert_eq!(on(fine, &master).status(), 2);
        assert_eq!(on(&format!("{fine}mynetworks = 127.0.0.0/8\n"), &master).faults, []);
    }

    #[test]
    fn verdicts() {
        let main = "compatibility_level = 3.6\nmyhostname = mx.example.org\nmydomian = x\nrelay-domains = a\n\
                    my_macro = b\nmydestination = $my_macro\nsmtp_tls_loglevel = 1\nreadme_directory = no\n\
                    virtual_mailbox_maps = mysql:/etc/x\n";
        let report = on(main, SMTP);
        assert_eq!(row(&report, "myhostname").verdict, Verdict::Same);
        assert_eq!(row(&report, "my_macro").verdict, Verdict::Same);
        assert_eq!(row(&report, "readme_directory").verdict, Verdict::Accepted);
        assert_eq!(row(&report, "relay-domains").verdict, Verdict::Unknown);
        assert!(row(&report, "relay-domains").note.contains("did you mean relay_domains?"));
        assert!(row(&report, "mydomian").note.contains("did you mean mydomain?"));
        assert_eq!(row(&report, "smtp/inet").line, 1);
        assert_eq!(report.status(), 1);
        assert!(report.text().contains("%"), "{}", report.text());
    }

    #[test]
    fn what_would_not_start() {
        assert_eq!(on("compatibility_level = 3.6\nmynetworks = 0.0.0.0/0\n", SMTP).status(), 2);
        assert_eq!(on("wrong\n", SMTP).status(), 2);
        assert_eq!(on("compatibility_level = 3.6\n", "smtp inet\n").status(), 2);
        let fine = on("compatibility_level = 3.6\nmyhostname = mx.example.org\n", SMTP);
        assert_eq!(fine.faults, []);
        assert_eq!(look(std::path::Path::new("/no/such/directory")).status(), 2);
    }

    #[test]
    fn json_is_escaped() {
        let json = on("compatibility_level = 3.6\nmyorigin = a\"b\\c\n", SMTP).json();
        assert!(json.contains("\"value\":\"a\\\"b\\\\c\""), "{json}");
    }
}
