//! Why something was decided: which parameter, which element, which row.

use std::fmt;
use std::sync::Arc;
use tables::Hit;
use tables::matchlist::Matched;

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The parameter that decided.
    pub parameter: String,
    /// The element of its list, or its value.
    pub element: String,
    /// The row that answered, as table and line.
    pub place: Option<(Arc<str>, Option<usize>)>,
}

impl Reason {
    /// A parameter's value decided.
    pub fn value(parameter: &str, value: &str) -> Reason {
        Reason { parameter: parameter.into(), element: value.into(), place: None }
    }

    /// A row of one of its tables decided.
    pub fn hit(parameter: &str, hit: &Hit) -> Reason {
        Reason { parameter: parameter.into(), element: hit.value.clone(), place: Some(hit.place.clone()) }
    }

    /// An element of its list decided.
    pub fn matched(matched: &Matched) -> Reason {
        let row = matched.hit.as_ref().map(|h| h.place.clone());
        let file = matched.file.clone().map(|(f, line)| (f, Some(line)));
        Reason {
            parameter: matched.parameter.to_string(),
            element: matched.element.clone(),
            place: row.or(file),
        }
    }
}

/// `mydestination (element $myhostname)`, `transport_maps (hash:/etc/postfix/transport, line 3)`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((table, Some(line))) => {
                write!(f, "{} ({table}, line {line}: {})", self.parameter, self.element)
            }
            Some((table, None)) => write!(f, "{} ({table}: {})", self.parameter, self.element),
            None => write!(f, "{} ({})", self.parameter, self.element),
        }
    }
}
