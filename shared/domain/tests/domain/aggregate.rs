//! Partials: what happened in stretches, added up, against a count of every millisecond of level.

use chrono::{DateTime, TimeDelta, Utc};
use metering_domain::{
    aggregate::{Partial, Sample, Totals},
    metric::Kind,
    number::plain,
    period::Period,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::{at, dec};

fn sample(instant: &str, value: &str) -> Sample {
    Sample {
        at: at(instant),
        value: dec(value),
        error: false,
        response_time_ms: None,
    }
}

fn hour() -> Period {
    Period {
        start: at("2026-03-01T10:00:00Z"),
        end: at("2026-03-01T11:00:00Z"),
    }
}

/// Total, average, min and max as texts.
fn figures(totals: &Totals) -> [String; 4] {
    [totals.total, totals.average, totals.min, totals.max].map(plain)
}

#[test]
fn sums_add_up() {
    let mut samples = [
        sample("2026-03-01T10:59:59.999Z", "3"),
        sample("2026-03-01T10:00:00Z", "1"),
        sample("2026-03-01T10:30:00Z", "1"),
        // Outside: the end is not inside.
        sample("2026-03-01T11:00:00Z", "100"),
        sample("2026-03-01T09:59:59.999Z", "100"),
    ];
    samples[0].error = true;
    for (sample, time) in samples.iter_mut().zip([31, 12, 30, 9_000, 9_000]) {
        sample.response_time_ms = Some(time);
    }
    let partial = Partial::of(Kind::Sum, &mut samples, hour());
    let totals = partial.totals(Kind::Sum, dec("7"), hour(), hour().end);
    assert_eq!(figures(&totals), ["5", "1.666666667", "1", "3"]);
    assert_eq!((totals.count, totals.errors), (3, 1));
    assert_eq!((totals.p50, totals.p95, totals.p99), (Some(30), Some(31), Some(31)));
    assert_eq!(partial.area, Decimal::ZERO);
    let nothing = Partial::default().totals(Kind::Sum, dec("7"), hour(), hour().end);
    assert_eq!(figures(&nothing), ["0", "0", "0", "0"]);
    assert_eq!((nothing.count, nothing.p50), (0, None));
}

#[test]
fn levels_are_weighed_by_time() {
    let mut samples = [
        sample("2026-03-01T10:45:00Z", "-12"),
        sample("2026-03-01T10:15:00Z", "10"),
        // Superseded: counted, changes nothing.
        sample("2026-03-01T10:20:00Z", "0"),
    ];
    let partial = Partial::of(Kind::Gauge, &mut samples, hour());
    let totals = |until: &str| partial.totals(Kind::Gauge, dec("4"), hour(), at(until));
    // 15 minutes of 4, 30 of 14, 15 of 2.
    assert_eq!(figures(&totals("2026-03-01T11:00:00Z")), ["2", "8.5", "2", "14"]);
    assert_eq!(totals("2026-03-01T11:00:00Z").count, 3);
    assert_eq!(figures(&totals("2026-03-01T23:00:00Z")), ["2", "8.5", "2", "14"]);
    // 15 of 4, 30 of 14, 5 of 2.
    assert_eq!(figures(&totals("2026-03-01T10:50:00Z")), ["2", "9.8", "2", "14"]);
    // Nothing to weigh yet: the level.
    assert_eq!(figures(&totals("2026-03-01T10:00:00Z")), ["2", "2", "2", "14"]);
    let quiet = Partial::default().totals(Kind::Gauge, dec("4.5"), hour(), at("2026-03-01T10:00:01Z"));
    assert_eq!(figures(&quiet), ["4.5", "4.5", "4.5", "4.5"]);
}

#[test]
fn a_change_ahead_of_now_leaves_the_mean_within_its_bounds() {
    let mut samples = [sample("2026-03-01T10:05:00Z", "100")];
    let partial = Partial::of(Kind::Gauge, &mut samples, hour());
    let totals = partial.totals(Kind::Gauge, dec("4"), hour(), at("2026-03-01T10:00:01Z"));
    assert_eq!(figures(&totals), ["104", "4", "4", "104"]);
}

#[test]
fn changes_of_one_instant_are_one_change() {
    let mut samples = [("50", 0), ("-60", 0), ("20", 0)].map(|(value, _)| sample("2026-03-01T10:30:00Z", value));
    for _ in 0..samples.len() {
        samples.rotate_left(1);
        let partial = Partial::of(Kind::Gauge, &mut samples.clone(), hour());
        assert_eq!(
            (partial.low, partial.high, partial.total),
            (dec("0"), dec("10"), dec("10"))
        );
    }
}

#[test]
fn the_largest_values_neither_panic_nor_wrap() {
    let month = Period {
        start: at("2026-03-01T00:00:00Z"),
        end: at("2026-04-01T00:00:00Z"),
    };
    let mut samples = vec![sample("2026-03-01T00:00:00.001Z", "1000000000000"); 1_000];
    samples.push(sample("2026-03-02T00:00:00Z", "0.000000001"));
    let sums = Partial::of(Kind::Sum, &mut samples, month).totals(Kind::Sum, Decimal::ZERO, month, month.end);
    assert_eq!(plain(sums.total), "1000000000000000.000000001");
    let levels = Partial::of(Kind::Gauge, &mut samples, month).totals(Kind::Gauge, Decimal::ZERO, month, month.end);
    assert_eq!(plain(levels.total), "1000000000000000.000000001");
    // 10^15 but for the first of 2,678,400,000 milliseconds, and a billionth but for the first of 31 days;
    // computed with fractions.
    assert_eq!(plain(levels.average), "999999999626642.771804063");
    let mut full = Partial {
        count: u64::MAX,
        errors: u64::MAX,
        total: Decimal::MAX,
        low: Decimal::MIN,
        high: Decimal::MAX,
        area: Decimal::MAX,
        ..Partial::default()
    };
    for kind in [Kind::Sum, Kind::Gauge, Kind::Lease] {
        full.append(kind, &full.clone(), TimeDelta::MAX);
        let totals = full.totals(kind, Decimal::MAX, month, month.end);
        assert_eq!(
            (totals.total, totals.max, totals.count),
            (Decimal::MAX, Decimal::MAX, u64::MAX)
        );
        // Fields that nothing here computed: nonsense, but no panic.
        let nonsense = Partial {
            low: Decimal::ONE,
            high: Decimal::NEGATIVE_ONE,
            ..Partial::default()
        };
        assert_eq!(nonsense.totals(kind, Decimal::ZERO, month, month.end).count, 0);
    }
}

/// Three hours in seconds: what the random samples spread over.
const SPAN_SECONDS: i64 = 10_800;

fn begin() -> DateTime<Utc> {
    at("2026-10-25T00:00:00Z")
}

/// Samples on few instants, so that some coincide and some lie on boundaries.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let offset_ms = prop_oneof![0..SPAN_SECONDS * 1_000, (0_i64..36).prop_map(|five| five * 300_000)];
    let value =
        (-1_000_000_000_000_i64..=1_000_000_000_000, 0_u32..=9).prop_map(|(value, scale)| Decimal::new(value, scale));
    let sample = (offset_ms, value, any::<bool>(), prop::option::of(0_u32..5_000)).prop_map(
        |(offset_ms, value, error, response_time_ms)| Sample {
            at: begin() + TimeDelta::milliseconds(offset_ms),
            value,
            error,
            response_time_ms,
        },
    );
    prop::collection::vec(sample, 0..30)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Sum, Kind::Gauge, Kind::Lease])
}

fn stretch(from_seconds: i64, to_seconds: i64) -> Period {
    Period {
        start: begin() + TimeDelta::seconds(from_seconds),
        end: begin() + TimeDelta::seconds(to_seconds),
    }
}

/// Lowest, highest and integral (× 10^12) of a level over a stretch, walked from change to change.
fn walk(samples: &[Sample], carried_in: Decimal, stretch: Period) -> (Decimal, Decimal, i128) {
    let level = |at: DateTime<Utc>| {
        let changes = samples
            .iter()
            .filter(|sample| sample.at <= at)
            .map(|sample| sample.value);
        carried_in + changes.sum::<Decimal>()
    };
    let inside = samples
        .iter()
        .map(|sample| sample.at)
        .filter(|at| stretch.contains(*at));
    // The level carried in is part of the stretch even where it changes at its very start.
    let (mut low, mut high, mut area) = (carried_in, carried_in, 0);
    let mut instants: Vec<_> = inside.chain([stretch.start, stretch.end]).collect();
    instants.sort();
    for pair in instants.windows(2) {
        let now = level(pair[0]);
        (low, high) = (low.min(now), high.max(now));
        let billionths = now.mantissa() * 10_i128.pow(9 - now.scale());
        area += billionths * i128::from((pair[1] - pair[0]).num_milliseconds());
    }
    (low, high, area)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However a stretch is cut, also with quiet parts left out, its parts add up to the whole.
    #[test]
    fn parts_add_up_to_the_whole(kind in kind(), mut samples in samples(), mut cuts in prop::collection::vec(0..=SPAN_SECONDS, 0..6)) {
        let whole = Partial::of(kind, &mut samples, stretch(0, SPAN_SECONDS));
        cuts.extend([0, SPAN_SECONDS]);
        cuts.sort_unstable();
        let mut joined = Partial::default();
        let mut sparse = Partial::default();
        let mut sparse_end = 0;
        for pair in cuts.windows(2) {
            let part = Partial::of(kind, &mut samples, stretch(pair[0], pair[1]));
            joined.append(kind, &part, TimeDelta::seconds(pair[1] - pair[0]));
            if part.count > 0 {
                sparse.append(kind, &part, TimeDelta::seconds(pair[1] - sparse_end));
                sparse_end = pair[1];
            }
        }
        sparse.append(kind, &Partial::default(), TimeDelta::seconds(SPAN_SECONDS - sparse_end));
        prop_assert_eq!(&joined, &whole);
        prop_assert_eq!(&sparse, &whole);
        prop_assert_eq!(whole.count, samples.len() as u64);
    }

    #[test]
    fn the_order_of_samples_does_not_matter(kind in kind(), samples in samples(), seed in any::<prop::sample::Index>()) {
        let mut shuffled = samples.clone();
        shuffled.reverse();
        if !shuffled.is_empty() {
            let by = seed.index(shuffled.len());
            shuffled.rotate_left(by);
        }
        let span = stretch(0, SPAN_SECONDS);
        prop_assert_eq!(Partial::of(kind, &mut shuffled, span), Partial::of(kind, &mut samples.clone(), span));
    }

    /// Against the definition, computed from single instants on integers.
    #[test]
    fn levels_are_what_the_definition_says(samples in samples(), carried in -1_000_000_i64..1_000_000, until_seconds in 1..=SPAN_SECONDS) {
        let carried = Decimal::new(carried, 3);
        let until = begin() + TimeDelta::seconds(until_seconds);
        // Whatever happens later has not happened yet.
        let mut known: Vec<_> = samples.into_iter().filter(|sample| sample.at <= until).collect();
        let span = stretch(0, SPAN_SECONDS);
        let totals = Partial::of(Kind::Gauge, &mut known, span).totals(Kind::Gauge, carried, span, until);
        let (low, high, _) = walk(&known, carried, span);
        let (_, _, area) = walk(&known, carried, stretch(0, until_seconds));
        prop_assert_eq!((totals.min, totals.max), (low, high));
        prop_assert_eq!(totals.total, carried + known.iter().map(|sample| sample.value).sum::<Decimal>());
        let average = totals.average.mantissa() * 10_i128.pow(9 - totals.average.scale());
        let rest = (area - average * i128::from(until_seconds) * 1_000).abs() * 2;
        prop_assert!(rest <= i128::from(until_seconds) * 1_000, "{} is not the nearest", totals.average);
    }

    #[test]
    fn sums_are_what_the_definition_says(mut samples in samples()) {
        let span = stretch(0, SPAN_SECONDS);
        let totals = Partial::of(Kind::Sum, &mut samples, span).totals(Kind::Sum, Decimal::TEN, span, span.end);
        let values = || samples.iter().map(|sample| sample.value);
        prop_assert_eq!(totals.total, values().sum::<Decimal>());
        prop_assert_eq!(totals.min, values().min().unwrap_or_default());
        prop_assert_eq!(totals.max, values().max().unwrap_or_default());
        prop_assert_eq!(totals.errors, samples.iter().filter(|sample| sample.error).count() as u64);
        let times = samples.iter().filter(|sample| sample.response_time_ms.is_some()).count();
        prop_assert_eq!(totals.p50.is_some(), times > 0);
    }
}
