//! The per-user item: which subscriptions the user has, and the implicit subscription `none`
//! that holds until the first one exists.

use aws_sdk_dynamodb::types::{AttributeValue, builders::UpdateBuilder};
use chrono::{DateTime, Utc};

use crate::{
    Store, StoreError,
    configuration::Configuration,
    item::{Item, Reader, at, put_some, s},
    keys::{self, OWNER, Owner},
};

/// The most subscriptions one user may have: they are listed in one item, read at once.
pub const SUBSCRIPTIONS_MAX: usize = 500;

/// Whether a subscription takes enforced usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Active,
    /// It ended.
    Cancelled,
}

impl Status {
    /// Its name in answers and items.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// A subscription in its user's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Whether it takes enforced usage.
    pub status: Status,
    /// When it will end, or ended, if that is decided.
    pub cancel_at: Option<DateTime<Utc>>,
}

/// A user as the store knows them.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// The limits of the implicit subscription.
    pub configuration: Configuration,
    /// The user's subscriptions in the order of their creation.
    pub subscriptions: Vec<Listed>,
}

impl Account {
    fn from_item(item: &Item) -> Result<Self, StoreError> {
        let read = Reader::new(item, "account");
        let subscription = |one: Reader<'_>| {
            let status = Status::parse(&one.text("status")?).ok_or_else(|| one.corrupt("status"))?;
            Ok(Listed {
                id: one.text("id")?,
                status,
                cancel_at: one.instant_opt("cancel_at")?,
            })
        };
        Ok(Self {
            configuration: Configuration::read(&read)?,
            subscriptions: read.list_of("subscriptions", subscription)?,
        })
    }

    /// The first active subscription: the user's default one. One whose end is decided is no more
    /// active from that instant on, whether or not anybody has noted it.
    pub fn default_subscription(&self, now: DateTime<Utc>) -> Option<&str> {
        self.subscriptions
            .iter()
            .find(|one| one.status == Status::Active && one.cancel_at.is_none_or(|at| now < at))
            .map(|one| one.id.as_str())
    }
}

impl Account {
    /// All whose counters are the user's: the implicit subscription and each of the others.
    pub fn owners(&self, user_id: &str) -> Vec<Owner> {
        let own = self.subscriptions.iter().map(|one| Owner::Subscription(one.id.clone()));
        std::iter::once(Owner::None(user_id.to_owned())).chain(own).collect()
    }
}

/// An entry of the list of subscriptions.
pub(crate) fn entry(id: &str, status: Status, cancel_at: Option<DateTime<Utc>>) -> AttributeValue {
    let mut item = Item::from([("id".into(), s(id)), ("status".into(), s(status.as_str()))]);
    put_some(&mut item, "cancel_at", cancel_at.map(at));
    AttributeValue::M(item)
}

/// What puts a user into the list of users, with the first write of their item.
pub(crate) const LISTED: &str = "user_id = :user, kind = :user_kind, kind_sort = if_not_exists(kind_sort, :user_sort)";

/// The values that [`LISTED`] names.
pub(crate) fn listed(builder: UpdateBuilder, user_id: &str, now: DateTime<Utc>) -> UpdateBuilder {
    builder
        .expression_attribute_values(":user", s(user_id))
        .expression_attribute_values(":user_kind", s(keys::USER_KIND))
        .expression_attribute_values(":user_sort", s(keys::by_instant(now, user_id)))
}

impl Store {
    /// A user's account, strongly read; one nobody wrote yet has no subscriptions.
    pub async fn account_get(&self, user_id: &str) -> Result<Account, StoreError> {
        let pk = Owner::None(user_id.to_owned()).pk();
        let item = self.state_get("account_get", &pk, OWNER).await?;
        item.as_ref().map_or_else(|| Ok(Account::default()), Account::from_item)
    }
}
