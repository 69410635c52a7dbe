//! Which thread goes on is chosen, not left to the machine: only one runs at a time, and it may
//! have to let another one go on wherever the store asks something of the disk or waits for a lock.
//! All choices, these and the disk's, follow from a seed, the step that a thread is in, and how many
//! choices that step has taken; so a step that is left out changes little about the others.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// SplitMix64.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

thread_local! {
    static STEP: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
    static PLACE: RefCell<Option<(Arc<Turns>, usize)>> = const { RefCell::new(None) };
}

/// This thread now does step `step` of the run that `seed` makes.
pub fn begin(seed: u64, step: u64) {
    STEP.set((seed, step, 0));
}

/// The step, and how many choices it has taken.
pub fn now_in() -> (u64, u64) {
    let (_, step, count) = STEP.get();
    (step, count)
}

/// Randomness of the present step.
pub fn draw() -> Rng {
    let (seed, step, count) = STEP.get();
    STEP.set((seed, step, count + 1));
    Rng(mix(mix(seed ^ 0xd15c) ^ mix(step.wrapping_mul(0x9e37_79b9)) ^ count))
}

struct State {
    current: usize,
    ended: Vec<bool>,
    /// The step that each is in, or comes to next.
    at: Vec<u64>,
    /// How often in a row nobody could do anything.
    stuck: u64,
}

/// The threads of a round.
pub struct Turns {
    state: Mutex<State>,
    awake: Vec<Condvar>,
    /// Steps begin in their order, but for so many that may be under way together.
    window: u64,
}

impl Turns {
    /// For threads whose first steps are these.
    pub fn new(first: Vec<u64>, window: u64) -> Arc<Turns> {
        let awake = first.iter().map(|_| Condvar::new()).collect();
        let state = State { current: 0, ended: vec![false; first.len()], at: first, stuck: 0 };
        Arc::new(Turns { state: Mutex::new(state), awake, window })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// This thread is the one of that number, and waits for its turn.
    pub fn enter(self: &Arc<Self>, me: usize) {
        PLACE.set(Some((self.clone(), me)));
        self.wait(self.state(), me);
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, me: usize) {
        while state.current != me {
            state = self.awake[me].wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// It has ended, well or not.
    pub fn leave(&self, me: usize) {
        PLACE.set(None);
        let mut state = self.state();
        state.ended[me] = true;
        state.at[me] = u64::MAX;
        state.stuck = 0;
        self.pass(&mut state, me);
    }

    /// It comes to this step; waits until that may begin.
    pub fn begin_step(&self, me: usize, step: u64) {
        loop {
            let mut state = self.state();
            state.at[me] = step;
            let lowest = state.at.iter().copied().min().unwrap_or(step);
            if step <= lowest.saturating_add(self.window) {
                state.stuck = 0;
                return;
            }
            self.hand_over(state, me);
        }
    }

    fn pass(&self, state: &mut State, me: usize) {
        let others: Vec<usize> = (0..state.ended.len()).filter(|i| *i != me && !state.ended[*i]).collect();
        if others.is_empty() {
            return;
        }
        state.current = others[draw().below(others.len() as u64) as usize];
        self.awake[state.current].notify_one();
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State>, me: usize) {
        state.stuck += 1;
        assert!(state.stuck < 1_000_000, "the threads wait for each other for ever");
        self.pass(&mut state, me);
        self.wait(state, me);
    }
}

/// Here another thread may go on: one time in so many.
pub fn pause(one_in: u64) {
    let Some((turns, me)) = PLACE.with_borrow(|p| p.clone()) else { return };
    let mut state = turns.state();
    state.stuck = 0;
    if turns.window > 0 && draw().one_in(one_in) {
        turns.pass(&mut state, me);
        turns.wait(state, me);
    }
}

/// This thread waits for what another one has.
pub fn blocked() {
    let Some((turns, me)) = PLACE.with_borrow(|p| p.clone()) else {
        panic!("a lock is held by a thread that has ended");
    };
    let state = turns.state();
    turns.hand_over(state, me);
}
