//! Quantities that are held before the work.

use serde::{Deserialize, Serialize};

use super::{Instant, Metadata, Quantity, ReservationStatus};

/// A held quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reservation {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Of which subscription; `none` is the unlimited one of a user who has no other.
    pub subscription_id: String,
    /// The metric.
    pub metric_type: String,
    /// How much is held.
    pub quantity: Quantity,
    /// Its unit.
    pub unit: String,
    /// Its state.
    pub status: ReservationStatus,
    /// When it was made.
    pub created_at: Instant,
    /// When it stops holding.
    pub expires_at: Instant,
    /// What was used.
    pub committed_quantity: Option<Quantity>,
    /// The event of a commit.
    pub usage_id: Option<String>,
    /// The commit passed the cap.
    pub over_limit: bool,
    /// It had been committed before this request.
    pub duplicate: bool,
    /// What it was about.
    pub resource_id: Option<String>,
    /// At most 512 bytes as compact JSON.
    pub metadata: Metadata,
}
