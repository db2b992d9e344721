//! What became of an event, as a caller is told: why it was not recorded, and where the quota
//! stands now.

use chrono::{DateTime, Utc};
use metering_domain::{metric::Kind, number::plain, period::Period};
use metering_store::{counter::Counter, event::Draft, track::Tracked};
use rust_decimal::Decimal;

use crate::{
    App,
    answer::Quota,
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

async fn denied(app: &App, draft: &Draft, counter: &Counter) -> Result<Problem, Problem> {
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
