//! How people read names, numbers, money and times.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{
    number::plain,
    period::Period,
    report::{ResourceName, Section},
};
use rust_decimal::{Decimal, RoundingStrategy};

/// What stands where there is nothing.
pub(crate) const NONE: &str = "–";

/// All digits, with commas between thousands: `12,345.678`.
pub(crate) fn number(value: Decimal) -> String {
    let text = plain(value);
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits
        .split_once('.')
        .map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// As [`number`], or a dash.
pub(crate) fn number_or_none(value: Option<Decimal>) -> String {
    value.map_or(NONE.to_owned(), number)
}

/// Statistics as people read them: two places.
pub(crate) fn rounded(value: Decimal) -> String {
    number(value.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven))
}

/// Money with at least two decimals, and all that it has: `€1,234.50`, `USD 0.125`.
pub(crate) fn money(value: Decimal, currency: &str) -> String {
    let text = number(value.abs());
    let padded = match text.split_once('.') {
        None => format!("{text}.00"),
        Some((_, fraction)) if fraction.len() == 1 => format!("{text}0"),
        Some(_) => text,
    };
    let sign = if value.is_sign_negative() && !value.is_zero() {
        "-"
    } else {
        ""
    };
    match currency {
        "EUR" => format!("{sign}€{padded}"),
        other => format!("{sign}{other} {padded}"),
    }
}

/// `85.25 %`, or a dash.
pub(crate) fn percentage(value: Option<Decimal>) -> String {
    value.map_or(NONE.to_owned(), |value| format!("{} %", number(value)))
}

/// A percentage that says which way: `+12.5 %`.
pub(crate) fn change(value: Option<Decimal>) -> String {
    match value {
        Some(value) if value > Decimal::ZERO => format!("+{}", percentage(Some(value))),
        other => percentage(other),
    }
}

/// A local time to the minute.
pub(crate) fn time(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%-d %b %Y %H:%M").to_string()
}

/// From when to when on a local calendar; whole days by their dates, the last one included.
pub(crate) fn period(period: &Period, zone: Tz) -> String {
    let local = |at: DateTime<Utc>| at.with_timezone(&zone);
    let is_midnight = |at: DateTime<Utc>| local(at).format("%H:%M:%S").to_string() == "00:00:00";
    if !is_midnight(period.start) || !is_midnight(period.end) {
        return format!("{} – {}", time(period.start, zone), time(period.end, zone));
    }
    let last = local(period.end - TimeDelta::nanoseconds(1))
        .format("%-d %b %Y")
        .to_string();
    let first = local(period.start).format("%-d %b %Y").to_string();
    if first == last {
        first
    } else {
        format!("{first} – {last}")
    }
}

/// Words of names that are spelled in capitals.
const INITIALS: [&str; 3] = ["api", "llm", "ocr"];

/// A name in words: `api_calls` is `API calls`.
pub(crate) fn words(name: &str) -> String {
    let word = |(at, word): (usize, &str)| {
        let mut letters = word.chars();
        match letters.next() {
            _ if INITIALS.contains(&word) => word.to_ascii_uppercase(),
            Some(first) if at == 0 => first.to_uppercase().chain(letters).collect(),
            _ => word.to_owned(),
        }
    };
    name.split('_').enumerate().map(word).collect::<Vec<_>>().join(" ")
}

/// A probability to four places; one that is smaller says so.
pub(crate) fn probability(value: Option<Decimal>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(value) if value < Decimal::new(1, 4) => "< 0.0001".to_owned(),
        Some(value) => number(value.round_dp(4)),
    }
}

/// What a resource is called.
pub(crate) fn resource(name: &ResourceName) -> String {
    match name {
        ResourceName::Id(id) => id.clone(),
        ResourceName::Unnamed => "(no resource named)".to_owned(),
        ResourceName::Others(count) => format!("({count} others)"),
    }
}

/// The heading of a section.
pub(crate) fn heading(section: Section) -> &'static str {
    match section {
        Section::Quotas => "Quotas",
        Section::Usage => "Usage",
        Section::Comparison => "Comparison",
        Section::Charts => "Charts",
        Section::Rows => "Details",
        Section::Resources => "Resources",
        Section::Forecasts => "Forecast",
        Section::Anomalies => "Anomalies",
        Section::Costs => "Costs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_money() {
        let of = |text: &str| text.parse::<Decimal>().expect("a decimal");
        assert_eq!(number(of("1234567.8900")), "1,234,567.89");
        assert_eq!(number(of("-123")), "-123");
        assert_eq!(number(of("-1234")), "-1,234");
        assert_eq!(money(of("1234.5"), "EUR"), "€1,234.50");
        assert_eq!(money(of("0.125"), "USD"), "USD 0.125");
        assert_eq!(money(of("-3"), "EUR"), "-€3.00");
        assert_eq!(change(Some(of("12.5"))), "+12.5 %");
        assert_eq!(rounded(of("1.666666667")), "1.67");
        assert_eq!(words("api_calls"), "API calls");
        assert_eq!(words("velocity_spike"), "Velocity spike");
    }

    #[test]
    fn whole_days_are_named_by_their_dates() {
        let at = |text: &str| metering_domain::period::parse_instant(text).expect("an instant");
        let of = |start, end| {
            let days = Period {
                start: at(start),
                end: at(end),
            };
            period(&days, Tz::Europe__Berlin)
        };
        assert_eq!(
            of("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
            "1 Mar 2026 – 31 Mar 2026"
        );
        assert_eq!(of("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), "29 Mar 2026");
        assert_eq!(
            of("2026-03-28T23:30:00Z", "2026-03-29T22:00:00Z"),
            "29 Mar 2026 00:30 – 30 Mar 2026 00:00"
        );
    }
}
