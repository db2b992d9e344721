//! Subscriptions as requests and events describe them: the same words, read and understood alike.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use metering_domain::{
    metric::Metric,
    period::{PeriodLength, Schedule, Timeline},
    plan::Override,
};
use metering_store::{
    Store, StoreError, account::Status, configuration::Limits, metric::Catalogue, plan::Version,
    subscription::Subscription,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{
    App,
    fields::{Fault, Fields},
    problem::{FieldCode, FieldError},
    read,
};

/// A subscription to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id, if it is given one.
    pub id: Option<String>,
    /// Whose it is.
    pub user_id: String,
    /// Its plan, in the newest version.
    pub plan: Version,
    /// How its periods run.
    pub periods: Periods,
    /// When it starts; none: now.
    pub starts_at: Option<DateTime<Utc>>,
}

/// How periods run, as far as it is said.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    timezone: Option<Tz>,
    billing_anchor: Option<DateTime<Utc>>,
    period_length: Option<PeriodLength>,
}

impl Periods {
    /// Reads `timezone`, `billing_anchor` and `period_length`.
    pub fn read(fields: &mut Fields) -> Self {
        Self {
            timezone: fields.optional("timezone", read::timezone),
            billing_anchor: fields.optional("billing_anchor", read::instant),
            period_length: fields.optional(
                "period_length",
                read::one_of(&["day", "week", "month", "year"], PeriodLength::parse),
            ),
        }
    }

    fn schedule(&self, starts_at: DateTime<Utc>) -> Schedule {
        let zone = self.timezone.unwrap_or(Tz::UTC);
        let length = self.period_length.unwrap_or(PeriodLength::Month);
        match self.billing_anchor {
            Some(anchor) => Schedule::new(zone, anchor, length),
            None => Schedule::calendar(zone, length, starts_at),
        }
    }
}

impl Wanted {
    /// What must agree when the same subscription is created again.
    pub fn created_as(&self) -> String {
        let periods = &self.periods;
        json!([
            self.user_id,
            self.plan.plan.id,
            periods.timezone.map(|zone| zone.name()),
            periods.billing_anchor.map(|at| at.timestamp_millis()),
            periods.period_length.map(PeriodLength::as_str),
            self.starts_at.map(|at| at.timestamp_millis()),
        ])
        .to_string()
    }

    /// The subscription as it is at its creation.
    pub fn subscription(&self, app: &App, now: DateTime<Utc>) -> Subscription {
        let starts_at = self.starts_at.unwrap_or(now);
        Subscription {
            id: self.id.clone().unwrap_or_else(|| app.context.id("sub")),
            user_id: self.user_id.clone(),
            timeline: Timeline::new(self.periods.schedule(starts_at), []),
            starts_at,
            status: Status::Active,
            created_at: now,
            cancel_at: None,
            cancelled_at: None,
            sealing: Vec::new(),
            billed_until: None,
            seen_at: None,
            configuration: Store::subscription_limits(&self.plan, now),
            created_as: self.created_as(),
        }
    }
}

/// The plan that fields may name: the one they name, or all if there is no such plan.
pub async fn plans_for(app: &App, fields: &Fields) -> Result<Vec<Version>, StoreError> {
    if let Some(id) = fields.text_of("plan")
        && let Some(plan) = app.store.plan_get(id).await?
    {
        return Ok(vec![plan]);
    }
    app.store.plan_list().await
}

/// A plan, by its id.
pub fn known_plan(plans: &[Version]) -> impl Fn(&Value) -> Result<Version, Fault> {
    |value| {
        let known = plans
            .iter()
            .find(|known| Some(known.plan.id.as_str()) == value.as_str());
        known.cloned().ok_or_else(|| {
            let known: Vec<&str> = plans.iter().map(|known| known.plan.id.as_str()).collect();
            Fault::new(FieldCode::UnknownValue, format!("must be one of {}", known.join(", ")))
        })
    }
}

/// The limits of who moves to a plan. Who is on it already does not move: an edit binds at the next
/// period.
pub fn moved_to(before: &Limits, plan: &Version, now: DateTime<Utc>) -> Limits {
    if before.plan.as_ref() == Some(&plan.plan.id) {
        before.clone()
    } else {
        before.on(plan, now)
    }
}

/// The fields of an override; what is left out is the plan's.
pub fn read_override(fields: &mut Fields) -> Override {
    Override {
        quota_limit: fields.nullable("quota_limit", read::quantity(Decimal::ZERO)),
        allow_overage: fields.optional("allow_overage", read::boolean),
        overage_limit: fields.nullable("overage_limit", read::quantity(Decimal::ZERO)),
        overage_price: fields.nullable("overage_price", read::quantity(Decimal::ZERO)),
        block_size: fields.nullable("block_size", read::positive),
    }
}

/// Reads `limits`: of some metrics a limit, null for none, or the fields of an override.
pub fn read_limits(fields: &mut Fields, metrics: &Catalogue) -> BTreeMap<String, Override> {
    let mut overrides = BTreeMap::new();
    let object = |value: &Value| {
        let object = value.as_object().cloned();
        object.ok_or_else(|| Fault::new(FieldCode::WrongType, "must be an object"))
    };
    let Some(limits) = fields.optional("limits", object) else {
        return overrides;
    };
    let known = read::metric(metrics);
    for (name, value) in limits {
        let metric: Result<Metric, Fault> = known(&Value::String(name.clone()));
        let place = format!("limits/{name}");
        let own = match (metric, &value) {
            (Err(Fault(code, detail)), _) => Err((code, detail)),
            (Ok(_), Value::Object(_)) => {
                let Ok(mut inner) = Fields::object(value.clone(), &format!("/{place}")) else {
                    continue;
                };
                let own = read_override(&mut inner);
                fields.note(inner.faults());
                Ok(own)
            }
            (Ok(_), limit) => read_limit(limit).map_err(|Fault(code, detail)| (code, detail)),
        };
        match own {
            Ok(own) => drop(overrides.insert(name, own)),
            Err((code, detail)) => fields.note(vec![FieldError {
                pointer: format!("/{place}"),
                code,
                detail,
            }]),
        }
    }
    overrides
}

fn read_limit(value: &Value) -> Result<Override, Fault> {
    let limit = match value {
        Value::Null => None,
        limit => Some(read::quantity(Decimal::ZERO)(limit)?),
    };
    Ok(Override {
        quota_limit: Some(limit),
        ..Override::default()
    })
}
