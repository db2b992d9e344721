//! Where a user who is erased is named, and what stands there instead. Only looks at values; it reads
//! and writes nothing.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Value};

use crate::{
    StoreError,
    deployment::digits,
    erasure::{PSEUDONYM_DIGITS, PURPOSE},
    item::{Item, s},
    keys::{Subject, subject_of, subject_of_series},
};

/// Ids of what is a user's. Some are made from what they are about, the user among it, and the user
/// may know all of them: they get another one, too.
const OBJECTS: [&str; 11] = [
    "evt_", "adj_", "alr_", "stm_", "rsv_", "thr_", "whe_", "rpt_", "fct_", "ano_", "sch_",
];
/// Names of what is the same for everybody: no id is looked for there.
const GENERAL: [&str; 12] = [
    "metric_type",
    "kind",
    "unit",
    "currency",
    "plan",
    "status",
    "source",
    "mode",
    "timezone",
    "period_length",
    "action",
    "actor_type",
];
/// What a caller said about what a user did, which may tell who that is.
const DETAILS: [&str; 6] = ["resource_id", "endpoint", "operation", "idempotency_key", "url", "note"];
/// How deep texts in texts are looked into.
const NESTED_MAX: u32 = 4;

/// A user who is erased, with everything that names them.
#[derive(Debug, Clone, Copy)]
pub struct Traces<'a> {
    secret: &'a [u8],
    user: &'a str,
    subscriptions: &'a BTreeSet<String>,
}

impl<'a> Traces<'a> {
    /// Of a user with these subscriptions; `secret` makes the pseudonyms.
    pub fn new(secret: &'a [u8], user: &'a str, subscriptions: &'a BTreeSet<String>) -> Self {
        Self {
            secret,
            user,
            subscriptions,
        }
    }

    /// The user.
    pub fn user(&self) -> &str {
        self.user
    }

    /// What stands for the user.
    pub(crate) fn pseudonym_of_user(&self) -> Result<String, StoreError> {
        self.pseudonym(self.user)
    }

    /// Whether this actor is the user. Ids of the system and of keys are told by no type in places.
    pub(crate) fn is_actor(&self, id: &str) -> bool {
        id == self.user && id != "system" && !id.starts_with("key_")
    }

    fn is_own(&self, subscription: &str) -> bool {
        self.subscriptions.contains(subscription)
    }

    fn is_subject(&self, subject: Option<Subject<'_>>) -> bool {
        match subject {
            None => false,
            Some(Subject::User(user)) => user == self.user,
            Some(Subject::Subscription(id)) => self.is_own(id),
        }
    }

    /// Whether an item is the user's.
    pub(crate) fn owns(&self, item: &Item) -> bool {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        text("user_id").is_some_and(|user| user == self.user)
            || text("subscription_id").is_some_and(|id| self.is_own(id))
            || text("pk").is_some_and(|pk| self.is_subject(subject_of(pk)))
            || text("owner").is_some_and(|pk| self.is_subject(subject_of(pk)))
            || text("ix_pk").is_some_and(|pk| self.is_subject(subject_of_series(pk)))
    }

    /// Whether a JSON text names the user.
    pub fn names_in_text(&self, text: &str) -> bool {
        self.names_within(text, NESTED_MAX)
    }

    fn names_within(&self, text: &str, nested: u32) -> bool {
        let may_be_json = text.starts_with(['{', '[']) && nested > 0;
        let parsed = may_be_json.then(|| serde_json::from_str(text).ok()).flatten();
        parsed.is_some_and(|value| self.names(&value, nested - 1))
    }

    /// Whether a value names the user by a member that says so: also as a table's stream writes it.
    fn names(&self, value: &Value, nested: u32) -> bool {
        match value {
            Value::Object(members) => members
                .iter()
                .any(|(name, member)| self.is_name(members, name, member) || self.names(member, nested)),
            Value::Array(elements) => elements.iter().any(|element| self.names(element, nested)),
            Value::String(text) => self.names_within(text, nested),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn is_name(&self, members: &Map<String, Value>, name: &str, member: &Value) -> bool {
        let text = match member {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Object(typed) => match typed.get("S") {
                Some(Value::String(text)) if typed.len() == 1 => text.clone(),
                _ => return false,
            },
            _ => return false,
        };
        match name {
            "user_id" | "subject" => text == self.user,
            "acknowledged_by" | "actor" => self.is_actor(&text),
            "subscription_id" => self.is_own(&text),
            // The result of a line of an import.
            "id" => members.contains_key("line") && self.is_own(&text),
            "owner" | "pk" => self.is_subject(subject_of(&text)),
            _ => false,
        }
    }

    /// An audit entry without the user, if they are in it: as who did it, or as whom it is about.
    pub(crate) fn audit_entry(&self, item: &Item) -> Result<Option<Item>, StoreError> {
        let text = |name: &str| {
            let value = item.get(name).and_then(|value| value.as_s().ok());
            value.map_or("", String::as_str)
        };
        let by_user = text("actor_type") == "user" && text("actor_id") == self.user;
        let is_about = self.is_target(text("action"), text("target"))
            || self.names_in_text(text("before"))
            || self.names_in_text(text("after"));
        if !by_user && !is_about {
            return Ok(None);
        }
        let mut after = item.clone();
        if by_user {
            after.insert("actor_id".into(), s(self.pseudonym_of_user()?));
            after.remove("ip");
        }
        if is_about {
            for name in ["before", "after", "reason"] {
                if let Some(value) = item.get(name) {
                    after.insert(name.into(), self.value_without(name, value)?);
                }
            }
            let (first, rest) = text("target").split_at(text("target").find('/').unwrap_or(text("target").len()));
            after.insert("target".into(), s(format!("{}{rest}", self.text_without(first)?)));
            let id = format!("aud_{}", self.short(text("id"))?);
            let at = text("sk").split('#').next().unwrap_or_default();
            after.insert("sk".into(), s(format!("{at}#{id}")));
            after.insert("id".into(), s(id));
        }
        Ok(Some(after))
    }

    /// Whether the user, or a subscription of theirs, is what an audit entry is about.
    fn is_target(&self, action: &str, target: &str) -> bool {
        let first = target.split('/').next().unwrap_or_default();
        match action.split('.').next().unwrap_or_default() {
            "plan" | "metric_type" | "api_key" => false,
            "notification_settings" | "user" => first == self.user,
            _ => self.is_own(first),
        }
    }

    /// An item without the user: every text of it, keys included.
    pub(crate) fn without(&self, item: &Item) -> Result<Item, StoreError> {
        let members = item
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.value_without(name, value)?)));
        members.collect()
    }

    fn value_without(&self, name: &str, value: &AttributeValue) -> Result<AttributeValue, StoreError> {
        Ok(match value {
            _ if GENERAL.contains(&name) => value.clone(),
            AttributeValue::S(text) => s(self.maybe_json_without(text)?),
            AttributeValue::Ss(texts) => AttributeValue::Ss(
                texts
                    .iter()
                    .map(|text| self.text_without(text))
                    .collect::<Result<_, _>>()?,
            ),
            AttributeValue::L(list) => AttributeValue::L(
                list.iter()
                    .map(|one| self.value_without(name, one))
                    .collect::<Result<_, _>>()?,
            ),
            AttributeValue::M(map) => AttributeValue::M(self.without(map)?),
            other => other.clone(),
        })
    }

    fn maybe_json_without(&self, text: &str) -> Result<String, StoreError> {
        if text.starts_with(['{', '['])
            && let Ok(mut value) = serde_json::from_str(text)
        {
            self.json_without(&mut value)?;
            return Ok(value.to_string());
        }
        self.text_without(text)
    }

    fn json_without(&self, value: &mut Value) -> Result<(), StoreError> {
        match value {
            Value::String(text) => *text = self.maybe_json_without(text)?,
            Value::Array(elements) => {
                for element in elements {
                    self.json_without(element)?;
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    match name.as_str() {
                        "metadata" => *member = Value::Object(Map::new()),
                        name if DETAILS.contains(&name) => *member = Value::Null,
                        name if GENERAL.contains(&name) => {}
                        // A number may be an id.
                        "user_id" if member.is_number() => {
                            *member = Value::String(self.text_without(&member.to_string())?)
                        }
                        _ => self.json_without(member)?,
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    /// A text with a pseudonym for every id in it that is the user's.
    fn text_without(&self, text: &str) -> Result<String, StoreError> {
        let mut without = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let end = if is_of_id(first) {
                rest.find(|c| !is_of_id(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(end);
            without.push_str(&self.token_without(token)?);
            rest = after;
        }
        Ok(without)
    }

    /// An id, which in a sentence may have its punctuation.
    fn token_without(&self, token: &str) -> Result<String, StoreError> {
        if self.is_id(token) {
            return self.pseudonym(token);
        }
        let core = token.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if core.is_empty() || !self.is_id(core) {
            return Ok(token.to_owned());
        }
        let start = token.find(core).unwrap_or_default();
        let (before, after) = (&token[..start], &token[start + core.len()..]);
        Ok(format!("{before}{}{after}", self.pseudonym(core)?))
    }

    fn is_id(&self, token: &str) -> bool {
        token == self.user || self.is_own(token) || OBJECTS.iter().any(|prefix| token.starts_with(prefix))
    }

    /// What stands for an id: of the user `erased_`, of others what says of what kind they are, and
    /// digits that nobody without the secret can make.
    fn pseudonym(&self, id: &str) -> Result<String, StoreError> {
        let prefix = OBJECTS
            .iter()
            .copied()
            .chain(["sub_"])
            .find(|prefix| id.starts_with(prefix));
        let prefix = prefix.filter(|_| id != self.user).unwrap_or("erased_");
        Ok(format!("{prefix}{}", self.short(id)?))
    }

    fn short(&self, text: &str) -> Result<String, StoreError> {
        let mut digits = digits(self.secret, PURPOSE, text)?;
        digits.truncate(PSEUDONYM_DIGITS);
        Ok(digits)
    }
}

/// Whether ids of users and subscriptions may hold a character.
fn is_of_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '@' | '|' | '-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys;

    const SECRET: &[u8] = &[7; 32];

    fn own() -> BTreeSet<String> {
        BTreeSet::from(["sub_1".to_owned(), "basic".to_owned()])
    }

    #[test]
    fn whole_ids_are_replaced_and_nothing_that_only_looks_like_one() {
        let own = own();
        let traces = Traces::new(SECRET, "1", &own);
        let user = traces.pseudonym("1").expect("a pseudonym");
        let subscription = traces.pseudonym("sub_1").expect("a pseudonym");
        assert!(user.starts_with("erased_") && subscription.starts_with("sub_"));
        for (text, without) in [
            ("1", user.clone()),
            ("STM#1", format!("STM#{user}")),
            ("a mistake of 1.", format!("a mistake of {user}.")),
            ("(1)", format!("({user})")),
            (
                "11 1-1 1@example.com 2026-01-01T00:00:00.001Z",
                "11 1-1 1@example.com 2026-01-01T00:00:00.001Z".to_owned(),
            ),
            ("sub_1/api_calls", format!("{subscription}/api_calls")),
            ("sub_11", "sub_11".to_owned()),
            ("Käse 1 \u{1f9c0}", format!("Käse {user} \u{1f9c0}")),
        ] {
            assert_eq!(traces.text_without(text).expect("a text"), without, "{text}");
        }
        let derived = traces
            .text_without("evt_0f6d2c0d9cbd8c1dd0a1a0bb0d8a7c11")
            .expect("a text");
        assert!(
            derived.starts_with("evt_") && !derived.contains("0f6d2c0d"),
            "{derived}"
        );
    }

    #[test]
    fn names_are_told_from_texts_that_are_alike() {
        let own = own();
        let traces = Traces::new(SECRET, "1", &own);
        for (text, named) in [
            (json!({"user_id": "1"}), true),
            (json!({"user_id": 1}), true),
            (json!([{"event": {"subject": "1"}}]), true),
            (json!({"body": json!({"user_id": "1"}).to_string()}), true),
            (json!({"NewImage": {"user_id": {"S": "1"}}}), true),
            (json!({"Keys": {"pk": {"S": "NONE#1"}}}), true),
            (json!({"Keys": {"pk": {"S": "SUB#basic"}}}), true),
            (json!({"owner": "SUB#sub_1"}), true),
            (json!({"results": [{"line": 1, "id": "sub_1"}]}), true),
            (json!({"id": "basic", "name": "1", "quotas": {"limit": 1}}), false),
            (json!({"user_id": "11", "value": "1", "resource_id": "1"}), false),
            (json!({"Keys": {"pk": {"S": "SUB#1"}}}), false),
            (json!("1"), false),
        ] {
            assert_eq!(traces.names_in_text(&text.to_string()), named, "{text}");
        }
        assert!(!traces.names_in_text("1") && !traces.names_in_text("{"));
    }

    #[test]
    fn what_is_the_same_for_everybody_stays() {
        let own = BTreeSet::new();
        let traces = Traces::new(SECRET, "api_calls", &own);
        let mut value = json!({"user_id": "api_calls", "lines": [{"metric_type": "api_calls", "cost": 1.50}],
            "metadata": {"ip": "192.0.2.1"}, "resource_id": "doc"});
        traces.json_without(&mut value).expect("a value");
        let user = traces.pseudonym_of_user().expect("a pseudonym");
        let after = json!({"user_id": user, "lines": [{"metric_type": "api_calls", "cost": 1.50}], "metadata": {},
            "resource_id": null});
        assert_eq!(value, after);
    }

    #[test]
    fn an_item_is_a_users_by_the_place_of_the_id() {
        let own = own();
        let traces = Traces::new(SECRET, "1", &own);
        let owned = |pairs: &[(&str, &str)]| {
            let item: Item = pairs
                .iter()
                .map(|(name, text)| ((*name).to_owned(), s(*text)))
                .collect();
            traces.owns(&item)
        };
        assert!(owned(&[("pk", "EVT#x"), ("user_id", "1")]));
        assert!(owned(&[("pk", "EVT#x"), ("owner", "NONE#1")]));
        assert!(owned(&[("pk", "HRS#none#1#api_calls")]));
        assert!(owned(&[("pk", "HRS#basic#api_calls")]));
        assert!(owned(&[("pk", "x"), ("ix_pk", "sub_1#api_calls")]));
        assert!(!owned(&[("pk", "PLAN#basic")]) && !owned(&[("pk", "KEY#1")]));
        assert!(
            !owned(&[("pk", "HRS#1#api_calls")]),
            "a subscription called as the user"
        );
        assert!(!owned(&[("pk", "NONE#11"), ("user_id", "11")]));
        assert!(!owned(&[("pk", keys::METRICS), ("sk", "-")]));
    }
}
