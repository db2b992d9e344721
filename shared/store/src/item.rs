//! Attribute values: the one place where numbers, instants and texts become DynamoDB's and back.
//!
//! Numbers are decimals, exact both ways (DynamoDB keeps 38 digits). What cannot be read is
//! [`StoreError::Corrupt`], never a default.

use std::{collections::HashMap, str::FromStr};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use chrono::{DateTime, Utc};
use metering_domain::number::plain;
use rust_decimal::Decimal;

use crate::{StoreError, keys};

/// An item as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// A text.
pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number.
pub fn n(number: Decimal) -> AttributeValue {
    AttributeValue::N(plain(number))
}

/// A whole number.
pub fn int(number: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// An instant.
pub fn at(instant: DateTime<Utc>) -> AttributeValue {
    s(keys::instant(instant))
}

/// Bytes.
pub fn bytes(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Adds `name` where there is a value: an absent attribute, not a Null, since index keys must not be Null.
pub fn put_some(item: &mut Item, name: &str, value: Option<AttributeValue>) {
    if let Some(value) = value {
        item.insert(name.to_owned(), value);
    }
}

/// A number as DynamoDB writes it.
fn parse_decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text)
        .or_else(|_| Decimal::from_scientific(text))
        .ok()
}

/// Reads the attributes of one item; names the kind of item in its errors.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    item: &'a Item,
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of `item`, a `what`.
    pub fn new(item: &'a Item, what: &'static str) -> Self {
        Self { item, what }
    }

    /// The error that says `name` is not what it should be.
    pub fn corrupt(&self, name: &str) -> StoreError {
        StoreError::Corrupt {
            what: self.what,
            attribute: name.to_owned(),
        }
    }

    /// Whether the attribute is there.
    pub fn has(&self, name: &str) -> bool {
        self.item.contains_key(name)
    }

    /// Whether the attribute is there and says "nothing".
    pub fn is_null(&self, name: &str) -> bool {
        matches!(self.item.get(name), Some(AttributeValue::Null(_)))
    }

    /// A text that must be there.
    pub fn text(&self, name: &str) -> Result<String, StoreError> {
        self.text_opt(name)?.ok_or_else(|| self.corrupt(name))
    }

    /// A text, if there.
    pub fn text_opt(&self, name: &str) -> Result<Option<String>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.corrupt(name)),
        }
    }

    /// A number that must be there.
    pub fn decimal(&self, name: &str) -> Result<Decimal, StoreError> {
        self.decimal_opt(name)?.ok_or_else(|| self.corrupt(name))
    }

    /// A number, if there.
    pub fn decimal_opt(&self, name: &str) -> Result<Option<Decimal>, StoreError> {
        self.number_text(name)?
            .map(|text| parse_decimal(text).ok_or_else(|| self.corrupt(name)))
            .transpose()
    }

    /// A whole number that must be there.
    pub fn integer<T: FromStr>(&self, name: &str) -> Result<T, StoreError> {
        self.integer_opt(name)?.ok_or_else(|| self.corrupt(name))
    }

    /// A whole number, if there.
    pub fn integer_opt<T: FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.number_text(name)?
            .map(|text| text.parse().map_err(|_| self.corrupt(name)))
            .transpose()
    }

    /// An instant that must be there.
    pub fn instant(&self, name: &str) -> Result<DateTime<Utc>, StoreError> {
        self.instant_opt(name)?.ok_or_else(|| self.corrupt(name))
    }

    /// An instant, if there.
    pub fn instant_opt(&self, name: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.text_opt(name)?
            .map(|text| keys::parse_instant(&text).ok_or_else(|| self.corrupt(name)))
            .transpose()
    }

    /// A list of instants; an absent one is empty.
    pub fn instants(&self, name: &str) -> Result<Vec<DateTime<Utc>>, StoreError> {
        let list = match self.item.get(name) {
            None => return Ok(Vec::new()),
            Some(AttributeValue::L(list)) => list,
            Some(_) => return Err(self.corrupt(name)),
        };
        let instants = list.iter().map(|value| keys::parse_instant(value.as_s().ok()?));
        instants.collect::<Option<_>>().ok_or_else(|| self.corrupt(name))
    }

    /// A map; an absent one is empty.
    pub fn map(&self, name: &str) -> Result<HashMap<String, AttributeValue>, StoreError> {
        match self.item.get(name) {
            None => Ok(HashMap::new()),
            Some(AttributeValue::M(map)) => Ok(map.clone()),
            Some(_) => Err(self.corrupt(name)),
        }
    }

    /// A map whose values are read by `read`; an absent one is empty.
    pub fn map_of<T, C: FromIterator<(String, T)>>(
        &self,
        name: &str,
        read: impl Fn(Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<C, StoreError> {
        self.map(name)?
            .into_iter()
            .map(|(key, value)| match value {
                AttributeValue::M(inner) => Ok((key, read(Reader::new(&inner, self.what))?)),
                _ => Err(self.corrupt(name)),
            })
            .collect()
    }

    /// A list of maps, each read by `read`; an absent one is empty.
    pub fn list_of<T>(
        &self,
        name: &str,
        read: impl Fn(Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let list = match self.item.get(name) {
            None => return Ok(Vec::new()),
            Some(AttributeValue::L(list)) => list,
            Some(_) => return Err(self.corrupt(name)),
        };
        list.iter()
            .map(|value| match value {
                AttributeValue::M(inner) => read(Reader::new(inner, self.what)),
                _ => Err(self.corrupt(name)),
            })
            .collect()
    }

    /// A list of numbers, if there.
    pub fn decimals_opt(&self, name: &str) -> Result<Option<Vec<Decimal>>, StoreError> {
        let list = match self.item.get(name) {
            None => return Ok(None),
            Some(AttributeValue::L(list)) => list,
            Some(_) => return Err(self.corrupt(name)),
        };
        let number = |value: &AttributeValue| value.as_n().ok().and_then(|text| parse_decimal(text));
        let all = list.iter().map(|value| number(value).ok_or_else(|| self.corrupt(name)));
        all.collect::<Result<_, _>>().map(Some)
    }

    /// Bytes that must be there.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8], StoreError> {
        match self.item.get(name) {
            Some(AttributeValue::B(blob)) => Ok(blob.as_ref()),
            _ => Err(self.corrupt(name)),
        }
    }

    /// A set of texts; an absent one is empty (DynamoDB has no empty sets).
    pub fn texts(&self, name: &str) -> Result<Vec<String>, StoreError> {
        match self.item.get(name) {
            None => Ok(Vec::new()),
            Some(AttributeValue::Ss(texts)) => Ok(texts.clone()),
            Some(_) => Err(self.corrupt(name)),
        }
    }

    /// A list of texts; an absent one is empty.
    pub fn list_of_texts(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let list = match self.item.get(name) {
            None => return Ok(Vec::new()),
            Some(AttributeValue::L(list)) => list,
            Some(_) => return Err(self.corrupt(name)),
        };
        let texts = list.iter().map(|value| value.as_s().ok().cloned());
        texts.collect::<Option<_>>().ok_or_else(|| self.corrupt(name))
    }

    /// A boolean; an absent one is false.
    pub fn flag(&self, name: &str) -> Result<bool, StoreError> {
        match self.item.get(name) {
            None => Ok(false),
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.corrupt(name)),
        }
    }

    fn number_text(&self, name: &str) -> Result<Option<&'a str>, StoreError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(text)) => Ok(Some(text)),
            Some(_) => Err(self.corrupt(name)),
        }
    }
}
