//! How much one delivery changes a destination's concurrency: a number, or a share of what the
//! concurrency is. SCHEDULER_README, "Concurrency scheduling".

/// The value of `…_destination_concurrency_positive_feedback` and `…_negative_feedback`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    amount: f64,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Delivery,
    Concurrency,
    Root,
}

impl Share {
    /// The same for every delivery.
    pub const ONE: Share = Share { amount: 1.0, by: By::Delivery };

    /// Reads `number`, `number/concurrency` or `number/sqrt_concurrency`, the number from 0 to 1;
    /// `None` for anything else.
    pub fn read(text: &str) -> Option<Share> {
        let (number, by) = match text.split_once('/') {
            None => (text, By::Delivery),
            Some((number, word)) => match word.trim() {
                "concurrency" => (number, By::Concurrency),
                "sqrt_concurrency" => (number, By::Root),
                _ => return None,
            },
        };
        let number = number.trim();
        // Digits and a point: `inf`, `nan` and exponents are numbers to the library alone.
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let amount: f64 = number.parse().ok()?;
        (0.0..=1.0).contains(&amount).then_some(Share { amount, by })
    }

    /// What one delivery is worth at a concurrency.
    pub fn at(self, concurrency: usize) -> f64 {
        let n = concurrency.max(1) as f64;
        match self.by {
            By::Delivery => self.amount,
            By::Concurrency => self.amount / n,
            By::Root => self.amount / n.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, at_four) in [
            ("1", 1.0),
            ("0", 0.0),
            ("0.25", 0.25),
            ("1/concurrency", 0.25),
            ("1 / sqrt_concurrency", 0.5),
            (" .5 /concurrency ", 0.125),
        ] {
            assert_eq!(Share::read(text).map(|s| s.at(4)), Some(at_four), "{text}");
        }
        for text in ["", "2", "-1", "1/x", "one", "1/", "nan", "inf", "1e0", "1/concurrency/2", "."] {
            assert_eq!(Share::read(text), None, "{text}");
        }
    }
}
