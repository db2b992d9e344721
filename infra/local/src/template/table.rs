//! Tables: keys, indexes and the attribute by which items expire.

use serde_json::{Value, json};

use super::{TemplateError, node::Node};

/// Carried out here, or demanded to have the one value that is.
const PROPERTIES: [&str; 10] = [
    "AttributeDefinitions",
    "BillingMode",
    "DeletionProtectionEnabled",
    "GlobalSecondaryIndexes",
    "KeySchema",
    "PointInTimeRecoverySpecification",
    "SSESpecification",
    "StreamSpecification",
    "Tags",
    "TimeToLiveSpecification",
];

/// One attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The attribute.
    pub attribute: String,
    /// `HASH` or `RANGE`.
    pub role: String,
}

/// A global secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: Vec<Key>,
    /// `KEYS_ONLY`, `INCLUDE` or `ALL`.
    pub projection: String,
    /// What `INCLUDE` includes.
    pub included: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, here the same as in the template.
    pub name: String,
    /// The key attributes of the table and its indexes, with their types.
    pub attributes: Vec<(String, String)>,
    /// Its key.
    pub key: Vec<Key>,
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// The attribute that holds the second after which an item may be deleted.
    pub expiry: Option<String>,
    /// What the records of its stream hold, if a function is handed them.
    pub stream: Option<String>,
}

impl Table {
    /// The body of the `CreateTable` request that makes it.
    ///
    /// With its stream only if somebody reads it: the engine looks at all records on each write.
    /// Measured in process on a file, 10,000 times one counter update and one event with its
    /// index entry: 3,200 pairs a second without streams; with them 47, falling; 1,700 with the
    /// index over the records that `streams` makes, and a file that grows by 2 KB a pair instead
    /// of 1.
    pub fn create_request(&self) -> Value {
        let attributes: Vec<Value> = self
            .attributes
            .iter()
            .map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind}))
            .collect();
        let mut request = json!({
            "TableName": self.name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attributes,
            "KeySchema": key_schema(&self.key),
        });
        if !self.indexes.is_empty() {
            request["GlobalSecondaryIndexes"] = self.indexes.iter().map(Index::request).collect();
        }
        if let Some(view) = &self.stream {
            request["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": view});
        }
        request
    }
}

impl Index {
    fn request(&self) -> Value {
        let mut projection = json!({"ProjectionType": self.projection});
        if !self.included.is_empty() {
            projection["NonKeyAttributes"] = json!(self.included);
        }
        json!({
            "IndexName": self.name,
            "KeySchema": key_schema(&self.key),
            "Projection": projection,
        })
    }
}

fn key_schema(key: &[Key]) -> Value {
    key.iter()
        .map(|part| json!({"AttributeName": part.attribute, "KeyType": part.role}))
        .collect()
}

/// Reads the table `name`.
pub fn read(name: &str, properties: Node<'_>) -> Result<Table, TemplateError> {
    properties.only(&PROPERTIES)?;
    let billing = properties.required("BillingMode")?;
    if billing.plain()? != "PAY_PER_REQUEST" {
        return Err(billing.wrong("only PAY_PER_REQUEST is understood"));
    }
    let mut attributes = Vec::new();
    for definition in properties.required("AttributeDefinitions")?.items()? {
        definition.only(&["AttributeName", "AttributeType"])?;
        let attribute = definition.required("AttributeName")?.plain()?.to_owned();
        let kind = definition.required("AttributeType")?.plain()?.to_owned();
        attributes.push((attribute, kind));
    }
    let mut indexes = Vec::new();
    if let Some(declared) = properties.child("GlobalSecondaryIndexes")? {
        for index in declared.items()? {
            indexes.push(read_index(index)?);
        }
    }
    Ok(Table {
        name: name.to_owned(),
        attributes,
        key: read_key(properties.required("KeySchema")?)?,
        indexes,
        expiry: read_expiry(properties)?,
        stream: read_stream(properties)?,
    })
}

fn read_index(index: Node<'_>) -> Result<Index, TemplateError> {
    index.only(&["IndexName", "KeySchema", "Projection"])?;
    let projection = index.required("Projection")?;
    projection.only(&["NonKeyAttributes", "ProjectionType"])?;
    let mut included = Vec::new();
    if let Some(attributes) = projection.child("NonKeyAttributes")? {
        for attribute in attributes.items()? {
            included.push(attribute.plain()?.to_owned());
        }
    }
    Ok(Index {
        name: index.required("IndexName")?.plain()?.to_owned(),
        key: read_key(index.required("KeySchema")?)?,
        projection: projection.required("ProjectionType")?.plain()?.to_owned(),
        included,
    })
}

fn read_key(schema: Node<'_>) -> Result<Vec<Key>, TemplateError> {
    let mut key = Vec::new();
    for part in schema.items()? {
        part.only(&["AttributeName", "KeyType"])?;
        key.push(Key {
            attribute: part.required("AttributeName")?.plain()?.to_owned(),
            role: part.required("KeyType")?.plain()?.to_owned(),
        });
    }
    Ok(key)
}

fn read_expiry(properties: Node<'_>) -> Result<Option<String>, TemplateError> {
    let Some(expiry) = properties.child("TimeToLiveSpecification")? else {
        return Ok(None);
    };
    expiry.only(&["AttributeName", "Enabled"])?;
    match expiry.required("Enabled")?.value().as_bool() {
        Some(true) => Ok(Some(expiry.required("AttributeName")?.plain()?.to_owned())),
        Some(false) => Ok(None),
        None => Err(expiry.wrong("Enabled must be true or false")),
    }
}

fn read_stream(properties: Node<'_>) -> Result<Option<String>, TemplateError> {
    let Some(stream) = properties.child("StreamSpecification")? else {
        return Ok(None);
    };
    stream.only(&["StreamViewType"])?;
    Ok(Some(stream.required("StreamViewType")?.plain()?.to_owned()))
}
