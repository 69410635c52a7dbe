//! Printing master.cf: services (`-M`), their fields (`-F`), their settings (`-P`).

use super::entry::{self, Entry, FIELDS};
use super::fold::{self, Lines};
use super::names::Names;
use super::options::{Mode, Options};
use super::{Done, print, show_main, warn, warning};
use std::path::Path;

pub(super) fn show(options: &Options, directory: &Path) -> Done {
    let config = show_main::load(directory)?;
    let config = config.with(options.overrides.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let plain = entry::load(directory)?;
    let entries = match options.listing('x') {
        true => plain.iter().map(|e| e.expanded(&config)).collect::<Result<Vec<_>, _>>()?,
        false => plain.clone(),
    };
    let services: Vec<_> = plain.iter().map(Entry::service).collect();
    let names = Names::new(Some(&config), &services);
    warn::undefined(&config, &services, &names, directory);
    let every = [String::new()];
    let words: &[String] = if options.words.is_empty() { &every } else { &options.words };
    let mut out = String::new();
    let every = options.words.is_empty();
    let requests =
        words.iter().map(|w| Request::read(w, options.mode, every)).collect::<Result<Vec<_>, _>>()?;
    let mut answered = vec![every; words.len()];
    for entry in &entries {
        for (request, answered) in requests.iter().zip(&mut answered).filter(|(r, _)| r.service(entry)) {
            let before = out.len();
            request.print(entry, options, &mut out);
            *answered |= out.len() > before;
        }
    }
    for (word, _) in words.iter().zip(&answered).filter(|(_, answered)| !**answered) {
        warning(&format!("unmatched request: {word:?}"));
    }
    print(&out);
    warn::unused_master(&services, &names, directory);
    Ok(())
}

/// `service/type/rest`, each part perhaps `*`.
struct Request {
    mode: Mode,
    parts: [String; 3],
}

impl Request {
    fn read(word: &str, mode: Mode, every: bool) -> Result<Request, String> {
        let star = || "*".to_string();
        if every {
            return Ok(Request { mode, parts: [star(), star(), star()] });
        }
        let given: Vec<&str> = word.split('/').filter(|p| !p.is_empty()).collect();
        let (most, form) = match mode {
            Mode::Fields => (3, "-F option requires service_name[/type[/field]]"),
            Mode::Settings => (3, "-P option requires service_name[/type[/parameter]]"),
            _ => (2, "-M option requires service_name[/type]"),
        };
        if given.is_empty() || given.len() > most {
            return Err(form.to_string());
        }
        let part = |at: usize| given.get(at).map_or_else(star, |p| p.to_string());
        let parts = [part(0), part(1), part(2)];
        if mode == Mode::Fields && parts[2] != "*" && !FIELDS.contains(&parts[2].as_str()) {
            return Err(format!("invalid service attribute name: {:?}", parts[2]));
        }
        Ok(Request { mode, parts })
    }

    fn service(&self, entry: &Entry) -> bool {
        matches(&self.parts[0], entry.name()) && matches(&self.parts[1], entry.kind())
    }

    fn print(&self, entry: &Entry, options: &Options, out: &mut String) {
        let id = format!("{}/{}", entry.name(), entry.kind());
        match self.mode {
            Mode::Fields => {
                let columns = FIELDS.iter().zip(&entry.columns).filter(|(f, _)| matches(&self.parts[2], f));
                columns.for_each(|(f, c)| out.push_str(&fold::setting(&format!("{id}/{f}"), c, options)));
                if matches(&self.parts[2], "command") {
                    out.push_str(&command(&format!("{id}/command"), entry, options));
                }
            }
            Mode::Settings => {
                let mut settings = entry.settings();
                settings.sort();
                for (name, value) in settings.iter().filter(|(n, _)| matches(&self.parts[2], n)) {
                    out.push_str(&fold::setting(&format!("{id}/{name}"), value, options));
                }
            }
            _ => out.push_str(&entry.print(options.listing('f'))),
        }
    }
}

fn command(name: &str, entry: &Entry, options: &Options) -> String {
    if options.listing('H') {
        return format!("{name}\n");
    }
    let mut lines = Lines::new(options.listing('f'));
    if !options.listing('h') {
        lines.literal(&format!("{name} ="));
    }
    entry.print_command(&mut lines);
    lines.end()
}

/// Whether a part of a request, perhaps `*`, means `name`.
pub(super) fn matches(part: &str, name: &str) -> bool {
    part == "*" || part == name
}
