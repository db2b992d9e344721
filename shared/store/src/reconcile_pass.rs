//! A pass over all users, of reconciliation or of another job: how far it is and what it found, so that
//! it goes on in slices.
//!
//! Each step is written if the pass is still as the writer knew it: of two workers on one pass the
//! slower one stops. Dies half-way: the step that was not written is done again. A new pass takes the
//! place of an unfinished one.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Store, StoreError,
    error::failed,
    item::{Item, Reader, at, int, put_some, s},
    keys::{RECONCILIATION, USER_KIND},
    mutation::ONLY,
};

/// What a pass found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Owners looked at.
    pub owners: u64,
    /// Counters that are right, or are not.
    pub checked: u64,
    /// Counters that are not what their records say.
    pub drifted: u64,
    /// Counters of which that cannot be said.
    pub unverifiable: u64,
    /// Counters whose writers were at work.
    pub busy: u64,
    /// Hours and days compared.
    pub aggregates_checked: u64,
    /// Hours and days that are not what their events say.
    pub aggregate_drifted: u64,
    /// Alerts that were due and not raised.
    pub thresholds_raised: u64,
    /// Users that could not be looked at.
    pub failed: u64,
}

/// What a pass adds up, and where it is noted how far it is.
pub trait Work: Serialize + DeserializeOwned + Default + Send + Sync {
    /// The key of the item: one of [`crate::keys`].
    const KEY: &'static str;
    /// What names of such passes begin with.
    const PREFIX: &'static str;
}

impl Work for Totals {
    const KEY: &'static str = RECONCILIATION;
    const PREFIX: &'static str = "rec";
}

/// A pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass<W = Totals> {
    /// Its name.
    pub id: String,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// How many steps were written.
    pub step: u64,
    /// Who wrote the last one: a name of its own for each write.
    writer: String,
    /// The place of the last user done in the list of users, newest first.
    pub after: Option<String>,
    /// How often the next users were begun with and not done.
    pub tries: u64,
    /// Whether all are done.
    pub done: bool,
    /// What it found.
    pub totals: W,
}

impl<W: Work> Pass<W> {
    fn to_item(&self) -> Result<Item, StoreError> {
        let totals = serde_json::to_string(&self.totals).map_err(|error| StoreError::Refused {
            operation: "pass_put",
            source: Box::new(error),
        })?;
        let mut item = Item::from([
            ("pk".into(), s(W::KEY)),
            ("sk".into(), s(ONLY)),
            ("id".into(), s(&self.id)),
            ("began_at".into(), at(self.began_at)),
            ("step".into(), int(self.step)),
            ("writer".into(), s(&self.writer)),
            ("tries".into(), int(self.tries)),
            ("done".into(), AttributeValue::Bool(self.done)),
            ("totals".into(), s(totals)),
        ]);
        put_some(&mut item, "after", self.after.clone().map(s));
        Ok(item)
    }

    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "pass");
        Ok(Self {
            id: read.text("id")?,
            began_at: read.instant("began_at")?,
            step: read.integer("step")?,
            writer: read.text("writer")?,
            after: read.text_opt("after")?,
            tries: read.integer("tries")?,
            done: read.flag("done")?,
            totals: serde_json::from_str(&read.text("totals")?).map_err(|_| read.corrupt("totals"))?,
        })
    }
}

impl Store {
    /// The pass that runs, or ran last.
    pub async fn pass_get<W: Work>(&self) -> Result<Option<Pass<W>>, StoreError> {
        let item = self.state_get("pass_get", W::KEY, ONLY).await?;
        item.as_ref().map(Pass::from_item).transpose()
    }

    /// Begins a new pass, whatever became of the last one.
    pub async fn pass_begin<W: Work>(&self, now: DateTime<Utc>) -> Result<Pass<W>, StoreError> {
        let pass = Pass {
            id: self.context.id(W::PREFIX),
            began_at: now,
            step: 0,
            writer: self.context.attempt(),
            after: None,
            tries: 0,
            done: false,
            totals: W::default(),
        };
        let put = self.dynamodb.put_item().table_name(&self.tables.state);
        put.set_item(Some(pass.to_item()?))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed("pass_begin", error))?;
        Ok(pass)
    }

    /// Writes the next step of a pass; none if another worker did, or another pass began.
    pub async fn pass_step<W: Work>(&self, mut pass: Pass<W>) -> Result<Option<Pass<W>>, StoreError> {
        let known = pass.step;
        pass.step += 1;
        pass.writer = self.context.attempt();
        let sent = self
            .dynamodb
            .put_item()
            .table_name(&self.tables.state)
            .set_item(Some(pass.to_item()?))
            .condition_expression("id = :id AND #step = :known")
            .expression_attribute_names("#step", "step")
            .expression_attribute_values(":id", s(&pass.id))
            .expression_attribute_values(":known", int(known))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Some(pass)),
            Err(error) => {
                let unmet = |error: &aws_sdk_dynamodb::operation::put_item::PutItemError| {
                    error.is_conditional_check_failed_exception()
                };
                if error.as_service_error().is_some_and(unmet) {
                    // Its own write, if only the answer was lost.
                    let found = self.pass_get::<W>().await?;
                    Ok(found.filter(|found| found.writer == pass.writer))
                } else {
                    Err(failed("pass_step", error))
                }
            }
        }
    }

    /// Users with their places in the list, newest first, from a place on, and whether there are more.
    pub async fn user_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, String)>, bool), StoreError> {
        let (places, next) = self.kind_list(USER_KIND, after, limit).await?;
        let named = |place: String| Some((place.split_once('#')?.1.to_owned(), place));
        let users = places
            .into_iter()
            .filter_map(|place| named(place).map(|(user, place)| (place, user)));
        Ok((users.collect(), next.is_some()))
    }
}
