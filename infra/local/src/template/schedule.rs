//! Schedules of functions: rules of EventBridge (`Schedule`) and of its scheduler (`ScheduleV2`).

use super::{ACCOUNT, REGION, TemplateError, node::Node, scope::Scope};
use crate::schedule::Expression;

const RULE: [&str; 5] = ["Description", "Enabled", "Input", "Schedule", "State"];
const SCHEDULER: [&str; 5] = [
    "Description",
    "Input",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "State",
];

/// A function that runs at times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The function.
    pub function: String,
    /// The name by which its event knows it.
    pub arn: String,
    /// When.
    pub expression: Expression,
    /// What it is handed instead of an event that says when.
    pub input: Option<String>,
    /// Whether it is the scheduler's: its event differs.
    pub scheduler: bool,
}

/// Reads the event `event` of `function`; none if it is switched off.
pub fn read(
    function: &str,
    event: &str,
    properties: Node<'_>,
    scheduler: bool,
    scope: &Scope,
) -> Result<Option<Schedule>, TemplateError> {
    properties.only(if scheduler { &SCHEDULER } else { &RULE })?;
    let expression = properties.required(if scheduler { "ScheduleExpression" } else { "Schedule" })?;
    let parsed = expression.plain()?.parse::<Expression>();
    let name = format!("{function}{event}");
    let arn = match scheduler {
        true => format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}"),
        false => format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"),
    };
    if let Some(zone) = properties.child("ScheduleExpressionTimezone")?
        && zone.plain()? != "UTC"
    {
        return Err(zone.wrong("only UTC is understood"));
    }
    let input = match properties.child("Input")? {
        Some(input) => Some(scope.text(input)?),
        None => None,
    };
    let schedule = Schedule {
        function: function.to_owned(),
        arn,
        expression: parsed.map_err(|error| expression.wrong(&error.to_string()))?,
        input,
        scheduler,
    };
    Ok(is_on(properties)?.then_some(schedule))
}

/// Whether `State` and `Enabled` say that it runs, as they do when they are left out.
pub fn is_on(properties: Node<'_>) -> Result<bool, TemplateError> {
    let state = match properties.child("State")? {
        None => true,
        Some(state) => match state.plain()? {
            "ENABLED" => true,
            "DISABLED" => false,
            other => return Err(state.wrong(&format!("{other} is not understood"))),
        },
    };
    match properties.child("Enabled")? {
        None => Ok(state),
        Some(enabled) => match enabled.value().as_bool() {
            Some(enabled) => Ok(state && enabled),
            None => Err(enabled.wrong("must be true or false")),
        },
    }
}
