//! The same around any future: for work that is no request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    api::Commit,
    enforce::Demand,
    metering::{Caller, Metering},
    record::Record,
    refusal::Refusal,
    sender::Handed,
    types::Quantity,
    usage::Usage,
};

/// Why guarded work has no result.
#[derive(Debug, thiserror::Error)]
pub enum Guarded<E> {
    /// It was not begun.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It failed by itself.
    #[error("the work failed")]
    Failed(E),
}

/// Says how much was really used, where that is known only afterwards. Of a request it is found in
/// its extensions.
#[derive(Debug, Clone, Default)]
pub struct Used(Arc<Mutex<Vec<(String, Quantity)>>>);

impl Used {
    /// So much of a metric was used.
    pub fn set(&self, metric: impl Into<String>, quantity: impl Into<Quantity>) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (metric, quantity) = (metric.into(), quantity.into());
        said.retain(|(name, _)| *name != metric);
        said.push((metric, quantity));
    }

    /// What was said of a metric.
    pub(crate) fn of(&self, metric: &str) -> Option<Quantity> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter()
            .find(|(name, _)| name == metric)
            .map(|(_, quantity)| *quantity)
    }
}

impl Metering {
    /// Runs work if the quota has room for it at this moment. Nothing is counted.
    pub async fn check<T, E>(
        &self,
        caller: &Caller,
        metric: &str,
        quantity: impl Into<Quantity>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Guarded<E>> {
        self.check_now(&demand(caller, metric, quantity.into())).await?;
        work.await.map_err(Guarded::Failed)
    }

    /// Counts usage if the quota has room for it, then runs the work. It stays counted if the work
    /// fails: where that must not be, reserve.
    pub async fn consume<T, E>(
        &self,
        caller: &Caller,
        metric: &str,
        quantity: impl Into<Quantity>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Guarded<E>> {
        let demand = demand(caller, metric, quantity.into());
        let usage = demand.usage(demand.quantity);
        self.consume_now(&demand, usage).await?;
        work.await.map_err(Guarded::Failed)
    }

    /// Holds a quantity, runs the work, and counts what it says that it used ([`Used`]), else what
    /// was held. What fails, panics or is dropped gives the hold back, in the background.
    pub async fn reserve<T, E, W: Future<Output = Result<T, E>>>(
        &self,
        caller: &Caller,
        metric: &str,
        quantity: impl Into<Quantity>,
        work: impl FnOnce(Used) -> W,
    ) -> Result<T, Guarded<E>> {
        let hold = self.reserve_now(demand(caller, metric, quantity.into())).await?;
        let (used, started) = (Used::default(), Instant::now());
        let done = work(used.clone()).await.map_err(Guarded::Failed)?;
        hold.commit(Commit {
            quantity: used.of(metric),
            response_time_ms: Some(milliseconds(started)),
            ..Commit::default()
        });
        Ok(done)
    }

    /// Runs work and counts it once it has succeeded, with how long it took. What fails, panics or is
    /// dropped is not counted.
    pub async fn track<T, E>(
        &self,
        caller: &Caller,
        metric: &str,
        quantity: impl Into<Quantity>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let demand = demand(caller, metric, quantity.into());
        self.after(work, || demand.usage(demand.quantity)).await
    }

    /// Counts a processed document, and its pages if they are given, once the work has succeeded.
    pub async fn track_document_processing<T, E>(
        &self,
        caller: &Caller,
        document: &str,
        pages: Option<u32>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let demand = demand(caller, "document_processing", Quantity::ONE);
        self.after(work, || {
            let usage = demand.usage(Quantity::ONE).resource(document);
            match pages {
                Some(pages) => usage.with("pages", pages),
                None => usage,
            }
        })
        .await
    }

    /// Changes the level of stored gigabytes by so much once the work has succeeded.
    pub async fn track_storage_usage<T, E>(
        &self,
        caller: &Caller,
        change: impl Into<Quantity>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let demand = demand(caller, "storage_usage", change.into());
        self.after(work, || demand.usage(demand.quantity).delta()).await
    }

    async fn after<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
        usage: impl FnOnce() -> Usage,
    ) -> Result<T, E> {
        let started = Instant::now();
        let done = work.await?;
        let mut usage = usage();
        usage.response_time_ms = Some(milliseconds(started));
        // A full queue is waited for: the work is done, and nobody is kept but whoever did it.
        match self.sender.permit().await {
            Ok(permit) => permit.hand(Handed::One(Box::new(Record::track(usage)))),
            Err(error) => tracing::error!(%error, ?usage, "work that was done is not counted"),
        }
        Ok(done)
    }
}

fn demand(caller: &Caller, metric: &str, quantity: Quantity) -> Demand {
    Demand {
        caller: caller.clone(),
        metric: metric.into(),
        quantity,
        ttl_seconds: None,
    }
}

/// Since an instant, at most a day, which is as much as the service takes.
pub(crate) fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .min(86_400_000)
}
