//! Response times: percentiles within 1 %, merges that add up, bytes that only the sketch reads.

use metering_domain::aggregate::{RESPONSE_TIME_MS_MAX, Sketch};
use proptest::prelude::*;

fn sketch(values: &[u32]) -> Sketch {
    let mut sketch = Sketch::default();
    values.iter().for_each(|value| sketch.add(*value));
    sketch
}

/// The value at the nearest rank: how often a value must be passed is counted on integers.
fn exact(values: &[u32], percent: usize) -> Option<u32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (percent * sorted.len()).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn within_a_hundredth(answer: u32, exact: u32) -> bool {
    u64::from(answer.abs_diff(exact)) * 100 <= u64::from(exact)
}

#[test]
fn every_response_time_is_told_within_a_hundredth() {
    // Every value up to 200 s, then steps that reach every bucket.
    let steps = (200_000..RESPONSE_TIME_MS_MAX).step_by(97);
    for value in (0..200_000).chain(steps).chain([RESPONSE_TIME_MS_MAX]) {
        let answer = sketch(&[value]).percentile(50).expect("a value");
        assert!(within_a_hundredth(answer, value), "{value}: {answer}");
        assert!(value >= 100 || answer == value, "{value}: {answer}");
    }
    assert_eq!(
        sketch(&[u32::MAX]),
        sketch(&[RESPONSE_TIME_MS_MAX]),
        "more than a day is a day"
    );
}

#[test]
fn percentiles_take_the_nearest_rank() {
    let hundred = sketch(&(1..=100).rev().collect::<Vec<_>>());
    for percent in 1..=100 {
        // 100 itself shares its bucket with no other value.
        assert_eq!(hundred.percentile(percent), Some(percent));
    }
    assert_eq!(hundred.percentile(0), Some(1));
    assert_eq!(hundred.percentile(1_000), Some(100));
    let three = sketch(&[31, 12, 30]);
    assert_eq!(
        [50, 95, 99].map(|percent| three.percentile(percent)),
        [Some(30), Some(31), Some(31)]
    );
    assert_eq!(Sketch::default().percentile(50), None);
}

#[test]
fn bytes_are_few_and_garbage_is_refused() {
    assert_eq!(Sketch::default().to_bytes(), [1]);
    assert_eq!(sketch(&[0, 3, 3, 4]).to_bytes(), [1, 0, 0, 2, 1, 0, 0]);
    let all: Vec<u32> = (0..RESPONSE_TIME_MS_MAX).step_by(50).collect();
    assert!(
        sketch(&all).to_bytes().len() < 5_000,
        "every bucket in use is still a small item"
    );
    for garbage in [
        &[][..],
        &[0],
        &[2],
        &[1, 0],
        &[1, 0x80],
        &[1, 0, 0x80],
        // Longer than needed.
        &[1, 0x80, 0, 0],
        &[1, 0, 0x80, 0],
        // A bucket beyond the last one, and far beyond.
        &[1, 0xff, 0x7f, 0],
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
        &[1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0],
        // A count above 64 bits, and one that is 2^64.
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
    ] {
        assert_eq!(Sketch::from_bytes(garbage), None, "{garbage:?}");
    }
    let largest = [1, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let mut full = Sketch::from_bytes(&largest).expect("2^64 - 1 zeros");
    full.add(0);
    full.add(7);
    assert_eq!(
        (full.count(), full.percentile(50)),
        (u64::MAX, Some(0)),
        "counts end, nothing panics"
    );
    assert_eq!(Sketch::from_bytes(&full.to_bytes()), Some(full));
}

fn values() -> impl Strategy<Value = Vec<u32>> {
    let value = prop_oneof![0_u32..300, 0_u32..100_000, 0_u32..=RESPONSE_TIME_MS_MAX];
    prop::collection::vec(value, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_percentile_is_within_a_hundredth(values in values()) {
        let sketch = sketch(&values);
        prop_assert_eq!(sketch.count(), values.len() as u64);
        for percent in 0..=100_u32 {
            match (sketch.percentile(percent), exact(&values, percent as usize)) {
                (Some(answer), Some(exact)) => prop_assert!(within_a_hundredth(answer, exact), "p{}: {} for {}", percent, answer, exact),
                (answer, exact) => prop_assert_eq!(answer, exact),
            }
        }
    }

    #[test]
    fn a_merge_of_any_split_is_the_whole(values in values(), owners in prop::collection::vec(0_usize..3, 200)) {
        let part = |owner| {
            let own = values.iter().zip(&owners).filter(|(_, of)| **of == owner).map(|(value, _)| *value);
            sketch(&own.collect::<Vec<_>>())
        };
        for [a, b, c] in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut merged = part(a);
            merged.merge(&part(b));
            merged.merge(&part(c));
            prop_assert_eq!(&merged, &sketch(&values));
            let mut right = part(b);
            right.merge(&part(c));
            let mut nested = part(a);
            nested.merge(&right);
            prop_assert_eq!(&nested, &merged);
        }
    }

    #[test]
    fn bytes_read_back(values in values()) {
        let sketch = sketch(&values);
        let bytes = sketch.to_bytes();
        prop_assert_eq!(Sketch::from_bytes(&bytes), Some(sketch));
        // Cut short, it is never the same.
        for end in 0..bytes.len() {
            prop_assert_ne!(Sketch::from_bytes(&bytes[..end]).map(|cut| cut.to_bytes()), Some(bytes.clone()));
        }
    }

    /// Any bytes are refused or are exactly what the sketch they give is written as.
    #[test]
    fn other_bytes_are_refused(tail in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..40)) {
        let bytes = [vec![1], tail].concat();
        if let Some(sketch) = Sketch::from_bytes(&bytes) {
            prop_assert_eq!(sketch.to_bytes(), bytes);
        }
    }
}
