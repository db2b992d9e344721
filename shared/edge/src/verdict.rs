//! What became of an event, as a caller is told: why it was not recorded, and where the quota
//! stands now.

use chrono::{DateTime, Utc};
use metering_domain::{metric::Kind, number::plain, period::Period};
use metering_store::{counter::Counter, event::Draft, hold::HOLDS_MAX, track::Tracked};
use rust_decimal::Decimal;

use crate::{
    App,
    answer::{Quota, retry_after},
    problem::{Code, FieldCode, FieldError, Problem},
};

/// Why a draft was not recorded; nothing if it is stored, now or before. `pointer` is where its
/// value stands in the body.
pub async fn refusal(app: &App, draft: &Draft, tracked: &Tracked, pointer: &str) -> Result<Option<Problem>, Problem> {
    Ok(Some(match tracked {
        Tracked::Recorded(..) | Tracked::Duplicate(..) => return Ok(None),
        Tracked::Denied(counter) => denied(app, draft, counter).await?,
        Tracked::OtherFingerprint(_) => Problem::new(
            Code::IdempotencyConflict,
            "The idempotency key belongs to an event with another metric, value, mode or subscription.",
        ),
        Tracked::BelowZero(level) => {
            let error = FieldError {
                pointer: pointer.to_owned(),
                code: FieldCode::OutOfRange,
                detail: "takes the level below 0".to_owned(),
            };
            Problem::new(Code::BelowZero, format!("The level would be {}.", plain(*level))).with_error(error)
        }
        Tracked::UnknownSubscription => Problem::not_found("subscription"),
        Tracked::Inactive => Problem::new(
            Code::SubscriptionInactive,
            "The user has no active subscription for enforced usage.",
        ),
        Tracked::Erased => Problem::erased(),
        Tracked::HourFinal => Problem::new(
            Code::Sealed,
            "The hour of the timestamp is final: its first event was received more than 85 days ago.",
        ),
    }))
}

/// The quota of a counter as it stands.
pub async fn quota_of(app: &App, counter: &Counter, now: DateTime<Utc>) -> Result<Quota, Problem> {
    Ok(Quota::of(counter, present_period(app, counter, now).await?, now))
}

/// Why a draft does not fit into what is left of a counter.
pub async fn denied(app: &App, draft: &Draft, counter: &Counter) -> Result<Problem, Problem> {
    let now = draft.now;
    let quota = quota_of(app, counter, now).await?;
    let left = (counter.cap - counter.used - counter.held(now)).max(Decimal::ZERO);
    let detail = format!(
        "{} {} asked, {} left of {}.",
        plain(draft.value),
        counter.unit,
        plain(left),
        plain(counter.cap)
    );
    Ok(Problem::new(Code::QuotaExceeded, detail)
        .with_quota(quota.body()?)
        .with_headers(quota.rate_limit(now))
        .with_headers(quota.retry_after(now)))
}

/// Why a counter takes no further hold, however much is left.
pub async fn too_many_holds(app: &App, counter: &Counter, now: DateTime<Utc>) -> Result<Problem, Problem> {
    let quota = quota_of(app, counter, now).await?;
    let detail = format!(
        "{HOLDS_MAX} reservations of {} are held already.",
        counter.key.metric_type
    );
    let next = counter.next_expiry(now).unwrap_or(now);
    Ok(Problem::new(Code::TooManyHolds, detail)
        .with_quota(quota.body()?)
        .with_headers(quota.rate_limit(now))
        .with_headers(retry_after(next, now)))
}

/// A sum's counter has its period; a standing one is shown in the present period.
async fn present_period(app: &App, counter: &Counter, now: DateTime<Utc>) -> Result<Period, Problem> {
    if counter.kind == Kind::Sum {
        return Ok(counter.period);
    }
    let target = app
        .store
        .subscription_resolve(&counter.user_id, Some(&counter.subscription_id), false, now)
        .await?;
    target.map_or(Ok(counter.period), |target| Ok(target.period_at(now)?))
}
