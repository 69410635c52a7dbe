//! What all scenarios share: the options, the systems in turn, what was measured so far, and the report.

use crate::mta::{self, Mta, System};
use crate::options::Options;
use crate::report::Report;
use crate::samples::{Sample, Samples, digits};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where the sink listens.
pub const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2525);

/// A run of the whole tool.
pub struct Bench<'a> {
    /// The command line.
    pub options: &'a Options,
    /// What was measured.
    pub samples: Samples,
    /// What is written.
    pub report: Report,
    /// Messages that were accepted and did not arrive.
    pub lost: u64,
    /// Messages that arrived again.
    pub twice: u64,
    runs: u32,
}

impl<'a> Bench<'a> {
    /// Nothing measured yet.
    pub fn new(options: &'a Options) -> Bench<'a> {
        Bench {
            options,
            samples: Samples::default(),
            report: Report::new(options),
            lost: 0,
            twice: 0,
            runs: 0,
        }
    }

    /// The number of the next run of source and sink.
    pub fn run_number(&mut self) -> u32 {
        self.runs += 1;
        self.runs
    }

    /// Keeps what was measured, and shows that it goes on.
    pub fn add(&mut self, scenario: &str, system: System, round: usize, values: Vec<(&'static str, f64)>) {
        let shown: Vec<String> = values.iter().map(|(name, v)| format!("{name} {}", digits(*v))).collect();
        println!("round {} {scenario} {}: {}", round + 1, system.name(), shown.join(", "));
        self.samples.add(Sample { scenario: scenario.into(), system, values });
    }

    /// The systems that take part, in the order of this round: A B C, C B A, and so on.
    pub fn order(&self, round: usize) -> Vec<System> {
        let mut systems = self.options.systems.clone();
        if round % 2 == 1 {
            systems.reverse();
        }
        systems
    }

    /// Reports the table of a scenario.
    pub fn table(&mut self, scenario: &str, about: &str) {
        let table = self.samples.table(scenario);
        self.report.detail(&format!("### {scenario}: {about}\n\n{table}"));
    }
}

/// Where a system listens.
pub fn port(system: System) -> u16 {
    match system {
        System::Postfix => 2601,
        System::Debian => 2602,
        System::Valija => 2603,
    }
}

/// The systems, running side by side.
pub struct Fleet(Vec<Mta>);

impl Fleet {
    /// Starts them; `settings` are further lines of main.cf.
    pub fn start(options: &Options, settings: &dyn Fn(System) -> String) -> Result<Fleet, String> {
        let start = |system: &System| mta::start(*system, port(*system), &settings(*system), options);
        Ok(Fleet(options.systems.iter().map(start).collect::<Result<_, _>>()?))
    }

    /// In the order of this round.
    pub fn turn(&self, round: usize) -> Vec<&Mta> {
        let mut all: Vec<&Mta> = self.0.iter().collect();
        if round % 2 == 1 {
            all.reverse();
        }
        all
    }
}
