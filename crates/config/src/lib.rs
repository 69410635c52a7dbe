//! main.cf and master.cf: reading, `$`-expansion, typed parameters, editing.
//!
//! [`Config`] is an immutable snapshot of main.cf plus overrides (`-o name=value`). Parameters are
//! declared once, in `params/`, with [`params!`]: name, type, default, one sentence. All groups
//! live here, not in the crates that obey them, because every program (postconf, `valija check`,
//! the root programs) must know every name; a house test holds that each declared parameter is
//! asked for somewhere outside this crate.

pub mod catalogue;
pub mod computed;
mod danger;
pub mod directory;
pub mod environment;
pub mod expand;
mod level;
pub mod lines;
mod macros;
mod main_cf;
pub mod master_cf;
pub mod network;
pub mod params;
mod problem;
pub mod programs;
mod suspicious;
pub mod user_list;
pub mod value;

pub use danger::{danger, refused};
pub use level::Level;
pub use main_cf::{Config, Origin, Raw};
pub use problem::Problem;
pub use suspicious::suspicious;
