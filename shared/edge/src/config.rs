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
    "USAGE_EVENTS_DEAD_LETTERS_URL",
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
    /// Where usage events are put that cannot be counted; only its function needs it.
    usage_events_dead_letters_url: Option<String>,
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
            usage_events_dead_letters_url: optional("USAGE_EVENTS_DEAD_LETTERS_URL"),
        })
    }

    /// Refuses a configuration that cannot tell a user's token.
    pub fn require_jwt(&self) -> Result<(), ConfigError> {
        self.jwt.as_ref().map(drop).ok_or(ConfigError("JWT_ISSUER"))
    }

    /// The queue of usage events that cannot be counted.
    pub fn usage_events_dead_letters_url(&self) -> Result<String, ConfigError> {
        let url = self.usage_events_dead_letters_url.clone();
        url.ok_or(ConfigError("USAGE_EVENTS_DEAD_LETTERS_URL"))
    }

    /// The configuration in this process's environment.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }
}
