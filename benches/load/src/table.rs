//! What was measured, as a table: best, median and worst of each system, and the ratio of the best.

use crate::mta::System;

/// A column of measurements: its name, and whether more is better.
pub type Measure = (&'static str, bool);

/// Prints a table; each run is a system and its values in the order of the measures.
pub fn print(title: &str, measures: &[Measure], runs: &[(System, Vec<f64>)]) {
    println!("## {title}: best (median, worst)\n");
    let systems: Vec<System> = [System::Postfix, System::Debian, System::Valija]
        .into_iter()
        .filter(|s| runs.iter().any(|(system, _)| system == s))
        .collect();
    let names: Vec<&str> = systems.iter().map(|s| s.name()).collect();
    println!("| | {} | ratio of the best |\n|---|{}---|", names.join(" | "), "---|".repeat(names.len()));
    for (place, (name, more)) in measures.iter().enumerate() {
        let mut best = Vec::new();
        let mut cells = Vec::new();
        for system in &systems {
            let of = runs.iter().filter(|(s, _)| s == system);
            let mut all: Vec<f64> = of.filter_map(|(_, values)| values.get(place).copied()).collect();
            all.sort_by(|a, b| if *more { b.total_cmp(a) } else { a.total_cmp(b) });
            let (Some(first), Some(last), Some(middle)) = (all.first(), all.last(), all.get(all.len() / 2))
            else {
                continue;
            };
            best.push((*system, *first));
            cells.push(format!("{} ({}, {})", digits(*first), digits(*middle), digits(*last)));
        }
        let own = best.iter().find(|(s, _)| *s == System::Valija).map(|(_, v)| *v);
        let others = best.iter().filter(|(s, _)| *s != System::Valija).map(|(_, v)| *v);
        let theirs = others.reduce(if *more { f64::max } else { f64::min });
        let ratio = match (own, theirs) {
            (Some(own), Some(theirs)) if theirs > 0.0 => format!("{:.2}", own / theirs),
            _ => "-".into(),
        };
        println!("| {name} | {} | {ratio} |", cells.join(" | "));
    }
    println!();
}

/// As many digits as mean something.
pub fn digits(n: f64) -> String {
    match n {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// Of sorted times, the one that so many percent do not exceed, in milliseconds.
pub fn percentile(sorted: &[std::time::Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}
