//! Whole decisions, from main.cf to the answer.

use super::*;
use std::path::Path;

fn rewriter(extra: &str) -> Rewriter {
    let text = format!(
        "myhostname = mail2.josedomingo.org\nmydomain = josedomingo.org\nmyorigin = josedomingo.org\n\
         mydestination = $myhostname, josedomingo.org, , localhost\nrecipient_delimiter = +\n\
         local_recipient_maps = inline:{{jose=x, usuario=x}}\ncompatibility_level = 3.6\n{extra}"
    );
    let config = Config::from_text(Path::new("/nowhere"), &text).unwrap();
    Rewriter::open(&config, &Types::builder().build(), &["127.0.0.1".parse().unwrap()]).unwrap()
}

fn resolve(extra: &str, to: &str) -> String {
    let r =
        rewriter(extra).resolve(&Address::from_internal(to), &Address::from_internal("s@from.org")).unwrap();
    let routed = if r.routed { " routed" } else { "" };
    let bad = if r.bad.is_some() { " bad" } else { "" };
    format!("{}:{} {} {:?}{routed}{bad}", r.transport, r.nexthop, r.recipient, r.class)
}

#[test]
fn transports_by_class() {
    for (extra, to, want) in [
        ("", "jose@josedomingo.org", "local:mail2.josedomingo.org jose@josedomingo.org Local"),
        ("", "jose", "local:mail2.josedomingo.org jose@josedomingo.org Local"),
        ("", "alumno@localhost", "local:mail2.josedomingo.org alumno@localhost Local"),
        ("", "a@[127.0.0.1]", "local:mail2.josedomingo.org a@[127.0.0.1] Local"),
        ("", "", "local:mail2.josedomingo.org MAILER-DAEMON@mail2.josedomingo.org Local"),
        ("", "u@mail2.org", "smtp:mail2.org u@mail2.org Default"),
        ("", "u@[10.0.0.1]", "smtp:[10.0.0.1] u@[10.0.0.1] Default"),
        ("", "u@bad..org", "error:5.1.3 bad address syntax u@bad..org Default bad"),
        ("", "u%mail2.org@josedomingo.org", "smtp:mail2.org u@mail2.org Default"),
        ("", "x@mail2.org@josedomingo.org", "smtp:mail2.org x@mail2.org Default"),
        ("", "mail2.org!u@localhost", "smtp:mail2.org u@mail2.org Default"),
        ("relayhost = [smart.org]:587", "u@mail2.org", "smtp:[smart.org]:587 u@mail2.org Default"),
        ("relay_domains = mail2.org", "u@sub.mail2.org", "relay:sub.mail2.org u@sub.mail2.org Relay"),
        ("default_transport = error", "u@mail2.org", "error:mail2.org u@mail2.org Default"),
        ("default_transport = error:no", "u@mail2.org", "error:no u@mail2.org Default"),
        (
            "virtual_alias_domains = v.org",
            "u@v.org",
            "error:5.1.1 User unknown in virtual alias table u@v.org VirtualAlias",
        ),
        ("virtual_mailbox_domains = v.org", "u@v.org", "virtual:v.org u@v.org VirtualMailbox"),
        (
            "transport_maps = inline:{.mail2.org=slow:}",
            "u@a.mail2.org",
            "slow:a.mail2.org u@a.mail2.org Default",
        ),
        ("transport_maps = inline:{u@mail2.org=:hop}", "u+x@mail2.org", "smtp:hop u+x@mail2.org Default"),
        ("transport_maps = inline:{*=pipe:there}", "jose@localhost", "pipe:there jose@localhost Local"),
        ("transport_maps = inline:{mail2.org=:}", "u@mail2.org", "smtp:mail2.org u@mail2.org Default"),
        ("sender_dependent_relayhost_maps = inline:{@from.org=[r]}", "u@x.org", "smtp:[r] u@x.org Default"),
        (
            "sender_dependent_default_transport_maps = inline:{s@from.org=t:n}",
            "u@x.org",
            "t:n u@x.org Default",
        ),
    ] {
        assert_eq!(resolve(extra, to), want, "{extra} {to}");
    }
}

/// Asked of a real trivial-rewrite: what is left of a route must not pass for an address of ours.
#[test]
fn routes_that_the_next_host_could_follow_are_flagged() {
    let lists = "relay_domains = relay.org\nvirtual_mailbox_domains = vm.org\nvirtual_alias_domains = v.org";
    let of = |extra: &str, to: &str| {
        let r = rewriter(&format!("{lists}\n{extra}"));
        let r = r.resolve(&Address::from_internal(to), &Address::null()).unwrap();
        (r.class, r.routed, r.bad.is_some())
    };
    let hacks_off = "allow_percent_hack = no\nswap_bangpath = no";
    for (extra, to, want) in [
        ("", "x%evil.org@relay.org", (Class::Relay, true, false)),
        ("", "x@evil.org@relay.org", (Class::Relay, true, false)),
        ("", "evil.org!x@relay.org", (Class::Relay, true, false)),
        ("", "x%evil.org@vm.org", (Class::VirtualMailbox, true, false)),
        ("", "x%evil.org@v.org", (Class::VirtualAlias, true, false)),
        ("", "x!y@other.org", (Class::Default, true, false)),
        ("", "x%y%relay.org@josedomingo.org", (Class::Relay, true, false)),
        ("", "x%relay.org@josedomingo.org", (Class::Relay, false, false)),
        ("", "u%mail9.org@josedomingo.org", (Class::Default, false, false)),
        (hacks_off, "x%evil.org@relay.org", (Class::Relay, true, false)),
        (hacks_off, "x%y.org@localhost", (Class::Local, true, false)),
        ("resolve_dequoted_address = no", "x@evil.org@localhost", (Class::Local, true, false)),
        ("", "x%@localhost", (Class::Local, false, true)),
        ("", "x@@localhost", (Class::Local, false, true)),
        ("", "u@", (Class::Local, false, true)),
        ("", "u@127.0.0.1", (Class::Default, false, true)),
        ("", "@josedomingo.org", (Class::Local, false, false)),
        ("", "u@relay.org", (Class::Relay, false, false)),
    ] {
        assert_eq!(of(extra, to), want, "{extra} {to}");
    }
}

#[test]
fn reasons_name_parameter_and_row() {
    let r = rewriter("transport_maps = inline:{mail2.org=slow:}");
    let got = r.resolve(&Address::from_internal("u@mail2.org"), &Address::null()).unwrap();
    let words: Vec<_> = got.reasons.iter().map(|r| r.parameter.as_str()).collect();
    assert_eq!(words, ["default_transport", "transport_maps"]);
    assert!(got.reasons[1].to_string().contains("slow:"));
}

#[test]
fn virtual_aliases_to_their_ends() {
    let of = |table: &str, to: &str| {
        let r = rewriter(&format!("virtual_alias_maps = inline:{{{table}}}\nvirtual_alias_domains = v.org"));
        r.aliases(&Address::from_internal(to))
            .map(|l| l.iter().map(Address::internal).collect::<Vec<_>>().join(" "))
    };
    for (table, to, want) in [
        ("a@v.org=jose", "a@v.org", "jose@josedomingo.org"),
        ("{a@v.org=jose, b@x.org}", "a@v.org", "jose@josedomingo.org b@x.org"),
        ("a@v.org=jose", "a+x@v.org", "jose+x@josedomingo.org"),
        ("@v.org=@w.org", "z@v.org", "z@w.org"),
        ("{a@v.org=b@v.org}, {b@v.org=c@v.org}", "a@v.org", "c@v.org"),
        ("{jose=jose, usuario}", "jose@josedomingo.org", "jose@josedomingo.org usuario@josedomingo.org"),
        ("a@v.org=jose", "q@v.org", "q@v.org"),
        ("{a@v.org=\"b c\"@x.org}", "a@v.org", "b c@x.org"),
    ] {
        assert_eq!(of(table, to).as_deref(), Ok(want), "{table} {to}");
    }
    assert!(of("{a@v.org=b@v.org}, {b@v.org=a@v.org}", "a@v.org").unwrap_err().contains("nesting"));
}

#[test]
fn canonical_maps_by_place() {
    let r = rewriter(
        "canonical_maps = inline:{jose@josedomingo.org=Jose.Domingo@josedomingo.org}\n\
         sender_canonical_maps = inline:{@localhost=@josedomingo.org}",
    );
    let of = |text: &str, place| r.canonical(Address::from_internal(text), place).unwrap().internal();
    assert_eq!(of("jose@localhost", Place::EnvelopeSender), "Jose.Domingo@josedomingo.org");
    assert_eq!(of("jose@localhost", Place::EnvelopeRecipient), "jose@localhost");
    assert_eq!(of("jose@josedomingo.org", Place::HeaderRecipient), "Jose.Domingo@josedomingo.org");
}

#[test]
fn existence() {
    let of = |extra: &str, to: &str| {
        let r = rewriter(extra);
        r.exists(&r.resolve(&Address::from_internal(to), &Address::null()).unwrap()).unwrap()
    };
    let unknown = |u| Existence::Unknown(u);
    for (extra, to, want) in [
        ("", "jose@josedomingo.org", Existence::Possible),
        ("", "jose+x@localhost", Existence::Possible),
        ("", "JOSE@josedomingo.org", Existence::Possible),
        ("", "noexiste@josedomingo.org", unknown(Unknown::Local)),
        ("", "postmaster@localhost", Existence::Possible),
        ("local_recipient_maps =", "noexiste@localhost", Existence::Possible),
        ("virtual_alias_domains = v.org", "u@v.org", unknown(Unknown::VirtualAlias)),
        ("virtual_alias_maps = inline:{u@v.org=jose}", "u@v.org", Existence::Possible),
        ("relay_domains = r.org", "u@r.org", Existence::Possible),
        (
            "relay_domains = r.org\nrelay_recipient_maps = inline:{a@r.org=x}",
            "u@r.org",
            unknown(Unknown::Relay),
        ),
        ("", "u@elsewhere.org", Existence::Possible),
        ("default_transport = error", "u@x.org", Existence::Refused("x.org".into())),
    ] {
        assert_eq!(of(extra, to), want, "{extra} {to}");
    }
}
