//! Buckets: their names, and when what is in them expires.

use chrono::{DateTime, Days, NaiveTime, Utc};

use super::{TemplateError, node::Node, queue::whole};

/// The last has a part here; the others make no difference on one machine.
const PROPERTIES: [&str; 5] = [
    "BucketEncryption",
    "OwnershipControls",
    "PublicAccessBlockConfiguration",
    "Tags",
    "LifecycleConfiguration",
];

/// Uploads in parts are not offered here, so that none is ever left unfinished.
const RULE: [&str; 5] = [
    "AbortIncompleteMultipartUpload",
    "ExpirationInDays",
    "Id",
    "Prefix",
    "Status",
];

/// The most days that a rule is taken with: a hundred years.
const DAYS_MAX: u64 = 36_500;
/// How long the name of a bucket may be.
const NAME_LENGTHS: std::ops::RangeInclusive<usize> = 3..=63;

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// What the template calls it.
    pub resource: String,
    /// Its name: the same in lower case, since no bucket's name has capitals.
    pub name: String,
    /// When its objects expire.
    pub expiries: Vec<Expiry>,
}

/// A rule by which objects expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// How the keys of the objects begin.
    pub prefix: String,
    /// After how many days, at least 1.
    pub days: u64,
}

impl Bucket {
    /// When an object expires that was created at an instant, if ever: by the rule that comes
    /// first. "Amazon S3 calculates the time by adding the number of days specified in the rule to
    /// the object creation time and rounding up the resulting time to the next day at midnight
    /// UTC" (Amazon S3 User Guide, "Lifecycle configuration elements").
    pub fn expires_at(&self, key: &str, created: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let rules = self.expiries.iter().filter(|rule| key.starts_with(&rule.prefix));
        let days = rules.map(|rule| rule.days).min()?;
        let last = created.date_naive().checked_add_days(Days::new(days + 1))?;
        Some(last.and_time(NaiveTime::MIN).and_utc())
    }
}

/// The name of the bucket that the template calls `resource`.
pub fn bucket_name(resource: &str) -> String {
    resource.to_ascii_lowercase()
}

/// The name by which policies know a bucket.
pub fn bucket_arn(bucket: &str) -> String {
    format!("arn:aws:s3:::{bucket}")
}

/// Reads the bucket `resource`.
pub fn read(resource: &str, whole: Node<'_>, properties: Option<Node<'_>>) -> Result<Bucket, TemplateError> {
    let mut bucket = Bucket {
        resource: resource.to_owned(),
        name: bucket_name(resource),
        expiries: Vec::new(),
    };
    if !NAME_LENGTHS.contains(&bucket.name.len()) {
        return Err(whole.wrong("a bucket is called by this name here, which must have 3 to 63 letters"));
    }
    let Some(properties) = properties else {
        return Ok(bucket);
    };
    properties.only(&PROPERTIES)?;
    if let Some(lifecycle) = properties.child("LifecycleConfiguration")? {
        lifecycle.only(&["Rules"])?;
        for rule in lifecycle.required("Rules")?.items()? {
            bucket.expiries.extend(read_rule(rule)?);
        }
    }
    Ok(bucket)
}

/// When objects expire by a rule; not at all by one that is off, or is about something else.
fn read_rule(rule: Node<'_>) -> Result<Option<Expiry>, TemplateError> {
    rule.only(&RULE)?;
    let days = whole(rule, "ExpirationInDays", 1, DAYS_MAX)?;
    let prefix = rule.child("Prefix")?.map(|prefix| prefix.plain()).transpose()?;
    let status = rule.required("Status")?;
    let is_on = match status.plain()? {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(status.wrong("must be Enabled or Disabled")),
    };
    Ok(days.filter(|_| is_on).map(|days| Expiry {
        prefix: prefix.unwrap_or_default().to_owned(),
        days,
    }))
}
