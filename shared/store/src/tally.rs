//! What the index tells of all events of one owner and metric: added up by the counters that they
//! name, and as the hours that they make. Only reads. It holds one hour of events at a time, and of
//! the hours those that somebody asked for.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use metering_domain::metric::Kind;
use rust_decimal::Decimal;

use crate::{
    Store, StoreError,
    error::failed,
    hour::{self, FINAL_AFTER, QUARTERS, Quarter, Row, Series, quarter_of},
    item::{Item, Reader, s},
};

/// How long after it was received an event may not be in its hour yet: that is settled after 15
/// minutes (AggregateJob).
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(20);

/// A counter whose events are added up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Only those of this arm.
    pub arm: u64,
    /// Those that were received later are added up apart,
    pub through: DateTime<Utc>,
    /// and those that were received later than this.
    pub next_through: DateTime<Utc>,
}

/// What the events of a counter add up to, voided ones left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    /// All that are there.
    pub all: Decimal,
    /// Those later than [`Wanted::through`].
    pub since: Decimal,
    /// Those later than [`Wanted::next_through`].
    pub since_next: Decimal,
}

/// An hour as its events say.
#[derive(Debug, Clone)]
pub(crate) struct TrueHour {
    /// Its start.
    pub start: DateTime<Utc>,
    /// Its quarters; of one without events there is none.
    pub quarters: [Option<Quarter>; QUARTERS],
    /// Whether one of its events is voided.
    pub voided: bool,
    /// Whether one of its events is so young that it may not be in what is stored.
    pub young: bool,
}

/// What a pass over the events of a metric found.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By the sort keys of the counters.
    pub sums: HashMap<String, Sum>,
    /// The hours that were asked for, in order.
    pub hours: Vec<TrueHour>,
}

/// Which hours are asked for, and what was seen of the present one.
struct Hours {
    kind: Kind,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    open: Vec<Row>,
    start: Option<DateTime<Utc>>,
    done: Vec<TrueHour>,
}

impl Hours {
    fn add(&mut self, row: Row) {
        let at = row.sample.at;
        let start = at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at);
        if self.start != Some(start) {
            self.close();
            self.start = Some(start);
        }
        self.open.push(row);
    }

    /// Ends the present hour. It is kept if something came into it, or may have been taken back,
    /// since the instant asked for, and none of its events is about to expire.
    fn close(&mut self) {
        let rows = std::mem::take(&mut self.open);
        let received = || rows.iter().map(|row| row.received_at);
        let (Some(start), Some(first), Some(last)) = (self.start, received().min(), received().max()) else {
            return;
        };
        let voided = rows.iter().any(|row| row.voided);
        if self.now >= first + FINAL_AFTER || (last < self.since && !voided) {
            return;
        }
        let quarter = |index: usize| {
            let quarter = hour::computed(self.kind, &rows, quarter_of(start, index));
            (quarter.revisions > 0).then_some(quarter)
        };
        self.done.push(TrueHour {
            start,
            quarters: std::array::from_fn(quarter),
            voided,
            young: last > self.now - SETTLED_AFTER,
        });
    }
}

impl Store {
    /// Goes over all events of a metric. `since` is from when on changed hours are asked for;
    /// `events_left` says how many events may still be read, and is reduced by those that were. None
    /// if they were too few.
    pub(crate) async fn tally(
        &self,
        series: &Series,
        wanted: &HashMap<String, Wanted>,
        since: DateTime<Utc>,
        events_left: &mut usize,
    ) -> Result<Option<Tally>, StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.tables.events)
            .index_name("by_time")
            .key_condition_expression("ix_pk = :pk")
            .expression_attribute_values(":pk", s(series.owner.events_ix_pk(&series.metric_type)))
            .projection_expression("ix_sk, v, rev, flags, response_time_ms, received_at, applied, #counter, arm")
            .expression_attribute_names("#counter", "counter")
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .into_paginator()
            .send();
        let mut hours = Hours {
            kind: series.kind(),
            since,
            now: self.context.now(),
            open: Vec::new(),
            start: None,
            done: Vec::new(),
        };
        let mut sums = HashMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("tally", error))?;
            for item in page.items() {
                let Some(left) = events_left.checked_sub(1) else {
                    return Ok(None);
                };
                *events_left = left;
                hours.add(self.tally_one(series, item, wanted, &mut sums)?);
            }
        }
        hours.close();
        let hours = hours.done;
        Ok(Some(Tally { sums, hours }))
    }

    fn tally_one(
        &self,
        series: &Series,
        item: &Item,
        wanted: &HashMap<String, Wanted>,
        sums: &mut HashMap<String, Sum>,
    ) -> Result<Row, StoreError> {
        let read = Reader::new(item, "event");
        let row = hour::row(&read, series.gauge)?;
        let counter = read.text_opt("counter")?;
        let Some((counter, wanted)) = counter.and_then(|sk| wanted.get(&sk).map(|wanted| (sk, wanted))) else {
            return Ok(row);
        };
        if row.voided || read.integer::<u64>("arm")? != wanted.arm {
            return Ok(row);
        }
        let (sum, value) = (sums.entry(counter).or_default(), row.sample.value);
        sum.all += value;
        if row.received_at > wanted.through {
            sum.since += value;
        }
        if row.received_at > wanted.next_through {
            sum.since_next += value;
        }
        Ok(row)
    }
}
