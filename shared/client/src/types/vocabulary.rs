//! The words that the service answers with.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enumeration with the words of its cases; other words are kept.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$case_doc])* $case,)+
            /// A word that this version does not know.
            Other(String),
        }

        impl $name {
            /// The word, as the service writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$case => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$case,)+
                    _ => Self::Other(word),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    )+};
}

words! {
    /// How a metric's values combine.
    Kind {
        /// They add up over the billing period.
        Sum = "sum",
        /// A level that outlives the period.
        Gauge = "gauge",
        /// How many are held at once.
        Lease = "lease",
    }
    /// How a gauge's value is meant.
    Mode {
        /// It is the level.
        Level = "level",
        /// It is added to the level.
        Delta = "delta",
    }
    /// By which way an event came.
    EventSource {
        /// Tracked alone.
        Api = "api",
        /// Tracked with others.
        Batch = "batch",
        /// As a CloudEvent.
        Cloudevents = "cloudevents",
        /// From the queue.
        Queue = "queue",
        /// A committed reservation.
        Reservation = "reservation",
        /// Made from another event, as the pages of a document.
        Derived = "derived",
        /// From an access log.
        AccessLog = "access_log",
    }
    /// Why the ledger has an entry.
    AdjustmentKind {
        /// Usage was set to 0.
        Reset = "reset",
        /// An event was taken back.
        Void = "void",
        /// Usage came after its period was closed.
        Late = "late",
        /// A difference was repaired.
        Reconcile = "reconcile",
    }
    /// How long a bucket is.
    Granularity {
        /// An hour.
        Hourly = "hourly",
        /// A day.
        Daily = "daily",
        /// A week, from Monday.
        Weekly = "weekly",
        /// A calendar month.
        Monthly = "monthly",
    }
    /// Where usage goes.
    Direction {
        /// Up.
        Increasing = "increasing",
        /// Down.
        Decreasing = "decreasing",
        /// Neither.
        Stable = "stable",
    }
    /// By which test a trend was judged.
    TrendTest {
        /// By none: too few days.
        None = "none",
        /// Mann-Kendall, exact.
        MannKendallExact = "mann_kendall_exact",
        /// Mann-Kendall with Hamed and Rao's correction.
        MannKendallHamedRao = "mann_kendall_hamed_rao",
    }
    /// A forecast's model.
    ForecastModel {
        /// Whichever erred least on the past; only in requests.
        Auto = "auto",
        /// A line.
        LinearRegression = "linear_regression",
        /// The mean of the last days.
        MovingAverage = "moving_average",
        /// Holt's.
        ExponentialSmoothing = "exponential_smoothing",
        /// A mixture with a season.
        Seasonal = "seasonal",
    }
    /// A kind of anomaly.
    AnomalyType {
        /// Far above what is usual.
        Spike = "spike",
        /// Far below.
        Drop = "drop",
        /// Grown too fast.
        VelocitySpike = "velocity_spike",
        /// Not as this user behaves.
        UnusualPattern = "unusual_pattern",
    }
    /// How anomalies are looked for.
    DetectionMethod {
        /// Every way; only in requests.
        All = "all",
        /// By distance from the mean.
        Statistical = "statistical",
        /// By growth over an hour.
        Velocity = "velocity",
        /// By behaviour.
        Pattern = "pattern",
    }
    /// How far the review of an anomaly is.
    AnomalyStatus {
        /// Nobody has looked.
        Detected = "detected",
        /// Somebody looks.
        Investigating = "investigating",
        /// Dealt with.
        Resolved = "resolved",
        /// It was none.
        FalsePositive = "false_positive",
    }
    /// How serious something is.
    Severity {
        /// Worth recording.
        Low = "low",
        /// Worth knowing.
        Medium = "medium",
        /// Worth looking at.
        High = "high",
        /// Worth acting on.
        Critical = "critical",
    }
    /// Where alerts go.
    Channel {
        /// Mail.
        Email = "email",
        /// Text message.
        Sms = "sms",
        /// Webhook.
        Webhook = "webhook",
    }
    /// What became of a delivery.
    DeliveryStatus {
        /// It was accepted.
        Delivered = "delivered",
        /// It was not.
        Failed = "failed",
        /// It was not tried, by a cooldown or a daily limit.
        Suppressed = "suppressed",
    }
    /// What an alert is about.
    AlertType {
        /// 80 % of the limit.
        ApproachingLimit = "approaching_limit",
        /// 90 % of the limit.
        SoftLimitReached = "soft_limit_reached",
        /// The limit.
        HardLimitReached = "hard_limit_reached",
        /// The first unit above it.
        OverageUsage = "overage_usage",
        /// A threshold of one's own.
        CustomThreshold = "custom_threshold",
        /// An anomaly, for administrators.
        UnusualPattern = "unusual_pattern",
    }
    /// How far an alert is; only forward.
    AlertStatus {
        /// Nobody was reached yet.
        Pending = "pending",
        /// A channel accepted it.
        Sent = "sent",
        /// Somebody has seen it.
        Acknowledged = "acknowledged",
        /// Dealt with.
        Resolved = "resolved",
    }
    /// What follows from an alert.
    ActionTaken {
        /// What comes is charged.
        ChargedOverage = "charged_overage",
        /// What comes is refused, until the period ends.
        Throttled = "throttled",
        /// What comes is refused, until something is given back.
        Blocked = "blocked",
    }
    /// What a threshold measures.
    ThresholdType {
        /// Per cent of the limit.
        Percentage = "percentage",
        /// Units.
        Absolute = "absolute",
        /// Units within one hour.
        Rate = "rate",
    }
    /// Whom a threshold watches.
    ThresholdScope {
        /// A user.
        User = "user",
        /// A subscription.
        Subscription = "subscription",
        /// Everybody.
        Global = "global",
    }
    /// What a reservation has come to.
    ReservationStatus {
        /// It holds its quantity.
        Held = "held",
        /// What was used is counted.
        Committed = "committed",
        /// It was given back.
        Released = "released",
        /// Nobody said in time.
        Expired = "expired",
    }    /// What a report is about.
    ReportType {
        /// How much was used, against which quota, at what cost.
        Summary = "summary",
        /// That, and every day or hour.
        Detailed = "detailed",
        /// How usage goes on.
        Forecast = "forecast",
        /// What was unusual.
        Anomaly = "anomaly",
    }
    /// What file a report is.
    ReportFormat {
        /// For people, to print.
        Pdf = "pdf",
        /// One table.
        Csv = "csv",
        /// For machines.
        Json = "json",
        /// A workbook.
        Excel = "excel",
    }
    /// How far a report is.
    ReportStatus {
        /// Its file can be fetched.
        Completed = "completed",
        /// It could not be made.
        Failed = "failed",
        /// Its file is gone.
        Expired = "expired",
    }
    /// How often a report is made.
    Frequency {
        /// Every day, of the day before.
        Daily = "daily",
        /// Every week, of the week before.
        Weekly = "weekly",
        /// Every month, of the month before.
        Monthly = "monthly",
    }
}
