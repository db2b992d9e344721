//! The clock, waiting and chance: the one place in this crate that asks the machine for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The present instant, to the millisecond, which is what the service keeps.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate runs in other services, which have no Context"
)]
pub(crate) fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}

/// A new identity; later ones sort after earlier ones.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate runs in other services, which have no Context"
)]
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// Waits.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate runs in other services, which have no Context"
)]
pub(crate) async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Something between nothing and `most`, so that those who failed together do not come back together.
pub(crate) fn up_to(most: Duration) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(fastrand::u64(0..=micros))
}
