//! What reports and schedules have in common: whose they are, and who may see them.

use std::sync::Arc;

use metering_domain::metric::Metric;
use metering_edge::{
    App,
    auth::Call,
    cursor::Cursors,
    fields::Fields,
    problem::{FieldCode, Problem},
    read,
    subject::{Named, is_there, owner_of_query},
};
use metering_store::metric::Catalogue;

/// The most metrics that are named at once.
const METRICS_MAX: usize = 100;

/// Whether an object is there for the caller of a path that names it: what says of several users, for administrators
/// alone.
pub(crate) fn is_visible(call: &Call, owner: Option<&str>, of_several: bool) -> Result<bool, Problem> {
    let named = owner_of_query(call)?;
    let is_own = is_there(call, named, owner)?;
    Ok(owner.is_some() && is_own && (!of_several || call.caller.is_admin()))
}

/// Reads `metric_types`: None stands for all. Named twice is named once.
pub(crate) fn metrics(fields: &mut Fields, catalogue: &Catalogue) -> Option<Vec<Metric>> {
    let all = fields.list("metric_types", read::metric(catalogue))?;
    let mut named: Vec<Metric> = Vec::new();
    for metric in all {
        if named.iter().all(|one| one.metric_type != metric.metric_type) {
            named.push(metric);
        }
    }
    if named.len() > METRICS_MAX {
        let detail = format!("must name at most {METRICS_MAX} metrics");
        fields.fail("metric_types", FieldCode::TooManyItems, detail);
        return None;
    }
    Some(named)
}

/// The catalogue that knows what a body names.
pub(crate) async fn catalogue(app: &App, fields: &Fields, call: &Call) -> Result<Arc<Catalogue>, Problem> {
    Ok(app
        .store
        .metrics(fields.texts_of("metric_types"), call.info.now)
        .await?)
}

/// Which part of a user's reports or schedules is asked for.
pub(crate) struct Part<'a> {
    pub user_id: String,
    pub subscription_id: Option<String>,
    pub before: Option<String>,
    pub limit: usize,
    pub cursors: Cursors<'a>,
}

impl<'a> Part<'a> {
    /// Reads a query whose own fields `own` reads. 404 if the subscription is not the user's.
    pub async fn read<T>(
        app: &'a App,
        call: &'a Call,
        own: impl FnOnce(&mut Fields) -> T,
    ) -> Result<(Self, T), Problem> {
        let mut fields = Fields::query(call.info.query.as_deref());
        let named = Named::read(call, &mut fields);
        let own = own(&mut fields);
        let limit = fields.optional("limit", read::limit).unwrap_or(read::LIMIT_DEFAULT);
        let cursor = fields.optional("cursor", read::cursor);
        let named = fields.finish(Some(named))?;
        let cursors = Cursors::of(app, call).await?;
        let before = cursors.read(cursor)?;
        let subscription_id = named.subscription_id();
        if subscription_id.is_some() {
            named.target(app, call).await?;
        }
        let part = Self {
            user_id: named.user(call)?,
            subscription_id,
            before,
            limit,
            cursors,
        };
        Ok((part, own))
    }
}
