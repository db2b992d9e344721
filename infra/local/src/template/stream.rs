//! Streams of tables that functions are handed.

use std::time::Duration;

use super::{TemplateError, event::read_reports, node::Node, queue::whole, schedule::is_on, scope::Scope};
use crate::pattern::Pattern;

const PROPERTIES: [&str; 11] = [
    "BatchSize",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "Enabled",
    "FilterCriteria",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "StartingPosition",
    "Stream",
];

/// A table whose changes a function is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMapping {
    /// Its own name.
    pub name: String,
    /// The function.
    pub function: String,
    /// The table.
    pub table: String,
    /// What a record holds: `NEW_IMAGE` and the like.
    pub view: String,
    /// How many records at once, at most.
    pub batch_size: usize,
    /// How long to wait for a full batch.
    pub window: Duration,
    /// Whether it begins with what comes, not with what is there.
    pub from_the_end: bool,
    /// A record must look like one of them, if there are any.
    pub filters: Vec<Pattern>,
    /// Whether a batch that failed is halved.
    pub bisects: bool,
    /// How often a batch is tried again; without end if the template does not say.
    pub retries_max: Option<u64>,
    /// How old a record may become, if the template says.
    pub age_max: Option<Duration>,
    /// The queue that is told of what is given up.
    pub on_failure: Option<String>,
    /// Whether the answer says which record failed.
    pub reports_failures: bool,
}

/// Reads the event `event` of `function`; none if it is switched off.
pub fn read(
    function: &str,
    event: &str,
    properties: Node<'_>,
    scope: &Scope,
) -> Result<Option<StreamMapping>, TemplateError> {
    properties.only(&PROPERTIES)?;
    let start = properties.required("StartingPosition")?;
    let from_the_end = match start.plain()? {
        "LATEST" => true,
        "TRIM_HORIZON" => false,
        other => return Err(start.wrong(&format!("{other} is not understood"))),
    };
    let batch_size = whole(properties, "BatchSize", 1, 10_000)?.unwrap_or(100);
    let seconds = whole(properties, "MaximumBatchingWindowInSeconds", 0, 300)?.unwrap_or(0);
    let mapping = StreamMapping {
        name: format!("{function}/{event}"),
        function: function.to_owned(),
        table: scope.stream(properties.required("Stream")?)?,
        // The table says, when all are read.
        view: String::new(),
        batch_size: usize::try_from(batch_size).unwrap_or(usize::MAX),
        window: Duration::from_secs(seconds),
        from_the_end,
        filters: read_filters(properties)?,
        bisects: read_bisects(properties)?,
        retries_max: endless(properties, "MaximumRetryAttempts", 0, 10_000)?,
        age_max: endless(properties, "MaximumRecordAgeInSeconds", 60, 604_800)?.map(Duration::from_secs),
        on_failure: read_destination(properties, scope)?,
        reports_failures: read_reports(properties)?,
    };
    Ok(is_on(properties)?.then_some(mapping))
}

/// A number within bounds, or −1 for no end.
fn endless(properties: Node<'_>, property: &str, least: u64, most: u64) -> Result<Option<u64>, TemplateError> {
    match properties.child(property)? {
        Some(node) if node.value().as_i64() == Some(-1) => Ok(None),
        _ => whole(properties, property, least, most),
    }
}

fn read_bisects(properties: Node<'_>) -> Result<bool, TemplateError> {
    match properties.child("BisectBatchOnFunctionError")? {
        None => Ok(false),
        Some(node) => match node.value().as_bool() {
            Some(bisects) => Ok(bisects),
            None => Err(node.wrong("must be true or false")),
        },
    }
}

fn read_filters(properties: Node<'_>) -> Result<Vec<Pattern>, TemplateError> {
    let mut filters = Vec::new();
    let Some(criteria) = properties.child("FilterCriteria")? else {
        return Ok(filters);
    };
    criteria.only(&["Filters"])?;
    for filter in criteria.required("Filters")?.items()? {
        filter.only(&["Pattern"])?;
        let pattern = filter.required("Pattern")?;
        let wrong = |problem: String| pattern.wrong(&problem);
        let parsed = serde_json::from_str(pattern.plain()?).map_err(|error| wrong(error.to_string()))?;
        filters.push(Pattern::read(&parsed).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(filters)
}

fn read_destination(properties: Node<'_>, scope: &Scope) -> Result<Option<String>, TemplateError> {
    let Some(config) = properties.child("DestinationConfig")? else {
        return Ok(None);
    };
    config.only(&["OnFailure"])?;
    let destination = config.required("OnFailure")?;
    destination.only(&["Destination", "Type"])?;
    if let Some(kind) = destination.child("Type")?
        && kind.plain()? != "SQS"
    {
        return Err(kind.wrong("only SQS is understood"));
    }
    Ok(Some(scope.queue(destination.required("Destination")?)?))
}
