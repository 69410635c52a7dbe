//! What runs on the simulated disk did.

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub acknowledged: u64,
    pub promised: u64,
    pub cuts: u64,
    pub kills: u64,
    pub recoveries_cut: u64,
    pub stops: u64,
    pub forwarded: u64,
    pub calls: u64,
    pub failed: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.acknowledged += other.acknowledged;
        self.promised += other.promised;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.recoveries_cut += other.recoveries_cut;
        self.stops += other.stops;
        self.forwarded += other.forwarded;
        self.calls += other.calls;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { steps, acknowledged, promised, cuts, kills, recoveries_cut, stops, .. } = self;
        write!(
            f,
            "{steps} operations, {acknowledged} messages acknowledged, {promised} promises to administrators, \
             {} copied forward; {cuts} power cuts, {kills} kills, {recoveries_cut} recoveries interrupted, \
             {stops} orderly ends; {} calls of the disk, {} of them failed",
            self.forwarded, self.calls, self.failed
        )
    }
}
