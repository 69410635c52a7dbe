//! Trivial rewriting: an address without domain, or with a short one, gets the rest.
//! trivial-rewrite(8), "ADDRESS REWRITING".

use crate::Address;

/// What completes an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// `append_at_myorigin`.
    pub append_at_origin: bool,
    /// `append_dot_mydomain`.
    pub append_dot_domain: bool,
    /// `swap_bangpath`.
    pub swap_bangpath: bool,
    /// `allow_percent_hack`.
    pub percent_hack: bool,
}

impl Completion {
    /// The standard form of an address, with `origin` and `domain` for what is missing. The null
    /// address stays as it is.
    pub fn complete(&self, address: &Address, origin: &str, domain: &str) -> Address {
        if address.is_null() || is_complete(address) {
            return address.clone();
        }
        let mut local = address.local().to_string();
        let mut at = address.domain().map(str::to_string);
        if let Some(user) = without_route(&local, at.as_deref()) {
            let inner = Address::from_internal(&user);
            local = inner.local().to_string();
            at = inner.domain().map(str::to_string).or(at);
        }
        if at.is_none()
            && self.swap_bangpath
            && let Some((site, user)) = local.split_once('!').filter(|(s, u)| !s.is_empty() && !u.is_empty())
        {
            (at, local) = (Some(site.to_string()), user.to_string());
        }
        if at.is_none()
            && self.percent_hack
            && let Some((user, site)) = local.rsplit_once('%').filter(|(u, s)| !s.is_empty() && !u.is_empty())
        {
            (at, local) = (Some(site.to_string()), user.to_string());
        }
        let at = match at {
            None if self.append_at_origin => Some(origin.to_string()),
            None => None,
            Some(name) => {
                let literal = name.starts_with('[');
                if self.append_dot_domain && !literal && !name.is_empty() && !name.contains('.') {
                    Some(format!("{name}.{domain}"))
                } else {
                    Some(name.strip_suffix('.').map(str::to_string).unwrap_or(name))
                }
            }
        };
        Address::new(local, at)
    }
}

/// There is nothing to be done: a name with dots, and no route before it. Nearly all are so.
fn is_complete(address: &Address) -> bool {
    let whole = |domain: &str| domain.contains('.') && !domain.ends_with('.');
    !address.local().is_empty() && !address.local().starts_with('@') && address.domain().is_some_and(whole)
}

/// `@a,@b:user@c` is `user@c`: source routes are ignored. RFC 5321 C
fn without_route(local: &str, domain: Option<&str>) -> Option<String> {
    let whole = match domain {
        Some(d) => format!("{local}@{d}"),
        None => local.to_string(),
    };
    whole.strip_prefix('@').and_then(|w| w.split_once(':')).map(|(_, user)| user.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_added() {
        let all = Completion {
            append_at_origin: true,
            append_dot_domain: true,
            swap_bangpath: true,
            percent_hack: true,
        };
        let of = |c: &Completion, text: &str| {
            c.complete(&Address::from_internal(text), "josedomingo.org", "example.com").internal()
        };
        for (given, want) in [
            ("jose", "jose@josedomingo.org"),
            ("alumno@corto", "alumno@corto.example.com"),
            ("alumno@localhost", "alumno@localhost.example.com"),
            ("a@b.c", "a@b.c"),
            ("a@b.c.", "a@b.c"),
            ("a@[127.0.0.1]", "a@[127.0.0.1]"),
            ("site!user", "user@site.example.com"),
            ("user%d.org", "user@d.org"),
            ("user%d.org@e.org", "user%d.org@e.org"),
            ("@x.org,@y.org:user@z.org", "user@z.org"),
            ("", ""),
        ] {
            assert_eq!(of(&all, given), want, "{given}");
        }
        let plain = Completion { append_dot_domain: false, swap_bangpath: false, percent_hack: false, ..all };
        assert_eq!(of(&plain, "alumno@corto"), "alumno@corto");
        assert_eq!(of(&plain, "a!b"), "a!b@josedomingo.org");
        let none = Completion { append_at_origin: false, ..plain };
        assert_eq!(of(&none, "jose"), "jose");
    }
}
