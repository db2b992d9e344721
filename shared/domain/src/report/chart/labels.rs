//! Labels along the axes, as many as there is room for.

use super::{Canvas, Place, Spec, Tick, tick_text};

/// More slots than this are labelled by what begins in them.
const SLOTS_LABELLED_MAX: usize = 62;

pub(super) fn y_ticks(place: &Place, canvas: &Canvas<'_>) -> Vec<Tick> {
    let tick = |value: f64| {
        let label = tick_text(value, place.scale.step);
        Tick {
            at: place.y(value),
            text_x: place.plot.x - canvas.line_height / 2.0 - (canvas.text_width)(&label),
            label,
        }
    };
    place.scale.ticks().map(tick).collect()
}

/// Every so manieth label, so that none touches the next.
pub(super) fn x_ticks(spec: &Spec, place: &Place, canvas: &Canvas<'_>) -> Vec<Tick> {
    let slots = spec.slots.iter().enumerate();
    let majors: Vec<(usize, &str)> = slots
        .clone()
        .filter_map(|(slot, of)| Some((slot, of.major.as_deref()?)))
        .collect();
    let candidates = match spec.slots.len() > SLOTS_LABELLED_MAX && majors.len() > 1 {
        true => majors,
        false => slots.map(|(slot, of)| (slot, of.label.as_str())).collect(),
    };
    let gap = canvas.line_height;
    // As every second, third and so on is tried, the first that fits is the densest.
    (1..=candidates.len())
        .map(|stride| {
            let kept = candidates.iter().step_by(stride);
            kept.map(|(slot, label)| tick(place, canvas, *slot, label)).collect()
        })
        .find(|ticks: &Vec<Tick>| fits(ticks, canvas, gap))
        .unwrap_or_default()
}

fn tick(place: &Place, canvas: &Canvas<'_>, slot: usize, label: &str) -> Tick {
    let width = (canvas.text_width)(label);
    let at = place.middle(slot);
    Tick {
        at,
        text_x: (at - width / 2.0).min(canvas.width - width).max(0.0),
        label: label.to_owned(),
    }
}

fn fits(ticks: &[Tick], canvas: &Canvas<'_>, gap: f64) -> bool {
    ticks.windows(2).all(|pair| match pair {
        [left, right] => left.text_x + (canvas.text_width)(&left.label) + gap <= right.text_x,
        _ => true,
    })
}
