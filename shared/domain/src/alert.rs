//! Says what an alert says: its type, how bad it is, what was done, and the sentences for people.
//!
//! Must not know who is told, by which channel, or how alerts are stored.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use crate::{
    metric::Kind,
    named::named,
    number::{percent, plain},
    period::Period,
    quota::{Terms, Threshold, reaches_percentage},
};

named! {
    /// What happened.
    AlertType {
        /// 80 % of a limit.
        ApproachingLimit = "approaching_limit",
        /// 90 % of a limit.
        SoftLimitReached = "soft_limit_reached",
        /// All of a limit.
        HardLimitReached = "hard_limit_reached",
        /// The first unit above a limit.
        OverageUsage = "overage_usage",
        /// A threshold that somebody set.
        CustomThreshold = "custom_threshold",
        /// An anomaly; for administrators.
        UnusualPattern = "unusual_pattern",
    }
}

named! {
    /// How bad it is.
    Severity {
        /// Good to know.
        Low = "low",
        /// A warning.
        Medium = "medium",
        /// Act soon.
        High = "high",
        /// Act now.
        Critical = "critical",
    }
}

named! {
    /// How far an alert has come; it only goes forward.
    AlertStatus {
        /// Nobody was reached yet.
        Pending = "pending",
        /// A channel accepted it.
        Sent = "sent",
        /// Somebody has seen it.
        Acknowledged = "acknowledged",
        /// It is over.
        Resolved = "resolved",
    }
}

impl AlertStatus {
    /// Whether somebody still has to look at it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Sent)
    }
}

named! {
    /// A way to reach people.
    Channel {
        /// Mail.
        Email = "email",
        /// A text message.
        Sms = "sms",
        /// A webhook endpoint.
        Webhook = "webhook",
    }
}

named! {
    /// What a custom threshold compares.
    ThresholdType {
        /// Usage as a percentage of the limit.
        Percentage = "percentage",
        /// Usage itself.
        Absolute = "absolute",
        /// What is used within one hour of UTC.
        Rate = "rate",
    }
}

named! {
    /// Whose usage a custom threshold watches.
    ThresholdScope {
        /// One user's, of all subscriptions.
        User = "user",
        /// That of one subscription.
        Subscription = "subscription",
        /// Everybody's.
        Global = "global",
    }
}

impl ThresholdType {
    /// Whether usage of a counter has reached a value. Rates are judged on hours, and percentages need a
    /// limit.
    pub fn reached(self, value: Decimal, used: Decimal, limit: Option<Decimal>) -> bool {
        match self {
            Self::Percentage => limit.is_some_and(|limit| reaches_percentage(used, limit, value)),
            Self::Absolute => used >= value,
            Self::Rate => false,
        }
    }
}

/// What a built-in threshold makes an alert.
pub fn built_in(threshold: Threshold) -> (AlertType, Severity, Decimal) {
    match threshold {
        Threshold::Soft80 => (AlertType::ApproachingLimit, Severity::Medium, Decimal::from(80)),
        Threshold::Soft90 => (AlertType::SoftLimitReached, Severity::High, Decimal::from(90)),
        Threshold::Hard100 => (AlertType::HardLimitReached, Severity::Critical, Decimal::ONE_HUNDRED),
        Threshold::Overage => (AlertType::OverageUsage, Severity::Critical, Decimal::ONE_HUNDRED),
    }
}

/// What the system does from a built-in threshold on: from the limit it charges, or where overage is not
/// allowed refuses; below it nothing.
pub fn action_taken(threshold: Threshold, kind: Kind, terms: &Terms) -> Option<&'static str> {
    match threshold {
        Threshold::Soft80 | Threshold::Soft90 => None,
        Threshold::Hard100 | Threshold::Overage if terms.quota.allow_overage => Some("charged_overage"),
        Threshold::Hard100 | Threshold::Overage => Some(match kind {
            Kind::Sum => "throttled",
            Kind::Gauge | Kind::Lease => "blocked",
        }),
    }
}

/// What an alert is about.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What happened.
    pub alert_type: AlertType,
    /// The metric, as callers name it.
    pub metric_type: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// How it counts.
    pub kind: Kind,
    /// Usage when it was judged; of a rate the hour's.
    pub used: Decimal,
    /// The custom threshold, if it is one.
    pub custom: Option<(ThresholdType, Decimal)>,
    /// The terms in force.
    pub terms: &'a Terms,
    /// The period, or of a rate the hour.
    pub period: Period,
    /// The zone in which people read times.
    pub zone: Tz,
}

impl Facts<'_> {
    /// Usage as a percentage of the limit; None without one.
    pub fn percentage(&self) -> Option<Decimal> {
        self.terms.quota.quota_limit.map(|limit| percent(self.used, limit))
    }

    /// One line: what happened.
    pub fn title(&self) -> String {
        let metric = self.metric_type;
        match (self.alert_type, self.custom) {
            (AlertType::CustomThreshold, Some((ThresholdType::Percentage, value))) => {
                format!("{} % of the {metric} quota is used", plain(value))
            }
            (AlertType::CustomThreshold, Some((ThresholdType::Rate, value))) => {
                format!("{metric}: {} {} used within an hour", plain(value), self.unit)
            }
            (AlertType::CustomThreshold, custom) => {
                let value = custom.map_or(self.used, |(_, value)| value);
                format!("{metric}: {} {} used", plain(value), self.unit)
            }
            (AlertType::ApproachingLimit, _) => format!("80 % of the {metric} quota is used"),
            (AlertType::SoftLimitReached, _) => format!("90 % of the {metric} quota is used"),
            (AlertType::HardLimitReached, _) => format!("The {metric} quota is used up"),
            (AlertType::OverageUsage, _) => format!("The {metric} quota is exceeded"),
            (AlertType::UnusualPattern, _) => format!("Unusual {metric} usage"),
        }
    }

    /// The numbers, the period and what happens next, in sentences.
    pub fn message(&self) -> String {
        format!("{} {}", self.state(), self.next())
    }

    /// The numbers and the period.
    pub fn state(&self) -> String {
        let (used, unit) = (plain(self.used), self.unit);
        let amount = match (self.terms.quota.quota_limit, self.percentage()) {
            (Some(limit), Some(percentage)) => {
                format!("{used} of {} {unit} ({} %)", plain(limit), plain(percentage))
            }
            _ => format!("{used} {unit}"),
        };
        let (from, to) = (self.local(self.period.start), self.local(self.period.end));
        format!(
            "{amount} are used in the period from {from} to {to} ({}).",
            self.zone.name()
        )
    }

    /// What happens next.
    pub fn next(&self) -> String {
        let quota = &self.terms.quota;
        let Some(limit) = quota.quota_limit else {
            return "Usage goes on; nothing limits it.".to_owned();
        };
        let reset = match self.kind {
            Kind::Sum => format!(" The next period begins on {}.", self.local(self.period.end)),
            Kind::Gauge | Kind::Lease => String::new(),
        };
        let above = if self.used >= limit {
            "From now on"
        } else {
            "Above the limit"
        };
        if !quota.allow_overage {
            return format!("{above} usage is refused.{reset}");
        }
        let most = quota.overage_limit.map_or(String::new(), |most| {
            format!(
                ", up to {} {} in all; beyond that it is refused",
                plain(limit.saturating_add(most)),
                self.unit
            )
        });
        format!("{above} usage is charged{}{most}.{reset}", self.price())
    }

    fn price(&self) -> String {
        let quota = &self.terms.quota;
        match (quota.overage_price, quota.block_size) {
            (None, _) => String::new(),
            (Some(price), None) => format!(" at {} {} per unit", self.terms.currency, money(price)),
            (Some(price), Some(block)) => {
                format!(
                    " at {} {} per started {}",
                    self.terms.currency,
                    money(price),
                    plain(block)
                )
            }
        }
    }

    fn local(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M").to_string()
    }
}

/// An amount with at least two decimals, and more where it has more.
fn money(amount: Decimal) -> String {
    let mut amount = amount.normalize();
    if amount.scale() < 2 {
        amount.rescale(2);
    }
    amount.to_string()
}
