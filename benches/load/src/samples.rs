//! What was measured: for each scenario, system and round some values under their names; best, median and worst of them.

use crate::mta::System;

/// Values of one system in one round of a scenario.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The scenario's name.
    pub scenario: String,
    /// Of whom.
    pub system: System,
    /// Names and values.
    pub values: Vec<(&'static str, f64)>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

/// Of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// What counts.
    pub best: f64,
    /// In the middle.
    pub median: f64,
    /// The other end.
    pub worst: f64,
}

impl Samples {
    /// One more.
    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// What was measured of a scenario, in the order in which it was first named.
    pub fn measures(&self, scenario: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        for (name, _) in self.0.iter().filter(|s| s.scenario == scenario).flat_map(|s| &s.values) {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    /// Best, median and worst; nothing when it was not measured.
    pub fn summary(&self, scenario: &str, system: System, measure: &str) -> Option<Summary> {
        let of = self.0.iter().filter(|s| s.scenario == scenario && s.system == system);
        let mut all: Vec<f64> =
            of.flat_map(|s| &s.values).filter(|(name, _)| *name == measure).map(|(_, v)| *v).collect();
        let more = more_is_better(measure);
        all.sort_by(|a, b| if more { b.total_cmp(a) } else { a.total_cmp(b) });
        Some(Summary { best: *all.first()?, median: *all.get(all.len() / 2)?, worst: *all.last()? })
    }

    /// The greatest value of a measure of this system in any scenario, and the middle of all.
    pub fn extent(&self, system: System, measure: &str) -> Option<(f64, f64)> {
        let of = self.0.iter().filter(|s| s.system == system).flat_map(|s| &s.values);
        let mut all: Vec<f64> = of.filter(|(name, _)| *name == measure).map(|(_, v)| *v).collect();
        all.sort_by(f64::total_cmp);
        Some((*all.last()?, *all.get(all.len() / 2)?))
    }

    /// The better of the two Postfixes.
    pub fn rival(&self, scenario: &str, measure: &str) -> Option<f64> {
        let best = |system| self.summary(scenario, system, measure).map(|s| s.best);
        let both = [best(System::Postfix), best(System::Debian)].into_iter().flatten();
        both.reduce(if more_is_better(measure) { f64::max } else { f64::min })
    }

    /// valija's best against the better of the two Postfixes.
    pub fn ratio(&self, scenario: &str, measure: &str) -> Option<f64> {
        let rival = self.rival(scenario, measure).filter(|r| *r > 0.0)?;
        Some(self.summary(scenario, System::Valija, measure)?.best / rival)
    }

    /// A table of everything that was measured of a scenario.
    pub fn table(&self, scenario: &str) -> String {
        let systems: Vec<System> = [System::Valija, System::Postfix, System::Debian]
            .into_iter()
            .filter(|s| self.0.iter().any(|sample| sample.scenario == scenario && sample.system == *s))
            .collect();
        let names: Vec<&str> = systems.iter().map(|s| s.name()).collect();
        let mut text =
            format!("| | {} | ratio |\n|---|{}---|\n", names.join(" | "), "---|".repeat(names.len()));
        for measure in self.measures(scenario) {
            let cells: Vec<String> = systems
                .iter()
                .map(|system| self.summary(scenario, *system, measure).map_or("-".into(), |s| s.text()))
                .collect();
            let ratio = self.ratio(scenario, measure).map_or("-".into(), digits);
            text.push_str(&format!("| {measure} | {} | {ratio} |\n", cells.join(" | ")));
        }
        text
    }
}

impl Summary {
    /// As it stands in tables.
    pub fn text(self) -> String {
        if self.best == self.worst {
            return digits(self.best);
        }
        format!("{} ({}, {})", digits(self.best), digits(self.median), digits(self.worst))
    }
}

/// Rates and shares of what is wished for; of everything else less is better.
pub fn more_is_better(measure: &str) -> bool {
    measure.ends_with("/s")
        || measure.ends_with("served")
        || measure.starts_with("resumed")
        || measure.starts_with("flushed")
}

/// As many digits as mean something.
pub fn digits(n: f64) -> String {
    match n.abs() {
        a if a >= 100.0 || a == 0.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        a if a >= 0.1 => format!("{n:.2}"),
        _ => format!("{n:.3}"),
    }
}

/// Of sorted times, the one that so many percent do not exceed, in milliseconds.
pub fn percentile(sorted: &[std::time::Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let mut samples = Samples::default();
        for (system, rate, cpu) in [
            (System::Valija, 900.0, 20.0),
            (System::Valija, 1000.0, 10.0),
            (System::Valija, 800.0, 30.0),
            (System::Postfix, 100.0, 90.0),
            (System::Debian, 50.0, 80.0),
        ] {
            let values = vec![("drained/s", rate), ("CPU us/message", cpu)];
            samples.add(Sample { scenario: "x".into(), system, values });
        }
        samples
    }

    #[test]
    fn the_best_against_the_better_of_two() {
        let s = samples();
        let of = |measure| s.summary("x", System::Valija, measure).unwrap();
        assert_eq!(of("drained/s"), Summary { best: 1000.0, median: 900.0, worst: 800.0 });
        assert_eq!(of("CPU us/message"), Summary { best: 10.0, median: 20.0, worst: 30.0 });
        assert_eq!((s.ratio("x", "drained/s"), s.ratio("x", "CPU us/message")), (Some(10.0), Some(0.125)));
        assert_eq!(s.extent(System::Valija, "drained/s"), Some((1000.0, 900.0)));
        assert_eq!((s.ratio("y", "drained/s"), s.ratio("x", "nothing")), (None, None));
    }

    #[test]
    fn a_table_names_all_systems() {
        let table = samples().table("x");
        assert!(table.contains("| | valija | tuned | debian | ratio |"), "{table}");
        assert!(table.contains("| drained/s | 1000 (900, 800) | 100 | 50.0 | 10.0 |"), "{table}");
    }
}
