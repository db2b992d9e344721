//! The y axis: from 0 to a round number, in steps of 1, 2 or 5 times a power of ten.

/// Steps that an axis has at most.
const STEPS_MAX: f64 = 5.0;
/// From here on ticks are written with a power of ten.
const PLAIN_MAX: f64 = 1e15;
/// Below this step likewise.
const PLAIN_STEP_MIN: f64 = 1e-6;
/// Words for powers of a thousand, from a million on: 100,000 is read at a glance.
const WORDS: [(f64, &str); 3] = [(1e12, " tn"), (1e9, " bn"), (1e6, " M")];

/// The y axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The highest tick.
    pub max: f64,
    /// From one tick to the next.
    pub step: f64,
}

impl Default for Scale {
    fn default() -> Self {
        Self::up_to(0.0)
    }
}

impl Scale {
    /// The scale whose highest tick is at or just above a value; of 0 it ends at 1.
    pub fn up_to(value: f64) -> Self {
        let value = if value.is_finite() && value > 0.0 {
            // Steps of the smallest numbers would be none.
            value.clamp(1e-300, 1e300)
        } else {
            1.0
        };
        let rough = value / STEPS_MAX;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            // What is a step too short by rounding only is long enough.
            .find(|step| step * STEPS_MAX >= value * (1.0 - 1e-9))
            .unwrap_or(10.0 * power);
        let steps = (value / step - 1e-9).ceil().max(1.0);
        Self {
            max: steps * step,
            step,
        }
    }

    /// The values of the ticks, from 0 upward.
    pub fn ticks(self) -> impl Iterator<Item = f64> {
        (0_u32..)
            .map(move |index| f64::from(index) * self.step)
            .take_while(move |value| *value <= self.max * (1.0 + 1e-9))
    }

    /// How high a value is, 0 to 1.
    pub fn share(self, value: f64) -> f64 {
        (value / self.max).clamp(0.0, 1.0)
    }
}

/// A tick's value, with as many decimals as its step needs: `1,500`, `0.05`, `2.5 M`.
pub fn tick_text(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() >= PLAIN_MAX || step < PLAIN_STEP_MIN {
        return format!("{value:.0e}").replace(".0e", "e");
    }
    let word = WORDS.iter().find(|(power, _)| value.abs() >= *power);
    let (power, word) = word.map_or((1.0, ""), |(power, word)| (*power, *word));
    let text = format!("{:.*}", decimals(step / power), value / power);
    format!("{}{word}", grouped(&text))
}

/// Decimals that tell one step from the next.
fn decimals(step: f64) -> usize {
    (0..12)
        .find(|places| {
            let shifted = step * 10_f64.powi(*places);
            (shifted - shifted.round()).abs() < 1e-6 * shifted.max(1.0) && shifted.round() >= 1.0
        })
        .and_then(|places| usize::try_from(places).ok())
        .unwrap_or(12)
}

/// Commas between thousands.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}
