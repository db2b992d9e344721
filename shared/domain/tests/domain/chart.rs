//! Charts: what is how high, and that nothing lies on anything else.

#![expect(clippy::float_arithmetic, reason = "geometry")]

use chrono::TimeDelta;
use chrono_tz::Tz;
use metering_domain::{
    metric::Kind,
    period::{Period, parse_instant},
    report::{
        BillingPeriod, Point, Series,
        chart::{Canvas, Layout, Scale, Slot, Spec, layout, panels, tick_text},
    },
};
use proptest::prelude::*;
use rust_decimal::Decimal;

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 120.0;
const CHAR_WIDTH: f64 = 4.0;

fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHAR_WIDTH
}

fn laid_out(spec: &Spec) -> Layout {
    let canvas = Canvas {
        width: WIDTH,
        height: HEIGHT,
        axis_width_min: 0.0,
        line_height: 8.0,
        text_width: &width_of,
    };
    layout(spec, &canvas)
}

fn slots(count: usize) -> Vec<Slot> {
    (0..count)
        .map(|slot| Slot {
            label: format!("{} Mar", slot % 31 + 1),
            major: (slot % 30 == 5).then(|| format!("Month {}", slot / 30)),
        })
        .collect()
}

fn bars(values: &[f64]) -> Spec {
    Spec {
        slots: slots(values.len()),
        bars: values.iter().copied().map(Some).collect(),
        ..Spec::default()
    }
}

/// Nothing leaves the canvas, no label touches the next.
fn check(spec: &Spec, of: &Layout) {
    let plot = of.plot.expect("a plot");
    let bottom = plot.y + plot.height;
    assert!(plot.x >= 0.0 && plot.x + plot.width <= WIDTH + 1e-9 && bottom <= HEIGHT);
    for (_, bar) in &of.bars {
        assert!(
            bar.x >= plot.x - 1e-9 && bar.x + bar.width <= plot.x + plot.width + 1e-9,
            "{bar:?}"
        );
        assert!(
            bar.y >= plot.y - 1e-9 && (bar.y + bar.height - bottom).abs() < 1e-9,
            "{bar:?}"
        );
    }
    for pair in of.bars.windows(2) {
        assert!(pair[0].1.x + pair[0].1.width < pair[1].1.x);
    }
    for tick in of.x_ticks.iter().chain(&of.y_ticks) {
        assert!(
            tick.text_x >= -1e-9 && tick.text_x + width_of(&tick.label) <= WIDTH + 1e-9,
            "{tick:?}"
        );
    }
    for pair in of.x_ticks.windows(2) {
        assert!(pair[0].text_x + width_of(&pair[0].label) < pair[1].text_x, "{pair:?}");
    }
    assert!(!of.x_ticks.is_empty() || spec.slots.is_empty());
    for pair in of.y_ticks.windows(2) {
        assert!(pair[1].at < pair[0].at && pair[0].label != pair[1].label, "{pair:?}");
    }
}

proptest! {
    #[test]
    fn bars_are_as_high_as_their_values(
        values in prop::collection::vec(0.0..1.0_f64, 1..400), exponent in -6_i32..14
    ) {
        let values: Vec<f64> = values.iter().map(|value| value * 10_f64.powi(exponent)).collect();
        let spec = bars(&values);
        let of = laid_out(&spec);
        check(&spec, &of);
        let plot = of.plot.expect("a plot");
        for (slot, bar) in &of.bars {
            let expected = values[*slot] / of.scale.max * plot.height;
            prop_assert!((bar.height - expected).abs() < 1e-6, "{} is {bar:?}", values[*slot]);
        }
        let highest = values.iter().copied().fold(0.0, f64::max);
        prop_assert!(highest <= of.scale.max * (1.0 + 1e-9), "{highest} of {:?}", of.scale);
        prop_assert!(of.scale.max < highest * 2.5 + 1e-300 || highest == 0.0);
        prop_assert!(of.y_ticks.len() <= 6, "{:?}", of.y_ticks);
    }
}

#[test]
fn steps_are_round() {
    for (value, max, step) in [
        (100.0, 100.0, 20.0),
        (101.0, 150.0, 50.0),
        (7.0, 8.0, 2.0),
        (0.3, 0.3, 0.1),
        (0.0, 1.0, 0.2),
    ] {
        let scale = Scale::up_to(value);
        assert!(
            (scale.max - max).abs() < 1e-9 && (scale.step - step).abs() < 1e-9,
            "{value}: {scale:?}"
        );
    }
    assert_eq!(tick_text(1_500.0, 500.0), "1,500");
    assert_eq!(tick_text(0.05, 0.05), "0.05");
    assert_eq!(tick_text(2_500_000.0, 500_000.0), "2.5 M");
    assert_eq!(tick_text(200_000.0, 50_000.0), "200,000");
    assert_eq!(tick_text(2e18, 5e17), "2e18");
}

#[test]
fn nothing_one_and_many() {
    assert_eq!(laid_out(&Spec::default()).plot, None);
    for values in [
        vec![0.0],
        vec![5.0],
        vec![0.0; 30],
        vec![3.0; 366],
        vec![f64::NAN, -1.0, f64::INFINITY, 2.0],
    ] {
        let spec = bars(&values);
        let of = laid_out(&spec);
        check(&spec, &of);
        let drawn = values.iter().filter(|value| value.is_finite() && **value > 0.0).count();
        assert_eq!(of.bars.len(), drawn, "{values:?}");
    }
    // A year is labelled by its months.
    let of = laid_out(&bars(&[1.0; 366]));
    assert!(of.x_ticks.len() >= 6 && of.x_ticks.iter().all(|tick| tick.label.starts_with("Month")));
}

#[test]
fn limits_lie_where_their_value_is() {
    let mut spec = bars(&[10.0, 40.0]);
    spec.limit = vec![Some(40.0), Some(20.0)];
    let of = laid_out(&spec);
    let plot = of.plot.expect("a plot");
    assert_eq!(of.limits.len(), 2);
    assert!(
        (of.limits[0].y - of.bars[1].1.y).abs() < 1e-9,
        "the bar of 40 ends at the limit of 40"
    );
    assert!((of.limits[1].y - (plot.y + plot.height / 2.0)).abs() < 1e-9);
    assert!((of.limits[0].to_x - of.limits[1].from_x).abs() < 1e-9);
    // Above everything else, but not far: the axis reaches up to it.
    spec.limit = vec![Some(100.0), Some(100.0)];
    let of = laid_out(&spec);
    assert_eq!(of.limits.len(), 1);
    assert!((of.limits[0].y - plot.y).abs() < 1e-9 && (of.limits[0].to_x - WIDTH).abs() < 1e-9);
    // Far above.
    spec.limit = vec![Some(1_000.0), Some(1_000.0)];
    let of = laid_out(&spec);
    assert_eq!((of.limits.len(), of.limit_above), (0, Some(1_000.0)));
    // Where nothing is used, the limit is all there is.
    let mut unused = bars(&[0.0]);
    unused.limit = vec![Some(50.0)];
    assert_eq!(laid_out(&unused).limits.len(), 1);
}

#[test]
fn bands_and_lines_break_where_nothing_is() {
    let spec = Spec {
        slots: slots(5),
        expected: vec![None, Some(2.0), Some(3.0), None, Some(1.0)],
        band: vec![None, Some((1.0, 4.0)), Some((1.0, 4.0)), None, None],
        ..Spec::default()
    };
    let of = laid_out(&spec);
    let plot = of.plot.expect("a plot");
    assert_eq!(of.expected.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    let band = &of.bands[0];
    assert_eq!(band.len(), 8);
    assert!(band[0].1 < of.expected[0][0].1 && of.expected[0][0].1 < band[7].1);
    assert!((band[0].0 - (plot.x + plot.width / 5.0)).abs() < 1e-9);
}

fn series(kind: Kind, days: i64) -> Series {
    let start = parse_instant("2026-03-30T00:00:00Z").expect("an instant");
    let point = |day: i64| {
        let start = start + TimeDelta::days(day);
        Point {
            period: Period {
                start,
                end: start + TimeDelta::days(1),
            },
            label: start.format("%Y-%m-%d").to_string(),
            value: Decimal::from(10),
            totals: None,
        }
    };
    let month = |start: &str, end: &str, limit: u32| BillingPeriod {
        period: Period {
            start: parse_instant(start).expect("an instant"),
            end: parse_instant(end).expect("an instant"),
        },
        limit: Some(Decimal::from(limit)),
    };
    Series {
        metric_type: "api_calls".to_owned(),
        unit: "calls".to_owned(),
        kind,
        points: (0..days).map(point).collect(),
        billing: vec![
            month("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", 1_000),
            month("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z", 500),
        ],
        used_before: Decimal::from(280),
        limit: Some(Decimal::from(500)),
    }
}

#[test]
fn sums_run_up_in_each_billing_period() {
    let panels = panels(&series(Kind::Sum, 4), None, Tz::UTC);
    assert_eq!(panels.len(), 2);
    assert_eq!(panels[0].spec.bars, vec![Some(10.0); 4]);
    let running = &panels[1].spec;
    assert_eq!(running.line, [Some(290.0), Some(300.0), Some(10.0), Some(20.0)]);
    assert_eq!(running.limit, [Some(1_000.0), Some(1_000.0), Some(500.0), Some(500.0)]);
    assert_eq!(laid_out(running).lines.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(running.slots[2].major.as_deref(), Some("Apr 2026"));
}

#[test]
fn levels_are_held_against_their_limit() {
    let panels = panels(&series(Kind::Gauge, 4), None, Tz::UTC);
    assert_eq!(panels.len(), 1);
    assert_eq!(panels[0].spec.limit[3], Some(500.0));
    assert!(metering_domain::report::chart::panels(&series(Kind::Gauge, 0), None, Tz::UTC).is_empty());
}
