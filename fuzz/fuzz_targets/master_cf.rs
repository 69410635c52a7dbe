//! The master.cf reader: any text is read or refused; what was read has a command.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let config = config::Config::from_text(std::path::Path::new("/nowhere"), "").unwrap();
    match config::master_cf::read("master.cf", text) {
        Ok(services) => {
            for service in &services.all {
                let own = service.config(&config);
                let _ = (service.command(), service.id(), service.wakeup(), service.process_limit());
                let _ = own.get("syslog_name");
            }
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
});
