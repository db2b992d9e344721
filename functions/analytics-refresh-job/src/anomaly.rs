//! The look for anomalies that a series has every day: usage that stops changes no hour, so that nothing else
//! would have it looked at.

use metering_domain::metric::{Kind, Metric};
use metering_edge::{App, message::SeriesChanged, problem::Problem};
use metering_store::subscription::Target;

/// Asks for a look at a series; leases have no hours to look at. Asked twice: what is found has one record.
pub(crate) async fn ask(app: &App, queue_url: &str, target: &Target, metric: &Metric) -> Result<(), Problem> {
    if metric.kind == Kind::Lease {
        return Ok(());
    }
    let series = SeriesChanged {
        owner: target.owner.pk(),
        user_id: target.user_id.clone(),
        metric_type: metric.metric_type.clone(),
        gauge: metric.kind == Kind::Gauge,
    };
    let body = serde_json::to_string(&series).map_err(Problem::internal)?;
    let send = app.sqs.send_message().queue_url(queue_url).message_body(body);
    send.send().await.map_err(Problem::internal)?;
    Ok(())
}
