//! `postalias`: as `postmap`, for texts in the form of aliases(5).

use std::process::ExitCode;

/// `postalias [-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] [file_type:]file_name ...`
pub fn run(name: &str, args: &[String]) -> ExitCode {
    super::postmap::run(name, args)
}
