//! Finding out what restrictions want to know: all at once, in bounded time and number.

use crate::restrictions::facts::{self, Facts, Wanted};
use crate::world::World;
use futures_util::StreamExt;
use futures_util::stream;
use std::time::Duration;
use tokio::time::Instant;

/// How long a single answer may take, and all that one command needs.
const LONGEST: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(90));
/// How many questions one command may lead to: a stranger's domain decides about many of them.
const MOST: usize = 200;
/// How many answers are kept for the next command of a transaction.
pub(crate) const KEPT: usize = 100;
/// How many are under way at a time.
const AT_ONCE: usize = 16;

/// How much of it is left for one command.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Instant>);

/// Adds an answer to each question, if only that there is none now.
pub(crate) async fn find_out(
    world: &dyn World,
    wanted: Vec<Wanted>,
    facts: &mut Facts,
    patience: &mut Patience,
) {
    let end = *patience.0.get_or_insert_with(|| Instant::now() + LONGEST.1);
    let wanted: Vec<Wanted> = wanted.into_iter().filter(|w| !facts.has(w)).collect();
    if facts.len() + wanted.len() > MOST {
        for wanted in wanted {
            let answer = facts::not_now(&wanted, "too many questions");
            facts.add(wanted, answer);
        }
        return;
    }
    let answers = stream::iter(wanted).map(|wanted| async move {
        let limit = end.min(Instant::now() + LONGEST.0);
        let answer = tokio::time::timeout_at(limit, world.look_up(&wanted)).await;
        let answer = answer.unwrap_or_else(|_| facts::not_now(&wanted, "no answer in time"));
        (wanted, answer)
    });
    let mut answers = std::pin::pin!(answers.buffer_unordered(AT_ONCE));
    while let Some((wanted, answer)) = answers.next().await {
        facts.add(wanted, answer);
    }
}
