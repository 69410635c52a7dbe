//! Address mappings: canonical and virtual alias tables. canonical(5), virtual(5)

use crate::Rewriter;
use proto::Address;
use tables::{AddressSearch, Maps};

/// How often a canonical address may be mapped again.
const CANONICAL_DEPTH: usize = 10;

/// Where an address stands; decides which canonical maps are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// MAIL FROM.
    EnvelopeSender,
    /// RCPT TO.
    EnvelopeRecipient,
    /// From, Sender, Reply-To and their kin.
    HeaderSender,
    /// To, Cc and their kin.
    HeaderRecipient,
}

impl Place {
    /// As the `*_classes` parameters name it.
    pub fn word(self) -> &'static str {
        match self {
            Place::EnvelopeSender => "envelope_sender",
            Place::EnvelopeRecipient => "envelope_recipient",
            Place::HeaderSender => "header_sender",
            Place::HeaderRecipient => "header_recipient",
        }
    }
}

impl Rewriter {
    /// Canonical mapping of a completed address, and masquerading; the address itself when no table
    /// knows it. An error is words for the administrator.
    pub fn canonical(&self, address: Address, place: Place) -> Result<Address, String> {
        let (address, endless) = self.canonical_at_last(address, place)?;
        endless.map_or(Ok(address), Err)
    }

    /// The same where tables lead round in circles: where the last step that is made leads, and what to
    /// say of it. Postfix says that it does not accept the message, and accepts it.
    pub fn canonical_at_last(
        &self,
        address: Address,
        place: Place,
    ) -> Result<(Address, Option<String>), String> {
        let p = &self.params;
        let sender = matches!(place, Place::EnvelopeSender | Place::HeaderSender);
        let special = match sender {
            true => (&self.maps.sender_canonical, p.sender_canonical_classes()),
            false => (&self.maps.recipient_canonical, p.recipient_canonical_classes()),
        };
        let (mut address, mut endless) = (address, None);
        for (maps, classes) in [special, (&self.maps.canonical, p.canonical_classes())] {
            if maps.is_empty() || address.is_null() || !classes.0.iter().any(|c| c == place.word()) {
                continue;
            }
            let words;
            (address, words) = self.map_one(maps, address)?;
            endless = endless.or(words);
        }
        let whole = self.masquerade.apply(address, place);
        Ok((whole.map_err(|e| unanswered("masquerade_exceptions", &e))?, endless))
    }

    /// Generic mapping of an address on its way to another host (`smtp_generic_maps`); the address
    /// itself when no table knows it. generic(5)
    pub fn generic(&self, maps: &Maps, address: &Address) -> Result<Address, String> {
        if maps.is_empty() || address.is_null() {
            return Ok(address.clone());
        }
        let found = self.map(maps, "generic", address)?;
        Ok(found.and_then(|all| all.into_iter().next()).unwrap_or_else(|| address.clone()))
    }

    fn map_one(&self, maps: &Maps, mut address: Address) -> Result<(Address, Option<String>), String> {
        for _ in 0..CANONICAL_DEPTH {
            let Some(found) = self.map(maps, "canonical", &address)? else { return Ok((address, None)) };
            let Some(new) = found.into_iter().next() else { return Ok((address, None)) };
            if new.internal().eq_ignore_ascii_case(&address.internal()) {
                return Ok((new, None));
            }
            address = new;
        }
        let name = maps.parameter();
        let words =
            format!("unreasonable {name} map nesting for {address} -- message not accepted, try again later");
        Ok((address, Some(words)))
    }

    /// Virtual aliases of a completed recipient, followed to their ends; the recipient itself when
    /// no table knows it. An address may lead to itself once.
    pub fn aliases(&self, recipient: &Address) -> Result<Vec<Address>, String> {
        let maps = &self.maps.virtual_alias;
        if maps.is_empty() {
            return Ok(vec![recipient.clone()]);
        }
        let p = &self.params;
        let limit = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        let too = |what: &str| {
            format!(
                "unreasonable virtual_alias_maps map {what} for {recipient} -- message not accepted, try again later"
            )
        };
        let mut all = vec![recipient.clone()];
        let mut to_itself = Vec::new();
        let mut index = 0;
        while index < all.len() {
            if all.len() > limit(*p.virtual_alias_expansion_limit()) {
                return Err(too("expansion size"));
            }
            let mut depth = 0;
            while let Some(address) = all.get(index).cloned() {
                let key = address.internal().to_lowercase();
                if to_itself.contains(&key) {
                    break;
                }
                if depth >= limit(*p.virtual_alias_recursion_limit()) {
                    return Err(too("nesting"));
                }
                depth += 1;
                let Some(found) = self.map(maps, "virtual", &address)? else { break };
                for (i, new) in found.into_iter().enumerate() {
                    let text = new.internal();
                    if text.len() > limit(*p.virtual_alias_address_length_limit()) {
                        return Err(too("result"));
                    }
                    if text.to_lowercase() == key {
                        to_itself.push(key.clone());
                    }
                    match all.get_mut(index).filter(|_| i == 0) {
                        Some(place) => *place = new,
                        None => all.push(new),
                    }
                }
            }
            index += 1;
        }
        Ok(all)
    }

    /// What one table lookup makes of an address: completed addresses, with the extension kept
    /// where `propagate_unmatched_extensions` names the `feature`.
    fn map(&self, maps: &Maps, feature: &str, address: &Address) -> Result<Option<Vec<Address>>, String> {
        let found = self.search(maps, address, true).map_err(|e| unanswered(maps.parameter(), &e))?;
        let Some((hit, extension)) = found else { return Ok(None) };
        let keep = self.params.propagate_unmatched_extensions().0.iter().any(|f| f == feature);
        let extension = extension.filter(|_| keep).unwrap_or_default();
        let mut all = Vec::new();
        for element in addresses(&hit.value) {
            let new = match (element.local(), element.domain()) {
                // `@domain`: the same user there.
                ("", Some(domain)) => Address::new(address.local(), Some(domain)),
                _ => element,
            };
            let new = self.complete_local(&new);
            let local = format!("{}{extension}", new.local());
            all.push(Address::new(local, new.domain()));
        }
        Ok((!all.is_empty()).then_some(all))
    }

    /// Looks an address up in the order of virtual(5). Gives the extension that the key left out,
    /// with its delimiter.
    pub fn find(
        &self,
        maps: &Maps,
        address: &Address,
        local_part: bool,
    ) -> Result<Option<(tables::Hit, Option<String>)>, String> {
        self.search(maps, address, local_part).map_err(|e| e.to_string())
    }

    pub(crate) fn search(
        &self,
        maps: &Maps,
        address: &Address,
        local_part: bool,
    ) -> Result<Option<(tables::Hit, Option<String>)>, tables::TableError> {
        let search = AddressSearch {
            split: &|local| self.delimiter.split(local).map(|(n, d, e)| (n.to_string(), format!("{d}{e}"))),
            is_local: &|domain| {
                Ok(domain.eq_ignore_ascii_case(&self.origin) || self.classes.local(domain)?.is_some())
            },
            quote: &|local| Address::new(local, None::<String>).to_string(),
            local_part,
            at_domain: true,
        };
        maps.lookup_address(address.local(), address.domain(), &search)
    }
}

/// A table could not answer, in Postfix's words, with the reason.
pub(crate) fn unanswered(parameter: &str, error: &tables::TableError) -> String {
    format!("{parameter} map lookup problem -- message not accepted, try again later: {error}")
}

/// The addresses of a right-hand side: separated by commas or white space, quotes and angle
/// brackets understood.
pub fn addresses(text: &str) -> Vec<Address> {
    let mut all = Vec::new();
    let mut local = String::new();
    let mut domain: Option<String> = None;
    let (mut quoted, mut escaped, mut seen) = (false, false, false);
    for c in text.chars().chain([',']) {
        let into = match domain.as_mut() {
            Some(d) => d,
            None => &mut local,
        };
        if escaped {
            escaped = false;
            into.push(c);
        } else if quoted {
            match c {
                '\\' => escaped = true,
                '"' => quoted = false,
                c => into.push(c),
            }
        } else {
            match c {
                '"' => (quoted, seen) = (true, true),
                '<' | '>' => {}
                '@' => {
                    // Of several, the last one divides.
                    if let Some(d) = domain.take() {
                        local.push('@');
                        local.push_str(&d);
                    }
                    domain = Some(String::new());
                    seen = true;
                }
                c if c == ',' || c.is_whitespace() => {
                    if seen {
                        all.push(Address::new(std::mem::take(&mut local), domain.take()));
                    }
                    (local, domain, seen) = (String::new(), None, false);
                }
                c => {
                    into.push(c);
                    seen = true;
                }
            }
        }
    }
    all
}
