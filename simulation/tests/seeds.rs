//! Seeds that must be good, faults that must happen, planted bugs that must be found.

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use metering_simulation::{
    fault::{Fault, Fired},
    mutation,
    run::{Options, Outcome, run, shrink},
};

/// How many seeds every change is held against.
const SEEDS: u64 = 200;
/// How often each fault happens in them, at least.
const FIRED_LEAST: u64 = 100;
/// Seeds that failed once, and what was wrong with the code.
const KEPT: &[(u64, &str)] = &[(
    29,
    "pages of a document that was taken back just before its period was closed went to the dead letters",
)];

fn played(seed: u64, options: Options) -> Outcome {
    run(seed, options).unwrap_or_else(|error| panic!("seed {seed} cannot be run: {error}"))
}

/// Runs what `next` gives on both cores.
fn on_all_cores<T: Send>(next: impl Fn() -> Option<T> + Sync) -> Vec<T> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let work = || std::iter::from_fn(&next).collect::<Vec<T>>();
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .flat_map(|one| one.join().expect("a worker"))
            .collect()
    })
}

#[test]
fn every_seed_is_good_and_every_fault_happens() {
    let next = AtomicU64::new(0);
    let kept = KEPT.iter().map(|(seed, _)| *seed);
    let seeds: Vec<u64> = (0..SEEDS).chain(kept).collect();
    let outcomes = on_all_cores(|| {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let seed = *seeds.get(usize::try_from(index).ok()?)?;
        let outcome = played(seed, Options::default());
        eprint!("\rseed {index} of {}", seeds.len());
        Some((seed, outcome.wrong, outcome.fired))
    });
    let mut fired = Fired::new();
    for (seed, wrong, own) in &outcomes {
        own.iter()
            .for_each(|(fault, times)| *fired.entry(*fault).or_default() += times);
        if !wrong.is_empty() {
            let least = shrink(*seed, Options::default()).expect("it runs");
            panic!("seed {seed}: {least}: {wrong:#?}");
        }
    }
    for fault in Fault::ALL {
        let times = fired.get(&fault).copied().unwrap_or(0);
        println!("{fault:?}: {times}");
        assert!(times >= FIRED_LEAST, "{fault:?} happened {times} times");
    }
}

#[test]
fn every_planted_bug_is_found_by_its_seed() {
    assert!(mutation::ALL.len() >= 15);
    let next = AtomicU64::new(0);
    let found = on_all_cores(|| {
        let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
        let planted = *mutation::ALL.get(index)?;
        let options = Options {
            mutation: Some(planted),
            ..Options::default()
        };
        assert!(planted.seed < SEEDS);
        Some((planted, played(planted.seed, options).wrong))
    });
    for (planted, wrong) in &found {
        println!("{} (seed {}): {:?}", planted.name, planted.seed, wrong.first());
    }
    let missed: Vec<&str> = found
        .iter()
        .filter(|(_, wrong)| wrong.is_empty())
        .map(|(planted, _)| planted.name)
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_seed_is_the_same_run_in_every_process() {
    let log = |seed: &str| {
        let ran = Command::new(env!("CARGO_BIN_EXE_metering-simulation"))
            .args([seed, "1", "--log"])
            .output();
        let ran = ran.expect("it runs");
        assert!(ran.status.success());
        ran.stdout
    };
    for seed in ["3", "14", "15"] {
        let (first, second) = (log(seed), log(seed));
        assert!(first.len() > 10_000, "something happened");
        assert!(first == second, "seed {seed} is two runs");
    }
}
