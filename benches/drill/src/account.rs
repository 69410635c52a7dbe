//! What is judged: whatever got 250 has arrived at each of its places; whatever arrived was sent; and what arrived twice
//! was being delivered when somebody was killed, or in the 5 ms before. Pure.

use crate::letters::{self, Place};
use std::collections::{BTreeMap, HashMap};

/// A letter that was taken at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub number: u64,
    /// Where.
    pub place: Place,
    /// When its transaction began, microseconds; 0 where nobody knows.
    pub begun: u64,
    /// When it was answered that it was taken; the end of time if the answer could not be sent.
    pub ended: u64,
    /// The other side was gone before it had read the answer.
    pub unread: bool,
    /// The processes that were made for this delivery alone; 0 where there is none or nobody knows.
    pub by: [u32; 2],
}

/// Somebody was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub who: String,
    /// Just before.
    pub before: u64,
    /// When all that were to be killed were dead.
    pub after: u64,
    /// How long a ready thread had to wait for its turn and to write a line then, microseconds.
    pub late: u64,
    /// The numbers of all processes that were alive just before.
    pub alive: Vec<u32>,
}

/// How long before the kill a delivery may have ended whose end is forgotten, microseconds.
pub const GRACE: u64 = 5_000;

/// The judgement.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Letters that got 250.
    pub acknowledged: u64,
    /// Letters that were sent to the end and got no answer, or 4xx.
    pub doubtful: u64,
    /// Got 250 and did not arrive there.
    pub lost: Vec<(u64, Place)>,
    /// Arrived although nobody sent them.
    pub invented: Vec<u64>,
    /// Deliveries that were repeated, at places that know the time.
    pub twice: u64,
    /// Those of them that had ended more than 5 ms before the kill.
    pub late: Vec<Late>,
    /// The most of them after one kill, and what was under way then.
    pub most: (u64, u64),
    /// Deliveries into files that were repeated.
    pub twice_in_files: u64,
}

/// A delivery that was repeated although it had ended before the kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// Which.
    pub number: u64,
    /// Where.
    pub place: Place,
    /// How long before the next kill it had ended, microseconds; nothing if there was none.
    pub before: Option<u64>,
    /// Who was killed.
    pub who: String,
    /// Even considering how late the machine was at that moment.
    pub excused: bool,
}

/// Judges.
pub fn judge(sent: &HashMap<u64, Option<u64>>, arrivals: &[Arrival], kills: &[Kill]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut there: BTreeMap<(u64, Place), Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        there.entry((arrival.number, arrival.place)).or_default().push(arrival);
        if !sent.contains_key(&arrival.number) {
            verdict.invented.push(arrival.number);
        }
    }
    for (number, acknowledged) in sent {
        if acknowledged.is_none() {
            verdict.doubtful += 1;
            continue;
        }
        verdict.acknowledged += 1;
        let missing = letters::recipients(*number).iter().filter(|p| !there.contains_key(&(*number, **p)));
        verdict.lost.extend(missing.map(|p| (*number, *p)));
    }
    verdict.lost.sort_unstable();
    let mut after_kill = vec![0u64; kills.len()];
    let under_way = |a: &Arrival, k: &Kill| {
        // Who had not read the answer when it ended was killed before; an orphan's start was seen late.
        let began = a.begun <= k.after || a.unread;
        // A delivery whose process is alive has not ended, whatever the command thinks.
        let alive = k.alive.iter().any(|pid| a.by.contains(pid));
        began && (a.unread || alive || a.ended.saturating_add(GRACE) >= k.before)
    };
    for ((number, place), mut all) in there {
        all.sort_by_key(|a| (a.begun, a.ended));
        for pair in all.windows(2) {
            let [first, second] = pair else { continue };
            if !place.is_timed() {
                verdict.twice_in_files += 1;
                continue;
            }
            verdict.twice += 1;
            let explained = kills.iter().position(|k| k.before <= second.ended && under_way(first, k));
            match explained {
                Some(at) => after_kill[at] += 1,
                None => {
                    let next = kills.iter().find(|k| k.before >= first.ended && k.before <= second.ended);
                    let before = next.map(|k| k.before - first.ended);
                    let excused = next.is_some_and(|k| before.is_some_and(|b| b <= GRACE + k.late));
                    let who = next.map_or(String::new(), |k| k.who.clone());
                    verdict.late.push(Late { number, place, before, who, excused });
                }
            }
        }
    }
    for (kill, twice) in kills.iter().zip(after_kill) {
        let open = arrivals.iter().filter(|a| a.place.is_timed() && under_way(a, kill));
        if twice > verdict.most.0 {
            verdict.most = (twice, open.count() as u64);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(number: u64, begun: u64, ended: u64) -> Arrival {
        Arrival { number, place: Place::Far(0), begun, ended, unread: false, by: [0; 2] }
    }

    fn kill(before: u64) -> Kill {
        Kill { who: "mail".into(), before, after: before + 100, late: 2_000, alive: vec![7, 8] }
    }

    #[test]
    fn lost_and_invented() {
        // 0 goes to one place, 6 to three; 1 was not acknowledged.
        let sent = HashMap::from([(0, Some(5)), (6, Some(5)), (1, None)]);
        let verdict = judge(&sent, &[arrival(0, 1, 2), arrival(6, 1, 2), arrival(9, 1, 2)], &[]);
        assert_eq!((verdict.acknowledged, verdict.doubtful), (2, 1));
        assert_eq!(verdict.lost, [(6, Place::Far(1)), (6, Place::Far(2))]);
        assert_eq!(verdict.invented, [9]);
    }

    #[test]
    fn a_second_copy_needs_a_reason() {
        let sent = HashMap::from([(0, Some(5))]);
        let one = |first: Arrival, kills: &[Kill]| {
            let second = arrival(0, 200_000, 201_000);
            let verdict = judge(&sent, &[first, second], kills);
            assert_eq!(verdict.twice, 1);
            verdict.late.first().map(|l| (l.before, l.excused))
        };
        // Under way at the kill, or just before it.
        assert_eq!(one(arrival(0, 90_000, 101_000), &[kill(100_000)]), None);
        assert_eq!(one(arrival(0, 90_000, 95_000), &[kill(100_000)]), None);
        // Too long ago: a little, and more than the machine was late; or not before any kill.
        assert_eq!(one(arrival(0, 90_000, 94_000), &[kill(100_000)]), Some((Some(6_000), true)));
        assert_eq!(one(arrival(0, 80_000, 90_000), &[kill(100_000)]), Some((Some(10_000), false)));
        assert_eq!(one(arrival(0, 80_000, 90_000), &[]), Some((None, false)));
        assert_eq!(one(arrival(0, 80_000, 90_000), &[kill(50_000)]), Some((None, false)));
        // Whoever was killed had not read the answer.
        let unread = Arrival { unread: true, ..arrival(0, 80_000, 90_000) };
        assert_eq!(one(unread, &[kill(100_000)]), None);
        // Its own process was alive.
        let own = Arrival { by: [6, 8], ..arrival(0, 80_000, 90_000) };
        assert_eq!(one(own, &[kill(100_000)]), None);
    }
}
