//! The period of a report as requests say it: instants, or whole days.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use metering_domain::{aggregate::Granularity, aggregate::bucket_at, period::Period, period::local_instant};
use metering_edge::{
    fields::{Fault, Fields},
    problem::FieldCode,
    read,
};
use serde_json::Value;

/// How far back a report reaches that says nothing of its period.
const DAYS_DEFAULT: i64 = 30;

/// A bound of a period.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// A day on the report's calendar.
    Day(NaiveDate),
    /// An instant, and whether it is the last second of a day, which means its end.
    Instant(DateTime<Utc>, bool),
}

/// A period as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// As answers show it.
    pub shown: Period,
    /// As it is meant: the end exclusive.
    pub meant: Period,
}

fn bound(value: &Value) -> Result<Bound, Fault> {
    if let Some(day) = value.as_str().and_then(|text| text.parse::<NaiveDate>().ok()) {
        return Ok(Bound::Day(day));
    }
    let instant = read::instant(value).map_err(|Fault(code, detail)| match code {
        FieldCode::InvalidFormat => Fault(
            code,
            "must be an instant like 2026-01-31T10:00:00Z, or a day like 2026-01-31".to_owned(),
        ),
        code => Fault(code, detail),
    })?;
    let is_last_second = value.as_str().is_some_and(|text| text.contains("T23:59:59"));
    Ok(Bound::Instant(instant, is_last_second))
}

/// Reads `period_start` and `period_end`; without them it is the last 30 days.
pub(crate) fn read_period(fields: &mut Fields, zone: Tz, now: DateTime<Utc>) -> Option<Asked> {
    let start = fields.optional("period_start", bound);
    let end = fields.optional("period_end", bound);
    if fields.is_faulty("period_start") || fields.is_faulty("period_end") {
        return None;
    }
    let Some((shown_end, end)) = end.map_or(Some((now, now)), |end| ending(zone, end)) else {
        fields.fail("period_end", FieldCode::OutOfRange, "must lie on the calendar");
        return None;
    };
    let Some(start) = start.map_or(Some(end - TimeDelta::days(DAYS_DEFAULT)), |start| {
        beginning(zone, start)
    }) else {
        fields.fail("period_start", FieldCode::OutOfRange, "must lie on the calendar");
        return None;
    };
    if start > now {
        fields.fail("period_start", FieldCode::OutOfRange, "must not lie in the future");
        return None;
    }
    if end <= start {
        fields.fail("period_end", FieldCode::OutOfRange, "must lie after period_start");
        return None;
    }
    let period = |end| Period { start, end };
    Some(Asked {
        shown: period(shown_end),
        meant: period(end),
    })
}

fn beginning(zone: Tz, bound: Bound) -> Option<DateTime<Utc>> {
    match bound {
        Bound::Day(day) => local_instant(zone, day.and_time(chrono::NaiveTime::MIN)),
        Bound::Instant(at, _) => Some(at),
    }
}

/// The end as it is shown, and as it is meant.
fn ending(zone: Tz, bound: Bound) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    match bound {
        Bound::Day(day) => {
            let start = local_instant(zone, day.and_time(chrono::NaiveTime::MIN))?;
            let end = bucket_at(Granularity::Daily, zone, start)?.end;
            Some((end, end))
        }
        Bound::Instant(at, true) => Some((at, at.checked_add_signed(TimeDelta::seconds(1))?)),
        Bound::Instant(at, false) => Some((at, at)),
    }
}

#[cfg(test)]
mod tests {
    use metering_domain::period::parse_instant;
    use serde_json::json;

    use super::*;

    fn asked(body: Value, zone: Tz) -> Option<(String, String)> {
        let now = parse_instant("2026-04-01T12:00:00Z")?;
        let mut fields = Fields::body(body).ok()?;
        let read = read_period(&mut fields, zone, now)?;
        let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%S").to_string();
        Some((text(read.meant.start), text(read.meant.end)))
    }

    #[test]
    fn the_end_of_a_day_is_its_end() {
        for (start, end, zone, wanted) in [
            (
                "2026-03-01T00:00:00",
                "2026-03-31T23:59:59",
                Tz::UTC,
                ("2026-03-01T00:00:00", "2026-04-01T00:00:00"),
            ),
            (
                "2026-03-01",
                "2026-03-31",
                Tz::Europe__Berlin,
                ("2026-02-28T23:00:00", "2026-03-31T22:00:00"),
            ),
            (
                "2026-03-01T01:00:00+01:00",
                "2026-03-02T00:00:00Z",
                Tz::UTC,
                ("2026-03-01T00:00:00", "2026-03-02T00:00:00"),
            ),
        ] {
            let body = json!({"period_start": start, "period_end": end});
            let wanted = (wanted.0.to_owned(), wanted.1.to_owned());
            assert_eq!(asked(body, zone), Some(wanted), "{start} {end}");
        }
        let default = asked(json!({}), Tz::UTC);
        assert_eq!(
            default,
            Some(("2026-03-02T12:00:00".to_owned(), "2026-04-01T12:00:00".to_owned()))
        );
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for (start, end) in [
            ("2026-04-01T12:00:01Z", "2026-04-02T00:00:00Z"),
            ("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("2026-03-32", "2026-04-01"),
        ] {
            assert_eq!(
                asked(json!({"period_start": start, "period_end": end}), Tz::UTC),
                None,
                "{start}"
            );
        }
    }
}
