//! The deliver role (its code arrives with crates/local).
/// Runs the role.
pub fn main(_: &[String]) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
