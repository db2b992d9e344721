//! What one HTTP call may cost in the store, with warm caches and items below 1 KB. Asserted over
//! whole calls on a real engine by `tests/budgets.rs`; `COST.md` is computed from it.

/// What a call may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests to the store.
    pub requests: usize,
    /// Write request units: one for each KB that is written, twice that in a transaction.
    pub write_units: u32,
    /// Read request units: one for each 4 KB that is read strongly, half that otherwise.
    pub read_units: u32,
}

const fn budget(requests: usize, write_units: u32, read_units: u32) -> Budget {
    Budget {
        requests,
        write_units,
        read_units,
    }
}

/// `track` of an event without identity.
pub const TRACK: Budget = budget(2, 3, 0);
/// `track` with an idempotency key.
pub const TRACK_IDENTIFIED: Budget = budget(3, 3, 1);
/// The same again.
pub const DUPLICATE: Budget = budget(2, 0, 2);
/// `track` of what the quota refuses.
pub const DENIED: Budget = budget(3, 1, 2);
/// `check-quota`.
pub const CHECK_QUOTA: Budget = budget(1, 0, 1);
/// `summary` of a user with few counters.
pub const SUMMARY: Budget = budget(2, 0, 2);
/// `track/batch` of [`BATCH_EVENTS`] events with identities on one counter: 2.1 units an event.
pub const BATCH: Budget = budget(255, 525, 250);
/// The same batch again.
pub const BATCH_AGAIN: Budget = budget(3, 0, 250);
/// How many events that batch holds.
pub const BATCH_EVENTS: u32 = 250;
/// A reservation and its commit: two calls.
pub const RESERVE_AND_COMMIT: Budget = budget(5, 8, 0);
/// What the stream tells of one event: its hour is asked for.
pub const RELAY_EVENT: Budget = budget(1, 0, 3);
/// What the stream tells of one counter: its thresholds are judged.
pub const RELAY_COUNTER: Budget = budget(1, 0, 3);
/// An hour with few events, and its day, computed again.
pub const AGGREGATE: Budget = budget(6, 2, 5);
/// A series with few hours, looked at for anomalies.
pub const LOOK: Budget = budget(6, 0, 5);
/// One that is used at all hours of a month.
pub const LOOK_AT_A_MONTH: Budget = budget(11, 0, 165);
/// `aggregations` of 30 days in UTC.
pub const AGGREGATIONS: Budget = budget(1, 0, 2);
/// `aggregations` of 30 days in a zone whose days are put together from hours.
pub const AGGREGATIONS_OF_A_ZONE: Budget = budget(6, 0, 20);
/// `trends` of 30 days.
pub const TREND: Budget = budget(1, 0, 2);
