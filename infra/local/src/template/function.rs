//! Functions: their environment, what they may do, how long they may take.

use std::{collections::BTreeMap, time::Duration};

use super::{
    TemplateError,
    node::Node,
    queue::whole,
    rule::{Failure, read_failure},
    scope::Scope,
};

/// Of `Globals: Function`; only `Environment` and `Timeout` have a part here.
const GLOBALS: [&str; 8] = [
    "Architectures",
    "Environment",
    "Handler",
    "MemorySize",
    "Runtime",
    "Tags",
    "Timeout",
    "Tracing",
];

/// The first seven have a part here; `Events` are read apart.
const PROPERTIES: [&str; 15] = [
    "DeadLetterQueue",
    "Environment",
    "EventInvokeConfig",
    "Events",
    "Policies",
    "ReservedConcurrentExecutions",
    "Timeout",
    "Architectures",
    "CodeUri",
    "Description",
    "Handler",
    "LoggingConfig",
    "MemorySize",
    "Runtime",
    "Tracing",
];

/// Actions to which IAM gives no resource: `Publish` when it is to a phone number, as here.
const WITHOUT_RESOURCE: [&str; 1] = ["sns:Publish"];

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its logical name.
    pub name: String,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What it may do; everything else is refused.
    pub policy: Vec<Statement>,
    /// What SAM's own policies would let it do anywhere, and where alone it may. Nothing to enforce
    /// here, where those policies do not exist.
    pub fences: Vec<Statement>,
    /// How many calls run at once, at most, if the template says.
    pub concurrency: Option<usize>,
    /// What becomes of an event that it fails to handle and nobody waits for.
    pub failure: Failure,
}

/// A statement of a policy: all of the actions are allowed on all of the resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Names like `dynamodb:GetItem`.
    pub actions: Vec<String>,
    /// The ARNs of tables, indexes, queues, buses or identities; `*` in them is any text.
    pub resources: Vec<String>,
}

impl Statement {
    /// What it allows, one action on one resource at a time.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.actions.iter().flat_map(|action| {
            let resources = self.resources.iter();
            resources.map(move |resource| (action.as_str(), resource.as_str()))
        })
    }
}

/// A grant as a line: who, what, and on what, without the account.
pub fn grant_line(function: &str, action: &str, resource: &str) -> String {
    let resource = resource.splitn(6, ':').last().unwrap_or_default();
    format!("{function} {action} {resource}")
}

/// What holds for every function that does not say otherwise.
#[derive(Debug, Default)]
pub struct Defaults {
    timeout: Option<Duration>,
    environment: BTreeMap<String, String>,
}

impl Defaults {
    /// Reads the section `Globals`.
    pub fn read(globals: Option<Node<'_>>, scope: &Scope) -> Result<Self, TemplateError> {
        let Some(globals) = globals else {
            return Ok(Self::default());
        };
        globals.only(&["Function"])?;
        let function = globals.required("Function")?;
        function.only(&GLOBALS)?;
        Ok(Self {
            timeout: read_timeout(function)?,
            environment: read_environment(function, scope)?,
        })
    }
}

/// Reads the function `name`.
pub fn read(name: &str, properties: Node<'_>, scope: &Scope, defaults: &Defaults) -> Result<Function, TemplateError> {
    properties.only(&PROPERTIES)?;
    let timeout = match read_timeout(properties)?.or(defaults.timeout) {
        Some(timeout) => timeout,
        None => return Err(properties.wrong("has no Timeout")),
    };
    let mut environment = defaults.environment.clone();
    environment.extend(read_environment(properties, scope)?);
    let (mut policy, mut fences) = (Vec::new(), Vec::new());
    if let Some(policies) = properties.child("Policies")? {
        for document in policies.items()? {
            document.only(&["Statement", "Version"])?;
            for statement in document.required("Statement")?.items()? {
                match statement.child("NotResource")? {
                    Some(_) => fences.push(read_statement(statement, scope, "Deny", "NotResource")?),
                    None => policy.push(read_statement(statement, scope, "Allow", "Resource")?),
                }
            }
        }
    }
    let reserved = whole(properties, "ReservedConcurrentExecutions", 1, 1_000)?;
    Ok(Function {
        name: name.to_owned(),
        timeout,
        environment,
        policy,
        fences,
        concurrency: reserved.and_then(|most| usize::try_from(most).ok()),
        failure: read_failure(properties, scope)?,
    })
}

fn read_timeout(properties: Node<'_>) -> Result<Option<Duration>, TemplateError> {
    let Some(timeout) = properties.child("Timeout")? else {
        return Ok(None);
    };
    match timeout.value().as_u64() {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(timeout.wrong("must be a number of seconds")),
    }
}

fn read_environment(properties: Node<'_>, scope: &Scope) -> Result<BTreeMap<String, String>, TemplateError> {
    let mut environment = BTreeMap::new();
    let Some(declared) = properties.child("Environment")? else {
        return Ok(environment);
    };
    declared.only(&["Variables"])?;
    let variables = declared.required("Variables")?;
    for (name, _) in variables.entries()? {
        let value = scope.text(variables.required(name)?)?;
        environment.insert(name.to_owned(), value);
    }
    Ok(environment)
}

/// Actions by name, no conditions; denied is only what is elsewhere. In resources `*` stands for any
/// text; alone it is for actions to which IAM gives no resource, and everything else must say what
/// it needs.
fn read_statement(
    statement: Node<'_>,
    scope: &Scope,
    only_effect: &str,
    resource: &str,
) -> Result<Statement, TemplateError> {
    statement.only(&["Action", "Effect", resource, "Sid"])?;
    let effect = statement.required("Effect")?;
    if effect.plain()? != only_effect {
        return Err(effect.wrong(&format!("only {only_effect} is understood with {resource}")));
    }
    let read = |property: &str, refused: &dyn Fn(&str) -> bool| -> Result<Vec<String>, TemplateError> {
        let mut texts = Vec::new();
        for item in statement.required(property)?.items_or_one()? {
            let text = scope.text(item)?;
            if refused(&text) {
                return Err(item.wrong(&format!("the wildcard {text} is not understood")));
            }
            texts.push(text);
        }
        Ok(texts)
    };
    let actions = read("Action", &|action| action.contains(['*', '?']))?;
    let has_resources = actions
        .iter()
        .any(|action| !WITHOUT_RESOURCE.contains(&action.as_str()));
    let resources = read(resource, &|resource| {
        resource.contains('?') || (resource == "*" && has_resources)
    })?;
    Ok(Statement { actions, resources })
}
