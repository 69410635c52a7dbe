//! Desktop clients, for real: an account, a window with a letter, the keys that send it, the question for the password
//! answered wrongly and then rightly, and the letter arrives. They run as an ordinary user on a display that nobody sees.

use crate::host::{Logins, RECIPIENT, SENDER};
use crate::letter;
use crate::programs::{SUBMISSION, SUBMISSIONS, Service};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use valija_tests::log::Line;
use valija_tests::scenario::Placed;
use valija_tests::world::World;

/// A desktop client.
pub struct Client {
    /// Its name, and that of the script that prepares and starts it.
    pub name: &'static str,
    /// What must be there.
    pub needed: &'static [&'static str],
    script: &'static str,
    /// Titles of its windows, as regular expressions: with the letter, when all of it is there, and asking for the
    /// password.
    letter: &'static str,
    question: &'static str,
    /// The window that says that the password was wrong, where that is one of its own, and the key to try another one.
    again: Option<(&'static str, &'static str)>,
    mark: &'static str,
}

/// Thunderbird.
pub const THUNDERBIRD: Client = Client {
    name: "thunderbird",
    needed: &[
        "/usr/bin/thunderbird",
        "/usr/bin/certutil",
        "/usr/bin/Xvfb",
        "/usr/bin/xdotool",
        "/usr/bin/openbox",
    ],
    script: include_str!("desktop/thunderbird"),
    letter: "^Write: thunderbird on ",
    question: "^Password Required",
    again: Some(("^Login to account .* failed", "alt+e")),
    mark: "User-Agent: Mozilla Thunderbird*",
};

/// Evolution.
pub const EVOLUTION: Client = Client {
    name: "evolution",
    needed: &["/usr/bin/evolution", "/usr/bin/Xvfb", "/usr/bin/xdotool", "/usr/bin/openbox"],
    script: include_str!("desktop/evolution"),
    letter: "^evolution on ",
    question: "^Mail authentication request",
    again: None,
    mark: "User-Agent: Evolution *",
};

const TEXT: &str = "Grüße vom Schreibtisch, hola desde el escritorio.";
const TEXT_PATH: &str = "/srv/desktop/text";

/// How long a client may take for one thing; it does not run alone.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long to wait for what keys do before they are pressed again: a window may be seen before it listens.
const AGAIN: Duration = Duration::from_secs(5);

/// What they find in the world.
pub fn files() -> Vec<Placed> {
    let mut files = letter::files();
    for (name, content) in [
        ("text", TEXT),
        ("thunderbird", THUNDERBIRD.script),
        ("thunderbird.js", include_str!("desktop/thunderbird.js")),
        ("evolution", EVOLUTION.script),
        ("account.source", include_str!("desktop/account.source")),
        ("identity.source", include_str!("desktop/identity.source")),
        ("transport.source", include_str!("desktop/transport.source")),
    ] {
        let path = Path::new("/srv/desktop").join(name);
        files.push(Placed { path, content: content.into(), executable: false });
    }
    files
}

/// A picture of the screen: its name and the file's bytes.
pub type Picture = (String, Vec<u8>);

/// Sends on 587, where a wrong password is given first, and on 465; what is on the screen is added to the pictures.
pub fn sends(
    world: &World,
    logins: Logins,
    client: &Client,
    pictures: &mut Vec<Picture>,
) -> Result<(), String> {
    let screen = Screen::start(world, client)?;
    for service in [&SUBMISSION, &SUBMISSIONS] {
        let result = send(&screen, logins, service, pictures);
        if let Err(why) = result {
            pictures.push((format!("{}-{}-failed.png", client.name, service.port), screen.picture()?));
            let said =
                fs::read_to_string(format!("/home/{}/{}/said", SENDER.0, service.port)).unwrap_or_default();
            let windows = screen.shown();
            let lines = world.log.lines();
            let log: Vec<String> = lines.iter().rev().take(20).rev().map(Line::shown).collect();
            return Err(format!(
                "{} on {}: {why}\nthe windows:\n{windows}\nit said:\n{said}\nthe log ends:\n{}",
                client.name,
                service.port,
                log.join("\n")
            ));
        }
    }
    Ok(())
}

fn send(
    screen: &Screen,
    logins: Logins,
    service: &Service,
    pictures: &mut Vec<Picture>,
) -> Result<(), String> {
    let Screen { world, client } = screen;
    let subject = format!("{} on {}", client.name, service.port);
    let log = world.log.lines().len();
    let since = |is: &dyn Fn(&Line) -> bool| world.log.lines().iter().skip(log).any(is);
    screen.launch(service, &subject)?;
    screen.until("the window with the letter", || screen.shows(client.letter))?;
    screen.press(
        "the question for the password",
        client.letter,
        "key --clearmodifiers ctrl+Return",
        || screen.shows(client.question),
    )?;
    if service.port == SUBMISSION.port {
        screen.answer("the refusal of a wrong password", "wrong", || {
            since(&|line| service.is_failed_login(line))
        })?;
        if let Some((title, key)) = client.again {
            screen.until("the news of the failed login", || screen.shows(title))?;
            pictures.push((format!("{}-wrong-password.png", client.name), screen.picture()?));
            screen.press("a second question", title, &format!("key --clearmodifiers {key}"), || {
                screen.shows(client.question)
            })?;
        } else {
            screen.until("a second question", || screen.shows(client.question))?;
        }
        pictures.push((format!("{}.png", client.name), screen.picture()?));
    }
    screen.answer("the letter to be accepted", SENDER.1, || {
        since(&|line| line.tag == service.tag && line.text.contains(": client="))
    })?;
    let found = letter::read_back(world, logins, &subject, (TEXT_PATH, "-"), log)?;
    let mut problems = letter::problems(&found, service.tag);
    if !found.has(client.mark) {
        problems.push(format!("it has no {:?}:\n{}", client.mark, found.text));
    }
    screen.until("the window with the letter to close", || !screen.shows(client.letter))?;
    screen.quit(service)?;
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// A display with a window manager, and a client on it.
struct Screen<'a> {
    world: &'a World,
    client: &'a Client,
}

impl<'a> Screen<'a> {
    fn start(world: &'a World, client: &'a Client) -> Result<Screen<'a>, String> {
        let screen = Screen { world, client };
        // Without a default route Evolution thinks that it is not connected.
        world.expect_success("root", "mkdir -m 1777 /tmp/.X11-unix && ip route add default dev eth0")?;
        // A display begins anew when its last client leaves, as the one does that asks whether it is there: a window
        // manager that comes at that moment is turned out, and without one no window can be given the keyboard.
        screen.run("setsid Xvfb :9 -screen 0 1024x768x24 -nolisten tcp -noreset >xvfb 2>&1 </dev/null &")?;
        screen.until("the display", || screen.run("xdotool getdisplaygeometry").is_ok())?;
        screen.run("setsid openbox >openbox 2>&1 </dev/null &")?;
        screen
            .until("the window manager", || screen.run("xdotool get_num_desktops").is_ok())
            .map_err(|why| format!("{why}\nthe windows:\n{}", screen.shown()))?;
        Ok(screen)
    }

    /// Runs a command as the user who sends, on the display.
    fn run(&self, command: &str) -> Result<String, String> {
        let output = self.world.run(SENDER.0, &format!("export DISPLAY=:9\n{command}"))?;
        match output.status {
            0 => Ok(output.text),
            status => Err(format!("{command}: it ended with {status} and said: {}", output.text)),
        }
    }

    /// Starts the client in a home and a session of its own. In valija's world the folders of programs are put together
    /// of links, which the sandboxes of the clients do not bear: it sees the host's.
    fn launch(&self, service: &Service, subject: &str) -> Result<(), String> {
        let (port, tls, name) = (service.port, service.tls, self.client.name);
        let to = format!("{}@mail1.org", RECIPIENT.0);
        let user = SENDER.0;
        let home = format!("/home/{user}/{port}");
        self.run(&format!("mkdir -p -m 700 {home} /tmp/run-{port}"))?;
        let script = format!(
            "for folder in /usr/lib /usr/libexec /usr/sbin; do umount -l $folder 2>/dev/null; done\ncd {home}\n\
             exec setpriv --reuid={user} --regid={user} --init-groups env HOME={home} USER={user} LOGNAME={user} DISPLAY=:9 \
             XDG_RUNTIME_DIR=/tmp/run-{port} dbus-run-session -- sh -c \
             'echo $$ >$HOME/pid; . /srv/desktop/{name}' {name} {port} {tls} {to} \"{subject}\" \"{TEXT}\""
        );
        let path = format!("/tmp/launch-{port}");
        fs::write(&path, script).map_err(|error| format!("{path}: {error}"))?;
        let start = format!("setsid unshare --mount sh {path} >{home}/said 2>&1 </dev/null &");
        self.world.expect_success("root", &start)
    }

    /// Ends the client, unless it ends by itself with its last window.
    fn quit(&self, service: &Service) -> Result<(), String> {
        let pid = format!("$(cat $HOME/{}/pid)", service.port);
        self.run(&format!("kill {pid} || true"))?;
        self.until("the client to end", || self.run(&format!("kill -0 {pid}")).is_err())
    }

    /// Whether a window with this title is to be seen.
    fn shows(&self, title: &str) -> bool {
        self.run(&format!("xdotool search --onlyvisible --name '{title}'"))
            .is_ok_and(|ids| !ids.trim().is_empty())
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) -> Result<(), String> {
        if within(PATIENCE, &done) { Ok(()) } else { Err(format!("waited {PATIENCE:?} in vain for {what}")) }
    }

    /// Does something with the keyboard in a window, again if nothing comes of it.
    fn press(&self, what: &str, title: &str, keys: &str, done: impl Fn() -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            // A window that is gone by now gets no keys, and neither does another one.
            let _ = self.run(&format!(
                "window=$(xdotool search --onlyvisible --name '{title}' | head -1) && [ \"$window\" ] && \
                 timeout 5 xdotool windowactivate --sync $window {keys}"
            ));
            if within(AGAIN, &done) {
                return Ok(());
            }
        }
        Err(format!("waited {PATIENCE:?} in vain for {what}"))
    }

    /// Answers the question for the password.
    fn answer(&self, what: &str, password: &str, done: impl Fn() -> bool) -> Result<(), String> {
        let keys = format!("key ctrl+a type --clearmodifiers -- '{password}' && xdotool key Return");
        self.press(what, self.client.question, &keys, done)
    }

    /// What a failure tells of the display: the windows that have a title, which of them has the keyboard, and what the
    /// display and its window manager said.
    fn shown(&self) -> String {
        let said = self.run(
            "exec 2>&1\nfocus=$(xdotool getwindowfocus 2>/dev/null)\nseen=$(xdotool search --onlyvisible --name .)\n\
             for id in $(xdotool search --name .); do\nname=$(xdotool getwindowname $id)\n[ \"$name\" ] || continue\n\
             case \" $(echo $seen) \" in *\" $id \"*) ;; *) name=\"$name (hidden)\" ;; esac\n\
             [ $id != \"$focus\" ] || name=\"$name (it has the keyboard)\"\necho \"  $name\"\ndone\n\
             for program in xvfb openbox; do echo \"$program said: $(cat $program)\"; done",
        );
        said.unwrap_or_else(|why| why)
    }

    fn picture(&self) -> Result<Vec<u8>, String> {
        self.run("import -window root +dither -colors 64 picture.png")?;
        let path = format!("/home/{}/picture.png", SENDER.0);
        fs::read(&path).map_err(|error| format!("{path}: {error}"))
    }
}

fn within(limit: Duration, done: &impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
