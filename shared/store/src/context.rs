//! The one place for what a program cannot compute: the time, randomness and waiting.
//!
//! Everything that needs one of them takes a [`Context`], so that tests and the local stack can
//! move the clock, seed the randomness and skip the waiting. It knows nothing of AWS or HTTP.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};

/// A pause that ends by itself.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time, randomness and waiting come from.
pub trait Source: Send + Sync {
    /// The present instant.
    fn now(&self) -> DateTime<Utc>;
    /// 128 random bits; unpredictable in production, since event ids and secrets use them.
    fn random(&self) -> u128;
    /// Waits.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The source in production: the machine's clock, its random generator and the tokio timer.
#[derive(Debug, Default, Clone, Copy)]
pub struct System;

impl Source for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
    fn random(&self) -> u128 {
        rand::random()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that waits")]
    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A shared handle to a [`Source`].
#[derive(Clone)]
pub struct Context(Arc<dyn Source>);

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// A context over `source`.
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self(source)
    }

    /// The context of production, see [`System`].
    pub fn system() -> Self {
        Self::new(Arc::new(System))
    }

    /// The present instant, in whole milliseconds: the precision of everything stored.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now().trunc_subsecs(3)
    }

    /// 128 random bits.
    pub fn random(&self) -> u128 {
        self.0.random()
    }

    /// A fresh id: `prefix`, `_` and a UUID version 7 (RFC 9562), so that ids sort by creation.
    pub fn id(&self, prefix: &str) -> String {
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or(0);
        let random = self.random().to_be_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&random[..10]);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
        format!("{prefix}_{}", id.simple())
    }

    /// A fresh name for one send of a count: 64 random bits as 16 hexadecimal digits.
    pub fn attempt(&self) -> String {
        format!("{:016x}", self.random() >> 64)
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    /// Waits between nothing and `base × 2^turn`, at most `ceiling`: "full jitter" of the AWS
    /// Builders' Library, which spreads competing writers best.
    pub async fn back_off(&self, turn: u32, base: Duration, ceiling: Duration) {
        let most = base.saturating_mul(1 << turn.min(16)).min(ceiling);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        let drawn = u64::try_from(self.random() % u128::from(micros)).unwrap_or(0);
        self.sleep(Duration::from_micros(drawn)).await;
    }
}
