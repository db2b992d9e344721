//! Looks at series whose usage changed, and records what is unusual about their last two days.
//!
//! Each is judged by the thirty days before. Delivered twice, or two at once: what was found has one record,
//! whoever finds it. Dies half-way: its messages come again, and what is recorded already stays. Who is told follows
//! from the records, see the relay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use metering_edge::{
    App,
    anomaly::{Subject, look, record},
    config::ConfigError,
    lambda::Invoke,
    message::SeriesChanged,
    queue::{self, Message},
};
use metering_store::{hour::Series, keys::Owner};

/// How far back a series is judged by.
const DAYS: u32 = 30;
/// What ended before that was looked at before, or came too late to alarm anybody; who asks still finds it.
const NEWS: TimeDelta = TimeDelta::hours(48);
/// Series that are looked at at once.
const WIDTH: usize = 4;
/// So long hours are waited for that are behind their events.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(1_000),
    Duration::from_millis(4_000),
];
/// After so many deliveries it is judged by the hours there are.
const DELIVERIES_MAX: u32 = 4;
/// The second delivery follows so many seconds after the first, each further one after twice as long,
const BACK_OFF_FIRST_S: i32 = 15;
/// and after this at most.
const BACK_OFF_MOST_S: i32 = 900;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What it works with.
struct Job {
    app: Arc<App>,
    queue_url: String,
}

/// The function.
pub fn handler(app: Arc<App>) -> Result<Invoke, ConfigError> {
    let job = Arc::new(Job {
        queue_url: app.config.anomaly_queue_url()?,
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
        let (asked, mut again) = gather(&messages);
        // Of an erased user nothing is judged any more, whatever still asks for it.
        let users = asked.keys().map(|changed| changed.user_id.clone()).collect();
        let erased = self.app.store.erased_among(users).await?;
        let living = asked
            .into_iter()
            .filter(|(changed, _)| !erased.contains(&changed.user_id));
        let now = self.app.context.now();
        let failed = stream::iter(living).map(|(changed, asking)| {
            let deliveries = asking.iter().map(|index| messages[*index].receive_count).max();
            self.series(changed, asking, deliveries.unwrap_or(1), now)
        });
        again.extend(
            failed
                .buffer_unordered(WIDTH)
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .flatten(),
        );
        let mut ids = Vec::new();
        for index in again {
            let (client, message) = (&self.app.sqs, &messages[index]);
            queue::back_off(client, &self.queue_url, message, BACK_OFF_FIRST_S, BACK_OFF_MOST_S).await;
            ids.push(message.id.clone());
        }
        Ok(queue::answer(ids)?)
    }

    /// Looks at a series; the messages that must come again if that failed.
    async fn series(
        &self,
        changed: SeriesChanged,
        asking: BTreeSet<usize>,
        deliveries: u32,
        now: DateTime<Utc>,
    ) -> BTreeSet<usize> {
        match self.judge(&changed, deliveries, now).await {
            Ok(()) => BTreeSet::new(),
            Err(error) => {
                let error: &dyn std::error::Error = &*error;
                let metric_type = changed.metric_type.as_str();
                tracing::error!(error, metric_type, "a series could not be judged");
                asking
            }
        }
    }

    /// Waits until the hours say what the events do: what is half computed looks like a drop.
    async fn settled(&self, series: &Series, deliveries: u32, now: DateTime<Utc>) -> Result<(), Failure> {
        let since = now - TimeDelta::days(i64::from(DAYS));
        for pause in LOOKS {
            if !self.app.store.series_is_behind(series, since, now).await? {
                return Ok(());
            }
            self.app.context.sleep(pause).await;
        }
        if deliveries < DELIVERIES_MAX && self.app.store.series_is_behind(series, since, now).await? {
            return Err("its hours are behind its events".into());
        }
        Ok(())
    }

    async fn judge(&self, changed: &SeriesChanged, deliveries: u32, now: DateTime<Utc>) -> Result<(), Failure> {
        let owner = Owner::parse(&changed.owner).ok_or("the message names no owner")?;
        let store = &self.app.store;
        let subscription = Some(owner.subscription_id());
        let found = store
            .subscription_resolve(&changed.user_id, subscription, false, now)
            .await?;
        // Erased since.
        let Some(target) = found else { return Ok(()) };
        let subject = Subject {
            user_id: changed.user_id.clone(),
            series: Series {
                owner,
                metric_type: changed.metric_type.clone(),
                gauge: changed.gauge,
            },
            zone: target.timeline.zone(),
        };
        self.settled(&subject.series, deliveries, now).await?;
        let detected = look(&self.app, &subject, DAYS, now).await?;
        let news = detected.findings.into_iter();
        let news = news.filter(|finding| finding.window.end > now - NEWS).collect();
        record(&self.app, &subject, news, now).await?;
        Ok(())
    }
}

/// The series that messages ask for, each once, and the messages that cannot be read.
fn gather(messages: &[Message]) -> (BTreeMap<SeriesChanged, BTreeSet<usize>>, BTreeSet<usize>) {
    let mut asked: BTreeMap<SeriesChanged, BTreeSet<usize>> = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        match serde_json::from_str::<SeriesChanged>(&message.body) {
            Ok(changed) => {
                asked.entry(changed).or_default().insert(index);
            }
            Err(_) => {
                tracing::error!(message_id = message.id, "a message names no series");
                unreadable.insert(index);
            }
        }
    }
    (asked, unreadable)
}
