//! How long a forecast takes: `cargo bench -p metering-domain --bench forecast` prints it.

use std::time::Instant;

use metering_domain::forecast::{Model, forecast};

const TURNS: u32 = 20;

/// Usage with a rhythm of days and weeks, and something that looks like chance.
#[expect(clippy::float_arithmetic, reason = "statistics")]
fn usage(length: usize, cycle: usize) -> Vec<f64> {
    let chance = |at: usize| ((at * 2_654_435_761) % 1_000) as f64 / 100.0;
    let rhythm = |at: usize, cycle: usize| (at % cycle) as f64 / cycle as f64;
    (0..length)
        .map(|at| 100.0 + 40.0 * rhythm(at, cycle) + 20.0 * rhythm(at, 7 * cycle) + chance(at))
        .collect()
}

fn main() {
    for (name, values, cycles, steps) in [
        ("90 days, 30 ahead", usage(90, 7), vec![7], 30),
        ("365 days, 365 ahead", usage(365, 7), vec![7], 365),
        ("90 days of hours, 48 ahead", usage(2_160, 24), vec![24, 168], 48),
    ] {
        for model in [None].into_iter().chain(Model::ALL.map(Some)) {
            let start = Instant::now();
            for _ in 0..TURNS {
                std::hint::black_box(forecast(std::hint::black_box(&values), &cycles, steps, model));
            }
            let each = start.elapsed() / TURNS;
            println!("{name:28} {:22} {each:>10.1?}", model.map_or("auto", Model::as_str));
        }
    }
}
