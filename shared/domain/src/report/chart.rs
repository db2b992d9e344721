//! Where everything in a chart goes: bars, lines, bands, limits, ticks and labels as plain geometry.
//!
//! Units are whatever the caller measures text in; the origin is the top left corner, y grows downward, as in SVG.
//! Whoever draws copies the numbers. Must not know colours, fonts, or what the values are of.

#![expect(clippy::float_arithmetic, reason = "geometry, never quantities")]

mod labels;
mod panel;
mod scale;

pub use panel::{Panel, panels};
pub use scale::{Scale, tick_text};

/// Bars fill this share of their slot.
const BAR_SHARE: f64 = 0.72;
/// A limit this many times above everything else is not drawn: it would flatten what is.
const LIMIT_FACTOR_MAX: f64 = 4.0;

/// What is to be drawn. All lists of values are as long as `slots`, or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// The places along the x axis, from left to right.
    pub slots: Vec<Slot>,
    /// A bar of each; None: nothing there. What is negative or no number counts as 0.
    pub bars: Vec<Option<f64>>,
    /// Lines through the middles of slots, broken where there is None.
    pub line: Vec<Option<f64>>,
    /// Where lines begin anew, if anywhere.
    pub breaks: Vec<bool>,
    /// A line that is expected rather than measured.
    pub expected: Vec<Option<f64>>,
    /// What the expectation lies between: lower and upper.
    pub band: Vec<Option<(f64, f64)>>,
    /// What is granted in each slot.
    pub limit: Vec<Option<f64>>,
}

/// A place along the x axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What it is called.
    pub label: String,
    /// What is called so from here on, if something new begins; used where labels would be too many.
    pub major: Option<String>,
}

/// How large, and how text is measured.
pub struct Canvas<'a> {
    /// The width of everything, labels included.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// What labels of the y axis take at least, so that charts below each other begin at the same place.
    pub axis_width_min: f64,
    /// The height of a line of text.
    pub line_height: f64,
    /// The width of a text.
    pub text_width: &'a dyn Fn(&str) -> f64,
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Its left edge.
    pub x: f64,
    /// Its upper edge.
    pub y: f64,
    /// How wide it is.
    pub width: f64,
    /// How high it is.
    pub height: f64,
}

/// A label and the place it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where on its axis.
    pub at: f64,
    /// Where its text begins on the x axis: labels of the y axis end at the axis, those of the x axis are centred
    /// as far as the canvas allows.
    pub text_x: f64,
    /// What it says.
    pub label: String,
}

/// A limit of several slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitLine {
    /// From where
    pub from_x: f64,
    /// to where.
    pub to_x: f64,
    /// How high.
    pub y: f64,
}

/// A chart, laid out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Where values are drawn; None: there is nothing to draw.
    pub plot: Option<Area>,
    /// Values along the y axis, from 0 upward.
    pub y_ticks: Vec<Tick>,
    /// Labels along the x axis.
    pub x_ticks: Vec<Tick>,
    /// The bars, each with the place of its slot in the list.
    pub bars: Vec<(usize, Area)>,
    /// Lines, from left to right.
    pub lines: Vec<Vec<(f64, f64)>>,
    /// Expected lines.
    pub expected: Vec<Vec<(f64, f64)>>,
    /// Closed outlines of what expectations lie between.
    pub bands: Vec<Vec<(f64, f64)>>,
    /// Limits.
    pub limits: Vec<LimitLine>,
    /// The lowest limit that is not drawn, because it is far above everything else.
    pub limit_above: Option<f64>,
    /// Which value is how high.
    pub scale: Scale,
}

/// Puts everything in its place.
pub fn layout(spec: &Spec, canvas: &Canvas<'_>) -> Layout {
    if spec.slots.is_empty() {
        return Layout::default();
    }
    let highest = spec.highest();
    let is_near = |limit: &f64| highest <= 0.0 || *limit <= highest * LIMIT_FACTOR_MAX;
    let limits: Vec<f64> = spec.limit.iter().flatten().copied().map(sound).collect();
    let near = limits.iter().copied().filter(is_near).fold(0.0, f64::max);
    let limit_above = limits.iter().copied().filter(|limit| !is_near(limit)).reduce(f64::min);
    let scale = Scale::up_to(highest.max(near));
    let widest = scale
        .ticks()
        .map(|value| (canvas.text_width)(&tick_text(value, scale.step)))
        .fold(canvas.axis_width_min, f64::max);
    let gap = canvas.line_height / 2.0;
    let plot = Area {
        x: widest + gap,
        y: gap,
        width: (canvas.width - widest - gap).max(1.0),
        height: (canvas.height - gap - canvas.line_height * 1.5).max(1.0),
    };
    let place = Place {
        plot,
        scale,
        slot_width: plot.width / spec.slots.len() as f64,
    };
    Layout {
        plot: Some(plot),
        y_ticks: labels::y_ticks(&place, canvas),
        x_ticks: labels::x_ticks(spec, &place, canvas),
        bars: place.bars(&spec.bars),
        lines: place.lines(&spec.line, &spec.breaks),
        expected: place.lines(&spec.expected, &spec.breaks),
        bands: place.bands(&spec.band),
        limits: place.limits(&spec.limit, is_near),
        limit_above,
        scale,
    }
}

/// What can be drawn.
fn sound(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

impl Spec {
    /// The highest of everything but limits.
    fn highest(&self) -> f64 {
        let bands = self.band.iter().flatten().map(|(_, upper)| upper);
        [&self.bars, &self.line, &self.expected]
            .into_iter()
            .flat_map(|values| values.iter().flatten())
            .chain(bands)
            .copied()
            .map(sound)
            .fold(0.0, f64::max)
    }
}

/// Where a value of a slot is.
struct Place {
    plot: Area,
    scale: Scale,
    slot_width: f64,
}

impl Place {
    fn middle(&self, slot: usize) -> f64 {
        self.plot.x + (slot as f64 + 0.5) * self.slot_width
    }

    fn y(&self, value: f64) -> f64 {
        self.plot.y + self.plot.height * (1.0 - self.scale.share(sound(value)))
    }

    fn bars(&self, values: &[Option<f64>]) -> Vec<(usize, Area)> {
        let width = self.slot_width * BAR_SHARE;
        let bar = |(slot, value): (usize, &Option<f64>)| {
            let y = self.y((*value)?);
            let area = Area {
                x: self.middle(slot) - width / 2.0,
                y,
                width,
                height: self.plot.y + self.plot.height - y,
            };
            (area.height > 0.0).then_some((slot, area))
        };
        values.iter().enumerate().filter_map(bar).collect()
    }

    /// Runs of slots that have a value, ended by breaks.
    fn runs<T: Copy>(values: &[Option<T>], breaks: &[bool]) -> Vec<Vec<(usize, T)>> {
        let mut runs: Vec<Vec<(usize, T)>> = Vec::new();
        let mut open = false;
        for (slot, value) in values.iter().enumerate() {
            open &= !breaks.get(slot).copied().unwrap_or(false);
            match (value, runs.last_mut().filter(|_| open)) {
                (Some(value), Some(run)) => run.push((slot, *value)),
                (Some(value), None) => runs.push(vec![(slot, *value)]),
                (None, _) => {}
            }
            open = value.is_some();
        }
        runs
    }

    fn lines(&self, values: &[Option<f64>], breaks: &[bool]) -> Vec<Vec<(f64, f64)>> {
        let point = |(slot, value): (usize, f64)| (self.middle(slot), self.y(value));
        let line = |run: Vec<(usize, f64)>| run.into_iter().map(point).collect();
        Self::runs(values, breaks).into_iter().map(line).collect()
    }

    /// Forth along the upper bounds and back along the lower ones, from edge to edge of the slots.
    fn bands(&self, values: &[Option<(f64, f64)>]) -> Vec<Vec<(f64, f64)>> {
        let half = self.slot_width / 2.0;
        let band = |run: Vec<(usize, (f64, f64))>| {
            let edges = |value: fn((f64, f64)) -> f64| {
                run.iter()
                    .flat_map(move |(slot, bounds)| {
                        let (x, y) = (self.middle(*slot), self.y(value(*bounds)));
                        [(x - half, y), (x + half, y)]
                    })
                    .collect::<Vec<_>>()
            };
            let mut outline = edges(|(_, upper)| upper);
            outline.extend(edges(|(lower, _)| lower).into_iter().rev());
            outline
        };
        Self::runs(values, &[]).into_iter().map(band).collect()
    }

    /// Neighbours with the same limit are one line.
    fn limits(&self, values: &[Option<f64>], is_near: impl Fn(&f64) -> bool) -> Vec<LimitLine> {
        let mut lines: Vec<LimitLine> = Vec::new();
        for run in Self::runs(values, &[]) {
            for same in run.chunk_by(|one, other| one.1 == other.1) {
                if let ([(first, limit), ..], Some((last, _))) = (same, same.last())
                    && is_near(&sound(*limit))
                {
                    lines.push(LimitLine {
                        from_x: self.middle(*first) - self.slot_width / 2.0,
                        to_x: self.middle(*last) + self.slot_width / 2.0,
                        y: self.y(*limit),
                    });
                }
            }
        }
        lines
    }
}
