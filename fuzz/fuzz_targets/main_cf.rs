//! The main.cf reader: any text is read or refused with its line; every value expands or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match config::Config::from_text(std::path::Path::new("/nowhere"), text) {
        Ok(config) => {
            for name in config.set_names() {
                let _ = config.get(name);
            }
            let _ = config.compatibility_level();
            let _ = config::suspicious(&config);
            let _ = config::params::main::Main::load(&config);
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
});
