//! How unlikely a value is, judged by the largest ones that a stream has shown.
//!
//! Peaks over a threshold (Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory",
//! KDD 2017) with an exponential tail: above the smallest of the k largest values, excesses are taken for
//! exponential with their mean. Must not know what the values measure.

#![expect(clippy::float_arithmetic, reason = "statistics of anomalies, never quantities")]

/// How many of the largest values are kept: enough to estimate a mean, few enough to be a tail.
const KEPT: usize = 20;
/// After so many values the older half of the history is forgotten.
const EPOCH: usize = 2_000;
/// Fewer values say nothing about a tail.
const LEAST: usize = 30;

/// What one stretch of the stream showed.
#[derive(Clone, Debug, Default)]
struct Epoch {
    /// The largest values, in descending order.
    top: Vec<f64>,
    count: usize,
    mean: f64,
    /// The sum of squared distances from the mean (Welford 1962).
    squares: f64,
}

impl Epoch {
    fn push(&mut self, value: f64) {
        self.count += 1;
        let from_old = value - self.mean;
        self.mean += from_old / as_f64(self.count);
        self.squares += from_old * (value - self.mean);
        let place = self.top.partition_point(|kept| *kept >= value);
        if place < KEPT {
            self.top.insert(place, value);
            self.top.truncate(KEPT);
        }
    }
}

/// The upper tail of a stream: memory and time per value do not depend on its length.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    now: Epoch,
    before: Epoch,
}

impl Tail {
    /// Takes a value into the history: the last 2,000 to 4,000 values.
    pub fn push(&mut self, value: f64) {
        if self.now.count >= EPOCH {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.push(value);
    }

    /// The standard deviation of the history.
    pub fn deviation(&self) -> f64 {
        let (n, m) = (as_f64(self.now.count), as_f64(self.before.count));
        if n + m == 0.0 {
            return 0.0;
        }
        // Chan et al. 1983: what two stretches say together.
        let apart = self.now.mean - self.before.mean;
        let squares = self.now.squares + self.before.squares + apart * apart * n * m / (n + m);
        (squares / (n + m)).max(0.0).sqrt()
    }

    /// −log10 of the probability of a value at least as large; 0 inside the bulk and without history.
    /// `scale_min` bounds the tail's mean from below, so that a history without spread is not a line that any
    /// rounding error crosses.
    pub fn surprise(&self, value: f64, scale_min: f64) -> f64 {
        let count = self.now.count + self.before.count;
        if count < LEAST {
            return 0.0;
        }
        let (mut newer, mut older) = (self.now.top.iter().peekable(), self.before.top.iter().peekable());
        let (mut kept, mut sum, mut smallest, mut above) = (0_usize, 0.0, f64::INFINITY, 0_usize);
        while kept < KEPT {
            let is_newer = match (newer.peek(), older.peek()) {
                (None, None) => break,
                (Some(new), Some(old)) => new >= old,
                (one, _) => one.is_some(),
            };
            let next = if is_newer { newer.next() } else { older.next() };
            smallest = next.copied().unwrap_or(smallest);
            above += usize::from(smallest >= value);
            sum += smallest;
            kept += 1;
        }
        if value <= smallest {
            return 0.0;
        }
        let scale = (sum / as_f64(kept) - smallest).max(scale_min).max(f64::MIN_POSITIVE);
        let by_tail = (as_f64(count) / as_f64(kept)).log10() + (value - smallest) / scale * std::f64::consts::LOG10_E;
        if above == 0 {
            return by_tail;
        }
        // Seen before: it is no rarer than that.
        by_tail.min((as_f64(count + 1) / as_f64(above + 1)).log10())
    }
}

/// Exact up to 2^53; counts here end at 4,000.
pub(super) fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
