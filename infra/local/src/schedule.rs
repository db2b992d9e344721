//! Schedule expressions: `rate(…)` and `cron(…)` as EventBridge reads them, in UTC. Pure: it is
//! told the time.
//!
//! A rate counts from the Unix epoch, so that a restart does not start it over. Of cron's special
//! marks `?` and the last day `L` are understood; `W` and `#` are refused.

use std::{collections::BTreeSet, str::FromStr};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};

const YEAR_MAX: u32 = 2199;
const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Again and again after so long.
    Rate(TimeDelta),
    /// At instants that a calendar gives.
    Cron(Box<Cron>),
}

/// Instants that a calendar gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    days: DaySet,
    months: BTreeSet<u32>,
    years: BTreeSet<u32>,
}

/// The days of a month that count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DaySet {
    OfMonth(BTreeSet<u32>),
    Last,
    /// From 1, a Sunday.
    OfWeek(BTreeSet<u32>),
}

/// An expression that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the schedule {0} is not understood: rate(5 minutes) and cron(0 3 * * ? *) are")]
pub struct NotASchedule(String);

impl FromStr for Expression {
    type Err = NotASchedule;

    fn from_str(text: &str) -> Result<Self, NotASchedule> {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let read = match (inside("rate"), inside("cron")) {
            (Some(rate), _) => read_rate(rate).map(Self::Rate),
            (_, Some(cron)) => read_cron(cron).map(|cron| Self::Cron(Box::new(cron))),
            _ => None,
        };
        read.ok_or_else(|| NotASchedule(text.to_owned()))
    }
}

impl Expression {
    /// The first instant after `now`; none if there is none any more.
    pub fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Rate(period) => {
                let turns = now.timestamp().div_euclid(period.num_seconds()) + 1;
                DateTime::from_timestamp(turns.checked_mul(period.num_seconds())?, 0)
            }
            Self::Cron(cron) => cron.next(now),
        }
    }
}

impl Cron {
    fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let today = now.date_naive();
        let first_year = u32::try_from(today.year()).ok()?;
        for year in self.years.range(first_year..) {
            for month in &self.months {
                let Some(mut day) = NaiveDate::from_ymd_opt(i32::try_from(*year).ok()?, *month, 1) else {
                    continue;
                };
                while day.month() == *month {
                    if day >= today
                        && self.has(day)
                        && let Some(instant) = self.first_on(day, now)
                    {
                        return Some(instant);
                    }
                    day = day.checked_add_days(Days::new(1))?;
                }
            }
        }
        None
    }

    fn has(&self, day: NaiveDate) -> bool {
        match &self.days {
            DaySet::OfMonth(days) => days.contains(&day.day()),
            DaySet::Last => day.checked_add_days(Days::new(1)).is_some_and(|next| next.day() == 1),
            DaySet::OfWeek(days) => days.contains(&day.weekday().number_from_sunday()),
        }
    }

    fn first_on(&self, day: NaiveDate, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let times = self
            .hours
            .iter()
            .flat_map(|hour| self.minutes.iter().map(move |minute| (*hour, *minute)));
        let mut instants = times.filter_map(|(hour, minute)| Some(day.and_hms_opt(hour, minute, 0)?.and_utc()));
        instants.find(|instant| *instant > now)
    }
}

fn read_rate(text: &str) -> Option<TimeDelta> {
    let (count, unit) = text.split_once(' ')?;
    let count: i64 = count.parse().ok().filter(|count| *count > 0)?;
    match (count, unit) {
        (1, "minute") | (2.., "minutes") => TimeDelta::try_minutes(count),
        (1, "hour") | (2.., "hours") => TimeDelta::try_hours(count),
        (1, "day") | (2.., "days") => TimeDelta::try_days(count),
        _ => None,
    }
}

fn read_cron(text: &str) -> Option<Cron> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, of_month, months, of_week, years] = fields[..] else {
        return None;
    };
    let days = match (of_month, of_week) {
        ("?", "?") => return None,
        ("L", "?") => DaySet::Last,
        (of_month, "?") => DaySet::OfMonth(read_set(of_month, 1, 31, &[])?),
        ("?", of_week) => DaySet::OfWeek(read_set(of_week, 1, 7, &WEEKDAYS)?),
        _ => return None,
    };
    Some(Cron {
        minutes: read_set(minutes, 0, 59, &[])?,
        hours: read_set(hours, 0, 23, &[])?,
        days,
        months: read_set(months, 1, 12, &MONTHS)?,
        years: read_set(years, 1970, YEAR_MAX, &[])?,
    })
}

/// A field: `*`, values, ranges and steps, with commas between them. `names` count from `least`.
fn read_set(text: &str, least: u32, most: u32, names: &[&str]) -> Option<BTreeSet<u32>> {
    let value = |text: &str| -> Option<u32> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(index) => least + u32::try_from(index).ok()?,
            None => text.parse().ok()?,
        };
        (least..=most).contains(&value).then_some(value)
    };
    let mut set = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (value(first)?, value(last)?),
            // `5/10` goes on to the end.
            None if step.is_some() => (value(range)?, most),
            None => (value(range)?, value(range)?),
        };
        if first > last {
            return None;
        }
        set.extend((first..=last).step_by(step.unwrap_or(1)));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, now: &str) -> Option<String> {
        let expression: Expression = expression.parse().expect("understood");
        let next = expression.next(now.parse().expect("an instant"))?;
        Some(next.format("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    #[test]
    fn the_next_instant_is_after_now() {
        for (expression, now, expected) in [
            ("rate(5 minutes)", "2026-01-31T10:00:00Z", "2026-01-31T10:05:00Z"),
            ("rate(5 minutes)", "2026-01-31T10:04:59.999Z", "2026-01-31T10:05:00Z"),
            ("rate(1 hour)", "2026-01-31T23:30:00Z", "2026-02-01T00:00:00Z"),
            ("rate(1 day)", "2026-01-31T00:00:01Z", "2026-02-01T00:00:00Z"),
            ("cron(0 3 * * ? *)", "2026-01-31T03:00:00Z", "2026-02-01T03:00:00Z"),
            ("cron(0/15 * * * ? *)", "2026-01-31T10:50:00Z", "2026-01-31T11:00:00Z"),
            ("cron(10 2 1 * ? *)", "2026-12-05T00:00:00Z", "2027-01-01T02:10:00Z"),
            ("cron(0 0 29 2 ? *)", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("cron(0 0 L * ? *)", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"),
            (
                "cron(0 8 ? * MON-FRI *)",
                "2026-01-30T08:00:00Z",
                "2026-02-02T08:00:00Z",
            ),
            ("cron(0 8 ? * 1 *)", "2026-01-31T08:00:00Z", "2026-02-01T08:00:00Z"),
            (
                "cron(0,30 8-9 1 JAN,JUL ? 2027)",
                "2026-07-01T09:30:00Z",
                "2027-01-01T08:00:00Z",
            ),
        ] {
            assert_eq!(
                next(expression, now).as_deref(),
                Some(expected),
                "{expression} after {now}"
            );
        }
        assert_eq!(next("cron(0 0 1 1 ? 2020)", "2026-01-01T00:00:00Z"), None);
        assert_eq!(next("cron(0 0 30 2 ? *)", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "at(2026-01-01T00:00:00)",
            "rate(0 minutes)",
            "rate(1 minutes)",
            "rate(5 minute)",
            "rate(5 seconds)",
            "cron(0 3 * * *)",
            "cron(0 3 * * * *)",
            "cron(0 3 ? * ? *)",
            "cron(60 3 * * ? *)",
            "cron(0 24 * * ? *)",
            "cron(0 3 ? * 0 *)",
            "cron(0 3 ? * MON#1 *)",
            "cron(0 3 1W * ? *)",
            "cron(5-1 3 * * ? *)",
            "cron(*/0 3 * * ? *)",
        ] {
            assert!(text.parse::<Expression>().is_err(), "{text}");
        }
    }
}
