//! Quantiles of response times: counts in buckets whose bounds grow geometrically.
//!
//! A DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", PVLDB 12(12), 2019) with relative accuracy α = 0.5 % and γ = (1 + α) ÷
//! (1 − α) = 201 ÷ 199. The times are whole milliseconds, so the bounds are whole numbers, computed
//! without floating point: the same on every machine. Must not know what was timed.

use std::{collections::BTreeMap, sync::LazyLock};

/// The longest response time that is told apart, in milliseconds: a day.
pub const RESPONSE_TIME_MS_MAX: u32 = 86_400_000;

/// γ as a fraction.
const GROWTH: (u64, u64) = (201, 199);

/// The first byte of every stored sketch: it names the bounds below and the layout of the rest.
const FORMAT: u8 = 1;

/// The largest value of each bucket, ascending: 0, 1, 2, … while γ is less than a whole step, then each
/// the last one times γ, rounded down, up to [`RESPONSE_TIME_MS_MAX`].
static BOUNDS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut bounds = vec![0];
    let mut last = 0;
    while last < RESPONSE_TIME_MS_MAX {
        let grown = u64::from(last) * GROWTH.0 / GROWTH.1;
        let grown = u32::try_from(grown).unwrap_or(RESPONSE_TIME_MS_MAX);
        last = grown.max(last + 1).min(RESPONSE_TIME_MS_MAX);
        bounds.push(last);
    }
    bounds
});

/// The distribution of response times in milliseconds.
///
/// Merging adds counts: it is commutative and associative, and the merged sketch is the one that all
/// values together give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// How many values lie in each bucket, by its place in [`BOUNDS`]; never 0.
    counts: BTreeMap<u16, u64>,
}

impl Sketch {
    /// One more value; above [`RESPONSE_TIME_MS_MAX`] it counts as that.
    pub fn add(&mut self, response_time_ms: u32) {
        let value = response_time_ms.min(RESPONSE_TIME_MS_MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < value);
        self.add_count(u16::try_from(bucket).unwrap_or(u16::MAX), 1);
    }

    /// All values of another sketch.
    pub fn merge(&mut self, other: &Sketch) {
        for (bucket, count) in &other.counts {
            self.add_count(*bucket, *count);
        }
    }

    fn add_count(&mut self, bucket: u16, count: u64) {
        let total = self.counts.entry(bucket).or_default();
        *total = total.saturating_add(count);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts
            .values()
            .fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The value at that percentile (at most 100) in milliseconds; None without values.
    ///
    /// By nearest rank, without interpolation: of `n` values in ascending order the one at
    /// `max(1, ⌈percent × n ÷ 100⌉)`, which is the lowest value that at least `percent` % do not exceed.
    /// The answer is within 1 % of it, and exact below 100 ms: 0.5 % from the bucket, half a
    /// millisecond from rounding.
    pub fn percentile(&self, percent: u32) -> Option<u32> {
        let wanted = u128::from(self.count()) * u128::from(percent.min(100));
        let mut reached = 0_u128;
        for (bucket, count) in &self.counts {
            reached += u128::from(*count);
            if reached * 100 >= wanted {
                return value_of(*bucket);
            }
        }
        None
    }

    /// A compact form that [`Sketch::from_bytes`] reads: a format byte, then for each bucket how many
    /// empty ones precede it and its count less one, as LEB128 varints. Equal sketches have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        let mut expected = 0;
        for (bucket, count) in &self.counts {
            let bucket = u64::from(*bucket);
            write_varint(&mut bytes, bucket - expected);
            write_varint(&mut bytes, count - 1);
            expected = bucket + 1;
        }
        bytes
    }

    /// Reads what [`Sketch::to_bytes`] writes; None for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Sketch> {
        let (format, mut rest) = bytes.split_first()?;
        if *format != FORMAT {
            return None;
        }
        let mut sketch = Sketch::default();
        let mut expected = 0_u64;
        while !rest.is_empty() {
            let bucket = read_varint(&mut rest)?.checked_add(expected)?;
            let count = read_varint(&mut rest)?.checked_add(1)?;
            let place = usize::try_from(bucket).ok().filter(|place| *place < BOUNDS.len())?;
            sketch.counts.insert(u16::try_from(place).ok()?, count);
            expected = bucket + 1;
        }
        Some(sketch)
    }
}

/// The value that stands for a bucket: `2 × low × high ÷ (low + high)`, rounded half up.
///
/// Its relative distance to both ends is `(high − low) ÷ (high + low)`, below α since `high` is at most γ
/// times the bound below `low` (section 2.2 of the paper: 2γ^i ÷ (γ + 1)).
fn value_of(bucket: u16) -> Option<u32> {
    let place = usize::from(bucket);
    let high = u64::from(*BOUNDS.get(place)?);
    let low = match place.checked_sub(1) {
        Some(before) => u64::from(*BOUNDS.get(before)?) + 1,
        None => return Some(0),
    };
    let rounded = (4 * low * high + low + high) / (2 * (low + high));
    u32::try_from(rounded).ok()
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes one varint off the front. None where it is cut short, longer than needed, or above 64 bits.
fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let digits = u64::from(byte & 0x7f);
        if digits.leading_zeros() < shift {
            return None;
        }
        value |= digits << shift;
        if byte & 0x80 == 0 {
            let overlong = *byte == 0 && shift > 0;
            return (!overlong).then_some(value);
        }
    }
    None
}
