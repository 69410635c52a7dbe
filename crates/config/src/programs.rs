//! Where valija's programs are: beside the one that asks, wherever the tree was installed, unless
//! main.cf names a directory *and* that directory holds valija's programs.

use crate::{Config, Origin};
use std::path::{Path, PathBuf};

/// A program of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `valija`: the mail role and the commands.
    Valija,
    /// `valija-master`: the supervisor.
    Master,
    /// `postdrop`, set-gid.
    Postdrop,
    /// `postqueue`, set-gid.
    Postqueue,
    /// `sendmail`.
    Sendmail,
}

impl Program {
    /// File names, the installed one first, then that of a build tree.
    fn names(self) -> &'static [&'static str] {
        match self {
            Program::Valija => &["valija"],
            Program::Master => &["valija-master"],
            Program::Postdrop => &["postdrop", "valija-postdrop"],
            Program::Postqueue => &["postqueue", "valija-postdrop"],
            Program::Sendmail => &["sendmail", "valija"],
        }
    }

    fn directory_parameter(self) -> &'static str {
        if self == Program::Master { "daemon_directory" } else { "command_directory" }
    }
}

/// The path of `program` as seen from the running executable.
pub fn find(program: Program, config: Option<&Config>) -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|e| format!("cannot find out where this program is: {e}"))?;
    find_from(&exe, program, config)
}

fn find_from(exe: &Path, program: Program, config: Option<&Config>) -> Result<PathBuf, String> {
    let named = config.and_then(|c| {
        let parameter = program.directory_parameter();
        let raw = c.raw(parameter).filter(|r| r.origin != Origin::Default)?;
        c.expand(&raw.text).ok().map(PathBuf::from)
    });
    // The directory is ours only if it holds a file that no other mail system installs.
    let marker = if program == Program::Master { "valija-master" } else { "valija" };
    let named = named.filter(|d| d.join(marker).is_file());
    let here = exe.parent().unwrap_or(Path::new("/"));
    // PREFIX/sbin, PREFIX/bin and PREFIX/lib/valija see each other.
    let prefixes = [here.join(".."), here.join("../..")];
    let mut places: Vec<PathBuf> = named.into_iter().collect();
    places.push(here.to_path_buf());
    for prefix in prefixes {
        places.extend(["sbin", "lib/valija", "bin"].iter().map(|d| prefix.join(d)));
    }
    for place in &places {
        let ours = place.join("valija").is_file() || place.join("valija-master").is_file();
        for name in program.names() {
            let path = place.join(name);
            if ours && path.is_file() {
                return Ok(place.canonicalize().map_or(path, |p| p.join(name)));
            }
        }
    }
    Err(format!("{} was not found beside {}; install valija as a whole", program.names()[0], exe.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_itself_unless_a_named_directory_is_ours() {
        let root = std::env::temp_dir().join(format!("valija-programs-{}", std::process::id()));
        for d in ["usr/sbin", "usr/lib/valija", "other"] {
            std::fs::create_dir_all(root.join(d)).unwrap();
        }
        for f in ["usr/sbin/valija", "usr/sbin/postdrop", "usr/lib/valija/valija-master", "other/postdrop"] {
            std::fs::write(root.join(f), "").unwrap();
        }
        let root = root.canonicalize().unwrap();
        let exe = root.join("usr/sbin/valija");
        let find = |p, c: Option<&Config>| find_from(&exe, p, c).unwrap();
        assert_eq!(find(Program::Master, None), root.join("usr/lib/valija/valija-master"));
        assert_eq!(find(Program::Postdrop, None), root.join("usr/sbin/postdrop"));
        let text = format!("command_directory = {}/other\n", root.display());
        let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
        assert_eq!(find(Program::Postdrop, Some(&config)), root.join("usr/sbin/postdrop"));
        std::fs::write(root.join("other/valija"), "").unwrap();
        assert_eq!(find(Program::Postdrop, Some(&config)), root.join("other/postdrop"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
