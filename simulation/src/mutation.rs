//! Bugs planted on the way to the engine, or in what calls the functions, as if the code had them:
//! the simulation must find each.

use serde_json::Value;

use crate::engine::{Answer, Engine, text};

/// A bug.
#[derive(Debug, Clone, Copy)]
pub struct Mutation {
    /// What it is called.
    pub name: &'static str,
    /// A seed that found it when it was looked for.
    pub seed: u64,
    /// What it does.
    pub bug: Bug,
}

/// Where a bug sits.
#[derive(Debug, Clone, Copy)]
pub enum Bug {
    /// It rewrites requests: the one to be carried out instead; nothing where it changes nothing.
    Request(fn(&str, &Value) -> Option<Value>),
    /// It answers requests that it does not carry out.
    Answer(fn(&str, &Value) -> Option<Value>),
    /// It carries out only the first part of a transaction.
    Split(fn(&Value) -> bool),
    /// Whatever a function answers, its messages are deleted.
    MessagesLost,
    /// Whatever a function answers, its stream records are done.
    RecordsLost,
}

impl Mutation {
    /// What happens instead of a request.
    pub fn instead(&self, engine: &Engine, operation: &str, body: &Value) -> Option<Answer> {
        match self.bug {
            Bug::Request(rewrite) => rewrite(operation, body).map(|body| engine.call(operation, &body)),
            Bug::Answer(answer) => answer(operation, body).map(|body| Answer { status: 200, body }),
            Bug::Split(hits) if operation == "TransactWriteItems" && hits(body) => {
                let mut first = body.clone();
                first["TransactItems"].as_array_mut()?.truncate(1);
                engine.call(operation, &first);
                Some(Answer::error(500, "InternalServerError"))
            }
            Bug::Split(_) | Bug::MessagesLost | Bug::RecordsLost => None,
        }
    }
}

/// All of them.
pub const ALL: &[Mutation] = &[
    Mutation {
        name: "the cap is not asked when usage is counted",
        seed: 0,
        bug: Bug::Request(|operation, body| waive(operation, body, "CTR#", "remaining >= :v")),
    },
    Mutation {
        name: "the cap is not asked when something is held",
        seed: 0,
        bug: Bug::Request(|operation, body| waive(operation, body, "CTR#", "remaining >= :quantity")),
    },
    Mutation {
        name: "a closed counter goes on counting",
        seed: 2,
        bug: Bug::Request(|operation, body| {
            let counts = expression(body, "UpdateExpression").contains("pending.#own = :entry");
            counts
                .then(|| waive(operation, body, "CTR#", "attribute_not_exists(sealed)"))
                .flatten()
        }),
    },
    Mutation {
        name: "a count that the network doubles counts twice",
        seed: 9,
        bug: Bug::Request(|operation, body| waive(operation, body, "CTR#", "attribute_not_exists(pending.#own)")),
    },
    Mutation {
        name: "an event replaces the one that is there",
        seed: 0,
        bug: Bug::Request(|operation, body| {
            let is_event = operation == "PutItem" && text(&body["Item"], "pk").starts_with("EVT#");
            is_event.then(|| tautology(body)).flatten()
        }),
    },
    Mutation {
        name: "an entry is undone without its guard",
        seed: 3,
        bug: Bug::Request(|operation, body| waive(operation, body, "CTR#", "attribute_exists(pending.#own)")),
    },
    Mutation {
        name: "a hold stays when it becomes usage",
        seed: 0,
        bug: Bug::Request(|operation, body| {
            let whole = expression(body, "UpdateExpression");
            let turns = operation == "UpdateItem" && whole.contains("pending.#own") && whole.contains("holds.#hold");
            turns.then(|| {
                let kept = whole.replace("holds.#hold", "holds.#hold.nothing");
                with(body, "UpdateExpression", &kept)
            })
        }),
    },
    Mutation {
        name: "an expired hold is kept",
        seed: 0,
        bug: Bug::Answer(|operation, body| {
            let frees = expression(body, "UpdateExpression").contains("remaining + :freed");
            (operation == "UpdateItem" && frees).then(|| serde_json::json!({}))
        }),
    },
    Mutation {
        name: "the ledger does not know what was taken back",
        seed: 0,
        bug: Bug::Request(|operation, body| {
            let mut after = body.clone();
            let items = after["TransactItems"]
                .as_array_mut()
                .filter(|_| operation == "TransactWriteItems")?;
            let before = items.len();
            items.retain(|item| !text(&item["Put"]["Item"], "id").starts_with("adj_late"));
            items.retain(|item| !expression(&item["Update"], "UpdateExpression").starts_with("SET used = used - :v"));
            (items.len() < before).then_some(after)
        }),
    },
    Mutation {
        name: "a gauge's event and level are two writes",
        seed: 0,
        bug: Bug::Split(|body| {
            let items = body["TransactItems"].as_array();
            let moves = |item: &Value| expression(&item["Update"], "UpdateExpression").contains("used + :moved");
            items.is_some_and(|items| items.iter().any(moves))
        }),
    },
    Mutation {
        name: "a counter is born over another",
        seed: 1,
        bug: Bug::Request(|operation, body| {
            let mut after = body.clone();
            let items = after["TransactItems"]
                .as_array_mut()
                .filter(|_| operation == "TransactWriteItems")?;
            let mut changed = false;
            for item in items {
                if text(&item["Put"]["Item"], "sk").starts_with("CTR#") {
                    item["Put"].as_object_mut()?.remove("ConditionExpression");
                    changed = true;
                }
            }
            changed.then_some(after)
        }),
    },
    Mutation {
        name: "an hour is replaced by what is older",
        seed: 0,
        bug: Bug::Request(|operation, body| {
            let is_hour = operation == "UpdateItem" && text(&body["Key"], "pk").starts_with("HRS#");
            is_hour.then(|| tautology(body)).flatten()
        }),
    },
    Mutation {
        name: "an alert is raised by everybody who sees it",
        seed: 0,
        bug: Bug::Request(|operation, body| {
            let mut after = body.clone();
            let items = after["TransactItems"]
                .as_array_mut()
                .filter(|_| operation == "TransactWriteItems")?;
            let raises = items
                .iter()
                .any(|item| text(&item["Put"]["Item"], "pk").starts_with("ALR#"));
            for item in items {
                item["Put"].as_object_mut()?.remove("ConditionExpression");
            }
            raises.then_some(after)
        }),
    },
    Mutation {
        name: "an attempt is given up without a tombstone",
        seed: 24,
        bug: Bug::Answer(|operation, body| {
            let gives_up = expression(body, "UpdateExpression").contains("ADD abandoned :attempt");
            (operation == "UpdateItem" && gives_up).then(|| serde_json::json!({}))
        }),
    },
    Mutation {
        name: "a reservation is decided twice",
        seed: 0,
        bug: Bug::Request(|operation, body| waive(operation, body, "RSV#", "#state = :held")),
    },
    Mutation {
        name: "an event is taken back twice",
        seed: 0,
        bug: Bug::Request(|operation, body| {
            let mut after = body.clone();
            let items = after["TransactItems"]
                .as_array_mut()
                .filter(|_| operation == "TransactWriteItems")?;
            let is_flag = |item: &Value| text(&item["Update"]["Key"], "pk").starts_with("EVT#");
            let flag = items.iter_mut().find(|item| is_flag(item))?;
            flag["Update"] = tautology(&flag["Update"])?;
            for item in items.iter_mut() {
                item["Put"]
                    .as_object_mut()
                    .and_then(|put| put.remove("ConditionExpression"));
            }
            Some(after)
        }),
    },
    Mutation {
        name: "a reset leaves what is pending",
        seed: 11,
        bug: Bug::Request(|operation, body| {
            let whole = expression(body, "UpdateExpression");
            let resets = operation == "UpdateItem" && whole.contains("pending = :empty, ");
            resets.then(|| {
                let after = whole.replace("pending = :empty, ", "nothing = :empty, ");
                with(body, "UpdateExpression", &after)
            })
        }),
    },
    Mutation {
        name: "messages are deleted whatever became of them",
        seed: 13,
        bug: Bug::MessagesLost,
    },
    Mutation {
        name: "stream records are done whatever became of them",
        seed: 0,
        bug: Bug::RecordsLost,
    },
];

fn expression<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

fn with(body: &Value, name: &str, text: &str) -> Value {
    let mut after = body.clone();
    after[name] = Value::String(text.to_owned());
    after
}

/// The request with one of its conditions always met, if it is an update of such an item that has it.
fn waive(operation: &str, body: &Value, kind: &str, condition: &str) -> Option<Value> {
    let key = &body["Key"];
    let is_kind = text(key, "sk").starts_with(kind) || text(key, "pk").starts_with(kind);
    if operation != "UpdateItem" || !is_kind {
        return None;
    }
    waived(body, condition)
}

/// What an expression names must be named still, so the condition stays, beside its opposite.
fn waived(body: &Value, condition: &str) -> Option<Value> {
    let whole = expression(body, "ConditionExpression");
    let loose = format!("({condition} OR NOT {condition})");
    whole
        .contains(condition)
        .then(|| with(body, "ConditionExpression", &whole.replace(condition, &loose)))
}

/// The request with all of its condition always met.
fn tautology(body: &Value) -> Option<Value> {
    let whole = expression(body, "ConditionExpression");
    (!whole.is_empty()).then(|| with(body, "ConditionExpression", &format!("({whole}) OR NOT ({whole})")))
}
