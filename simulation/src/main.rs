//! Runs seeds: `cargo run --release -p metering-simulation -- FIRST COUNT`. With `--log` it prints the
//! event log of each instead, with `--planted NAME` under a planted bug; with `--find` it says which of
//! the seeds is the first to find each planted bug, or the named one.

use metering_simulation::{
    fault::Fired,
    mutation::{self, Mutation},
    run::{Options, Outcome, run, shrink},
    world::Failure,
};

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let (first, count) = (
        numbers.first().copied().unwrap_or(0),
        numbers.get(1).copied().unwrap_or(1),
    );
    let named = words
        .iter()
        .position(|word| word == "--planted")
        .and_then(|place| words.get(place + 1));
    let planted = named.and_then(|name| mutation::ALL.iter().find(|one| one.name == *name).copied());
    let options = Options {
        mutation: planted,
        ..Options::default()
    };
    if words.iter().any(|word| word == "--find") {
        let all = planted.map_or_else(|| mutation::ALL.to_vec(), |one| vec![one]);
        return find(&all, first, count.max(2));
    }
    let mut fired = Fired::new();
    let mut failed = Vec::new();
    for seed in first..first + count {
        let outcome = run(seed, options)?;
        if words.iter().any(|word| word == "--log") {
            outcome.log.iter().for_each(|line| println!("{line}"));
            continue;
        }
        for (fault, times) in &outcome.fired {
            *fired.entry(*fault).or_default() += times;
        }
        if !outcome.wrong.is_empty() {
            failed.push(seed);
            report(&outcome, &options)?;
        }
        eprint!("\rseed {seed}, {} failed ", failed.len());
    }
    eprintln!();
    println!("{count} seeds from {first} on, {} failed: {failed:?}", failed.len());
    println!("{fired:?}");
    Ok(())
}

/// Says which seed is the first to find each of these planted bugs.
fn find(all: &[Mutation], first: u64, count: u64) -> Result<(), Failure> {
    for planted in all {
        let options = Options {
            mutation: Some(*planted),
            ..Options::default()
        };
        let mut found = None;
        for seed in first..first + count {
            if !run(seed, options)?.wrong.is_empty() {
                found = Some(seed);
                break;
            }
        }
        println!("{found:?} {}", planted.name);
    }
    Ok(())
}

fn report(outcome: &Outcome, options: &Options) -> Result<(), Failure> {
    println!("seed {}: {} wrong", outcome.seed, outcome.wrong.len());
    for wrong in &outcome.wrong {
        println!("  {}", wrong.chars().take(900).collect::<String>());
    }
    println!("  {}", shrink(outcome.seed, *options)?);
    Ok(())
}
