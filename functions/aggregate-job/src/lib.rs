//! Computes the hours and days of usage again that changed, and judges rates by them.
//!
//! Delivered twice, or in any order: it computes from what is stored. Dies half-way: its messages
//! come again. An event that the index does not show yet: its message comes back, sooner at first.
//! Each hour is computed once more a quarter of an hour after it changed, and its series is looked at for anomalies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use metering_edge::{
    App,
    config::ConfigError,
    lambda::Invoke,
    message::{HourChanged, SeriesChanged},
    queue::{self, Message},
};
use metering_store::{
    hour::{Hour, Series, Wanted},
    keys::Owner,
    notification::CustomThreshold,
};

/// A series is looked at so many seconds after its hours, that those of other batches are there, too.
const LATER_S: i32 = 60;
/// Hours that are computed at once.
const WIDTH: usize = 8;
/// How long after a change an hour is computed once more: the longest that a message may wait.
const SETTLE: TimeDelta = TimeDelta::minutes(15);
/// An index is behind for milliseconds, as a rule: so long is waited for it at first.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(1_000),
];
/// The second delivery follows so many seconds after the first, each further one after twice as long,
const BACK_OFF_FIRST_S: i32 = 2;
/// and after this at most.
const BACK_OFF_MOST_S: i32 = 120;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
struct Job {
    app: Arc<App>,
    queue_url: String,
    anomaly_queue_url: String,
}

/// An hour, and the messages that ask for it.
struct Asked {
    series: Series,
    user_id: String,
    hour: DateTime<Utc>,
    wanted: Vec<Wanted>,
    messages: Vec<usize>,
    /// Whether some message asks for all of it.
    whole: bool,
}

impl Asked {
    fn changed(&self) -> SeriesChanged {
        SeriesChanged {
            owner: self.series.owner.pk(),
            user_id: self.user_id.clone(),
            metric_type: self.series.metric_type.clone(),
            gauge: self.series.gauge,
        }
    }
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        queue_url: app.config.aggregation_queue_url()?,
        anomaly_queue_url: app.config.anomaly_queue_url()?,
        app,
    });
    Ok(Arc::new(move |event| {
        let job = Arc::clone(&job);
        Box::pin(async move { job.run(&event).await.map_err(|error| error.to_string()) })
    }))
}

impl Job {
    async fn run(&self, event: &str) -> Result<String, Failure> {
        let messages = queue::messages(event)?;
        let (mut asked, mut again) = gather(&messages);
        // Of an erased user nothing is computed any more, whatever still asks for it.
        let users = asked.iter().map(|one| one.user_id.clone()).collect();
        let erased = self.app.store.erased_among(users).await?;
        asked.retain(|one| !erased.contains(&one.user_id));
        let watched = self.rates(&asked).await;
        let outcomes = stream::iter(asked)
            .map(|asked| self.hour(asked, &watched))
            .buffer_unordered(WIDTH);
        let mut days: BTreeMap<(Series, DateTime<Utc>), BTreeSet<usize>> = BTreeMap::new();
        let mut settled: BTreeMap<SeriesChanged, BTreeSet<usize>> = BTreeMap::new();
        for (asked, done) in outcomes.collect::<Vec<_>>().await {
            // An hour that is computed once more has settled: what is judged by it stays.
            if done && asked.wanted.is_empty() {
                let asking = asked.messages.iter().copied();
                settled.entry(asked.changed()).or_default().extend(asking);
            }
            if !done {
                again.extend(asked.messages.iter().copied());
            }
            let day = days.entry((asked.series, day_of(asked.hour))).or_default();
            day.extend(asked.messages);
        }
        let days = stream::iter(days).map(|((series, day), asking)| self.day(series, day, asking));
        let failed: Vec<BTreeSet<usize>> = days.buffer_unordered(WIDTH).collect().await;
        again.extend(failed.into_iter().flatten());
        // Last, so that whoever looks finds all of this batch.
        again.extend(self.look_for_anomalies(settled).await);
        let mut ids = Vec::new();
        for index in again {
            let (client, message) = (&self.app.sqs, &messages[index]);
            queue::back_off(client, &self.queue_url, message, BACK_OFF_FIRST_S, BACK_OFF_MOST_S).await;
            ids.push(message.id.clone());
        }
        Ok(queue::answer(ids)?)
    }

    /// The rates that are watched of each series; of one that could not be read there are none here.
    async fn rates(&self, asked: &[Asked]) -> BTreeMap<Series, Vec<CustomThreshold>> {
        let series: BTreeMap<Series, String> = asked
            .iter()
            .map(|one| (one.series.clone(), one.user_id.clone()))
            .collect();
        let reads = stream::iter(series).map(|(series, user)| self.rates_of(series, user));
        let read: Vec<_> = reads.buffer_unordered(WIDTH).collect().await;
        read.into_iter().flatten().collect()
    }

    async fn rates_of(&self, series: Series, user_id: String) -> Option<(Series, Vec<CustomThreshold>)> {
        let read = self.app.store.rates_watched(&series, &user_id).await;
        let rates = read.inspect_err(|error| log(error, &series)).ok()?;
        Some((series, rates))
    }

    /// Computes an hour; whether all that was asked for is in it.
    async fn hour(&self, asked: Asked, watched: &BTreeMap<Series, Vec<CustomThreshold>>) -> (Asked, bool) {
        let Some(rates) = watched.get(&asked.series) else {
            return (asked, false);
        };
        let done = self.compute(&asked, rates).await.unwrap_or_else(|error| {
            log(&*error, &asked.series);
            false
        });
        (asked, done)
    }

    async fn compute(&self, asked: &Asked, rates: &[CustomThreshold]) -> Result<bool, Failure> {
        let store = &self.app.store;
        let hour = store.hour_get(&asked.series, asked.hour).await?;
        let settle_at = self.settle_later(asked, &hour).await?;
        // Of an hour that began before a rate was watched, it matters what was received since.
        let whole = asked.whole || rates.iter().any(|rate| asked.hour < rate.since);
        for look in 0.. {
            let wanted = &asked.wanted;
            let computed = store
                .hour_compute(&asked.series, &hour, wanted, whole, settle_at)
                .await?;
            store
                .rates_judge(&asked.series, &asked.user_id, asked.hour, rates, &computed)
                .await?;
            match LOOKS.get(look) {
                _ if computed.complete => return Ok(true),
                Some(pause) => self.app.context.sleep(*pause).await,
                None => break,
            }
        }
        Ok(false)
    }

    /// Arranges that an hour is computed once more, unless that is arranged already; when.
    async fn settle_later(&self, asked: &Asked, hour: &Hour) -> Result<Option<DateTime<Utc>>, Failure> {
        let now = self.app.context.now();
        if asked.wanted.is_empty() || hour.settle_at.is_some_and(|at| at > now) {
            return Ok(None);
        }
        let message = HourChanged {
            owner: asked.series.owner.pk(),
            user_id: asked.user_id.clone(),
            metric_type: asked.series.metric_type.clone(),
            gauge: asked.series.gauge,
            hour: asked.hour,
            events: Vec::new(),
        };
        let delay = i32::try_from(SETTLE.num_seconds())?;
        let body = serde_json::to_string(&message)?;
        let send = self.app.sqs.send_message().queue_url(&self.queue_url);
        send.message_body(body).delay_seconds(delay).send().await?;
        Ok(Some(now + SETTLE))
    }

    /// Has series looked at whose hours have settled; the messages that must come again if that failed.
    async fn look_for_anomalies(&self, settled: BTreeMap<SeriesChanged, BTreeSet<usize>>) -> BTreeSet<usize> {
        let mut again = BTreeSet::new();
        for (changed, asking) in settled {
            if let Err(error) = self.send_series(&changed).await {
                let error: &dyn std::error::Error = &*error;
                tracing::error!(error, "a series could not be passed on");
                again.extend(asking);
            }
        }
        again
    }

    async fn send_series(&self, changed: &SeriesChanged) -> Result<(), Failure> {
        let send = self.app.sqs.send_message().queue_url(&self.anomaly_queue_url);
        let body = serde_json::to_string(changed)?;
        send.message_body(body).delay_seconds(LATER_S).send().await?;
        Ok(())
    }

    /// Adds up a day; the messages that must come again if that failed.
    async fn day(&self, series: Series, day: DateTime<Utc>, asking: BTreeSet<usize>) -> BTreeSet<usize> {
        match self.app.store.day_compute(&series, day).await {
            Ok(()) => BTreeSet::new(),
            Err(error) => {
                log(&error, &series);
                asking
            }
        }
    }
}

fn log(error: &(dyn std::error::Error + 'static), series: &Series) {
    let metric_type = series.metric_type.as_str();
    tracing::error!(error, metric_type, "usage could not be aggregated");
}

fn day_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc()
}

/// The hours that messages ask for, and the messages that cannot be read.
fn gather(messages: &[Message]) -> (Vec<Asked>, BTreeSet<usize>) {
    let mut asked: BTreeMap<(String, String, DateTime<Utc>), Asked> = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        let parsed = serde_json::from_str::<HourChanged>(&message.body).ok();
        let parsed = parsed.and_then(|changed| Owner::parse(&changed.owner).map(|owner| (changed, owner)));
        let Some((changed, owner)) = parsed else {
            tracing::error!(message_id = message.id, "a message names no hour");
            unreadable.insert(index);
            continue;
        };
        let key = (changed.owner, changed.metric_type.clone(), changed.hour);
        let one = asked.entry(key).or_insert_with(|| Asked {
            series: Series {
                owner,
                metric_type: changed.metric_type,
                gauge: changed.gauge,
            },
            user_id: changed.user_id,
            hour: changed.hour,
            wanted: Vec::new(),
            messages: Vec::new(),
            whole: false,
        });
        one.whole |= changed.events.is_empty();
        one.messages.push(index);
        one.wanted.extend(changed.events.into_iter().map(|event| Wanted {
            id: event.id,
            at: event.at,
            rev: event.rev,
            received_at: event.received_at,
        }));
    }
    (asked.into_values().collect(), unreadable)
}
