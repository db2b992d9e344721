//! The registry of environment variables: all that a function reads, and the only place that reads.

use metering_store::Tables;

/// Every variable a function may read.
pub const VARIABLES: &[&str] = &[
    "EVENTS_TABLE",
    "STATE_TABLE",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWKS_URL",
    "LOG_LEVEL",
    "USAGE_EVENTS_QUEUE_URL",
    "USAGE_EVENTS_DEAD_LETTERS_URL",
    "ACCESS_LOG_DEAD_LETTERS_URL",
    "AGGREGATION_QUEUE_URL",
    "ALERT_QUEUE_URL",
    "RELAY_DEAD_LETTERS_URL",
    "AGGREGATION_DEAD_LETTERS_URL",
    "ALERT_DEAD_LETTERS_URL",
    "LIFECYCLE_DEAD_LETTERS_URL",
    "ANOMALY_QUEUE_URL",
    "ANOMALY_DEAD_LETTERS_URL",
    "ADMINISTRATOR_EMAIL",
    "GEO_DATABASE",
    "EVENT_BUS_NAME",
    "MAIL_SENDER",
    "RECONCILE_QUEUE_URL",
    "ANALYTICS_REFRESH_QUEUE_URL",
    "REPORTS_BUCKET",
    "PUBLIC_URL",
    "API_URL",
    "STAGE",
];

/// A function's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The tables.
    pub tables: Tables,
    /// Whose user tokens are good; functions without routes need not know.
    pub jwt: Option<Jwt>,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log_level: String,
    /// Who is mailed about anomalies; nobody, if that is not said.
    pub administrator_email: Option<String>,
    /// The file that says where addresses are, if there is one.
    pub geo_database: Option<String>,
    // What only some functions need: asked for, each says whether it is missing.
    usage_events_queue_url: Option<String>,
    usage_events_dead_letters_url: Option<String>,
    access_log_dead_letters_url: Option<String>,
    aggregation_queue_url: Option<String>,
    alert_queue_url: Option<String>,
    relay_dead_letters_url: Option<String>,
    aggregation_dead_letters_url: Option<String>,
    alert_dead_letters_url: Option<String>,
    lifecycle_dead_letters_url: Option<String>,
    anomaly_queue_url: Option<String>,
    anomaly_dead_letters_url: Option<String>,
    event_bus_name: Option<String>,
    mail_sender: Option<String>,
    reconcile_queue_url: Option<String>,
    analytics_refresh_queue_url: Option<String>,
    reports_bucket: Option<String>,
    public_url: Option<String>,
    api_url: Option<String>,
    stage: Option<String>,
}

/// Whose user tokens are good.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// The issuer they must name.
    pub issuer: String,
    /// The audience they must name.
    pub audience: String,
    /// Where the issuer's keys are (RFC 7517).
    pub jwks_url: String,
}

/// A variable that is not as it must be.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {0} is missing or empty")]
pub struct ConfigError(pub &'static str);

impl Config {
    /// The configuration in the variables that `lookup` knows.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let optional = |name: &'static str| lookup(name).filter(|value| !value.is_empty());
        let required = |name: &'static str| optional(name).ok_or(ConfigError(name));
        Ok(Self {
            tables: Tables {
                events: required("EVENTS_TABLE")?,
                state: required("STATE_TABLE")?,
            },
            jwt: match optional("JWT_ISSUER") {
                None => None,
                Some(issuer) => Some(Jwt {
                    issuer,
                    audience: required("JWT_AUDIENCE")?,
                    jwks_url: required("JWKS_URL")?,
                }),
            },
            log_level: optional("LOG_LEVEL").unwrap_or_else(|| "info".to_owned()),
            usage_events_queue_url: optional("USAGE_EVENTS_QUEUE_URL"),
            usage_events_dead_letters_url: optional("USAGE_EVENTS_DEAD_LETTERS_URL"),
            access_log_dead_letters_url: optional("ACCESS_LOG_DEAD_LETTERS_URL"),
            aggregation_queue_url: optional("AGGREGATION_QUEUE_URL"),
            alert_queue_url: optional("ALERT_QUEUE_URL"),
            relay_dead_letters_url: optional("RELAY_DEAD_LETTERS_URL"),
            aggregation_dead_letters_url: optional("AGGREGATION_DEAD_LETTERS_URL"),
            alert_dead_letters_url: optional("ALERT_DEAD_LETTERS_URL"),
            lifecycle_dead_letters_url: optional("LIFECYCLE_DEAD_LETTERS_URL"),
            anomaly_queue_url: optional("ANOMALY_QUEUE_URL"),
            anomaly_dead_letters_url: optional("ANOMALY_DEAD_LETTERS_URL"),
            administrator_email: optional("ADMINISTRATOR_EMAIL"),
            geo_database: optional("GEO_DATABASE"),
            event_bus_name: optional("EVENT_BUS_NAME"),
            mail_sender: optional("MAIL_SENDER"),
            reconcile_queue_url: optional("RECONCILE_QUEUE_URL"),
            analytics_refresh_queue_url: optional("ANALYTICS_REFRESH_QUEUE_URL"),
            reports_bucket: optional("REPORTS_BUCKET"),
            public_url: optional("PUBLIC_URL"),
            api_url: optional("API_URL"),
            stage: optional("STAGE"),
        })
    }

    /// Refuses a configuration that cannot tell a user's token.
    pub fn require_jwt(&self) -> Result<(), ConfigError> {
        self.jwt.as_ref().map(drop).ok_or(ConfigError("JWT_ISSUER"))
    }

    /// The queue of usage events that nobody waits for.
    pub fn usage_events_queue_url(&self) -> Result<String, ConfigError> {
        needed(&self.usage_events_queue_url, "USAGE_EVENTS_QUEUE_URL")
    }

    /// Where access logs are put that cannot be read.
    pub fn access_log_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.access_log_dead_letters_url, "ACCESS_LOG_DEAD_LETTERS_URL")
    }

    /// The queue of usage events that cannot be counted.
    pub fn usage_events_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.usage_events_dead_letters_url, "USAGE_EVENTS_DEAD_LETTERS_URL")
    }

    /// The queue of counters whose usage is to be aggregated.
    pub fn aggregation_queue_url(&self) -> Result<String, ConfigError> {
        needed(&self.aggregation_queue_url, "AGGREGATION_QUEUE_URL")
    }

    /// The queue of what may be worth an alert.
    pub fn alert_queue_url(&self) -> Result<String, ConfigError> {
        needed(&self.alert_queue_url, "ALERT_QUEUE_URL")
    }

    /// Where records of streams are put that cannot be passed on.
    pub fn relay_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.relay_dead_letters_url, "RELAY_DEAD_LETTERS_URL")
    }

    /// Where hours are put that cannot be computed.
    pub fn aggregation_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.aggregation_dead_letters_url, "AGGREGATION_DEAD_LETTERS_URL")
    }

    /// Where alerts are put that cannot be delivered.
    pub fn alert_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.alert_dead_letters_url, "ALERT_DEAD_LETTERS_URL")
    }

    /// Where events about subscriptions are put that cannot be taken.
    pub fn lifecycle_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.lifecycle_dead_letters_url, "LIFECYCLE_DEAD_LETTERS_URL")
    }

    /// The queue of series that are to be looked at for anomalies.
    pub fn anomaly_queue_url(&self) -> Result<String, ConfigError> {
        needed(&self.anomaly_queue_url, "ANOMALY_QUEUE_URL")
    }

    /// Where series are put that could not be looked at.
    pub fn anomaly_dead_letters_url(&self) -> Result<String, ConfigError> {
        needed(&self.anomaly_dead_letters_url, "ANOMALY_DEAD_LETTERS_URL")
    }

    /// The event bus that is told what happened here, by name or ARN.
    pub fn event_bus_name(&self) -> Result<String, ConfigError> {
        needed(&self.event_bus_name, "EVENT_BUS_NAME")
    }

    /// The address that mails come from; SES must have verified it.
    pub fn mail_sender(&self) -> Result<String, ConfigError> {
        needed(&self.mail_sender, "MAIL_SENDER")
    }

    /// The queue by which a reconciliation goes on.
    pub fn reconcile_queue_url(&self) -> Result<String, ConfigError> {
        needed(&self.reconcile_queue_url, "RECONCILE_QUEUE_URL")
    }

    /// The queue by which a refresh of forecasts goes on.
    pub fn analytics_refresh_queue_url(&self) -> Result<String, ConfigError> {
        needed(&self.analytics_refresh_queue_url, "ANALYTICS_REFRESH_QUEUE_URL")
    }

    /// The bucket that reports are kept in.
    pub fn reports_bucket(&self) -> Result<String, ConfigError> {
        needed(&self.reports_bucket, "REPORTS_BUCKET")
    }

    /// Where users reach the API: by a name that the operator gave, or by API Gateway's own.
    pub fn public_url(&self) -> Result<String, ConfigError> {
        let url = self.public_url.as_ref().or(self.api_url.as_ref()).cloned();
        Ok(needed(&url, "API_URL")?.trim_end_matches('/').to_owned())
    }

    /// What this deployment is for; its measures are told apart by it.
    pub fn stage(&self) -> Result<String, ConfigError> {
        needed(&self.stage, "STAGE")
    }

    /// The configuration in this process's environment.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }
}

fn needed(value: &Option<String>, name: &'static str) -> Result<String, ConfigError> {
    value.clone().ok_or(ConfigError(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_functions_need_is_missing_when_it_is_asked_for() {
        let of = |value: &'static str| {
            let lookup = move |name: &str| match name {
                "EVENTS_TABLE" | "STATE_TABLE" => Some(name.to_owned()),
                _ => Some(value.to_owned()),
            };
            Config::from_lookup(&lookup).expect("a configuration")
        };
        let empty = of("");
        for (missing, name) in [
            (empty.usage_events_queue_url(), "USAGE_EVENTS_QUEUE_URL"),
            (empty.usage_events_dead_letters_url(), "USAGE_EVENTS_DEAD_LETTERS_URL"),
            (empty.access_log_dead_letters_url(), "ACCESS_LOG_DEAD_LETTERS_URL"),
            (empty.aggregation_queue_url(), "AGGREGATION_QUEUE_URL"),
            (empty.alert_queue_url(), "ALERT_QUEUE_URL"),
            (empty.aggregation_dead_letters_url(), "AGGREGATION_DEAD_LETTERS_URL"),
            (empty.alert_dead_letters_url(), "ALERT_DEAD_LETTERS_URL"),
            (empty.lifecycle_dead_letters_url(), "LIFECYCLE_DEAD_LETTERS_URL"),
            (empty.anomaly_queue_url(), "ANOMALY_QUEUE_URL"),
            (empty.anomaly_dead_letters_url(), "ANOMALY_DEAD_LETTERS_URL"),
            (empty.event_bus_name(), "EVENT_BUS_NAME"),
            (empty.mail_sender(), "MAIL_SENDER"),
            (empty.reconcile_queue_url(), "RECONCILE_QUEUE_URL"),
            (empty.analytics_refresh_queue_url(), "ANALYTICS_REFRESH_QUEUE_URL"),
            (empty.reports_bucket(), "REPORTS_BUCKET"),
            (empty.public_url(), "API_URL"),
            (empty.stage(), "STAGE"),
        ] {
            assert_eq!(missing.expect_err("missing").0, name);
            assert!(VARIABLES.contains(&name), "{name}");
        }
        let full = of("there");
        for there in [
            full.usage_events_queue_url(),
            full.usage_events_dead_letters_url(),
            full.access_log_dead_letters_url(),
            full.aggregation_queue_url(),
            full.alert_queue_url(),
            full.aggregation_dead_letters_url(),
            full.alert_dead_letters_url(),
            full.anomaly_queue_url(),
            full.anomaly_dead_letters_url(),
            full.event_bus_name(),
            full.mail_sender(),
            full.reconcile_queue_url(),
            full.reports_bucket(),
            full.stage(),
        ] {
            assert_eq!(there.expect("there"), "there");
        }
    }
}
