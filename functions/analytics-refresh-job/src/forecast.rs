//! The forecast of the next month that a series gets every day.

use chrono::{DateTime, Utc};
use metering_domain::metric::Metric;
use metering_edge::{
    App,
    forecast::{Ask, HORIZON_DAYS_DEFAULT, make},
    problem::{Code, Problem},
};
use metering_store::{forecast::daily_id, subscription::Target};

/// Makes and keeps the forecast of a series; false if it has one of this pass's day, or too little is known of it.
pub(crate) async fn refresh(app: &App, target: &Target, metric: Metric, began: DateTime<Utc>) -> Result<bool, Problem> {
    let ask = Ask {
        id: daily_id(&target.owner, &metric.metric_type, began),
        metric,
        horizon_days: HORIZON_DAYS_DEFAULT,
        model: None,
    };
    match make(app, target, &ask, app.context.now()).await {
        Ok(made) => Ok(app.store.forecast_put_daily(&made).await?),
        Err(problem) if problem.code() == Code::InsufficientData => Ok(false),
        Err(problem) => Err(problem),
    }
}
