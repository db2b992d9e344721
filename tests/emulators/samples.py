"""The events in `events/`: whose they are, what each is answered and what is in the store afterwards.

The answers are in `expected.json`, first and when the same is sent again, with kinds of ids and
instants in the place of ids and instants.
"""

import json
import pathlib

from checks import anonymous, parsed
from template import ROOT

EVENTS = ROOT / "events"
EXPECTED = pathlib.Path(__file__).with_name("expected.json")

# In the order in which they are sent: what is counted first is a duplicate in the queue.
FUNCTIONS = {
    "admin-create-subscription": "AdminApi",
    "alerts-create-threshold": "AlertsApi",
    "track": "TrackingApi",
    "check-quota": "TrackingApi",
    "ingest": "IngestJob",
    "access-log-http": "AccessLogJob",
    "access-log-rest": "AccessLogJob",
    "access-log-cut": "AccessLogJob",
    "alerts-list": "AlertsApi",
    "analytics-aggregations": "AnalyticsApi",
    "analytics-anomalies": "AnalyticsApi",
    "analytics-trends": "AnalyticsApi",
    "analytics-forecast": "AnalyticsApi",
    "relay-usage": "RelayJob",
    "aggregate": "AggregateJob",
    "alert": "AlertJob",
    "alert-digests": "AlertJob",
    "anomaly": "AnomalyJob",
    "lifecycle-told": "LifecycleJob",
    "lifecycle-hourly": "LifecycleJob",
    "reconcile-goes-on": "ReconcileJob",
    "reconcile-nightly": "ReconcileJob",
    "analytics-refresh-goes-on": "AnalyticsRefreshJob",
    "analytics-refresh-nightly": "AnalyticsRefreshJob",
    "reports-list": "ReportsApi",
    "report-job": "ReportJob",
    "erasure": "ErasureJob",
}

# Different at every call, or the length of what is.
HEADERS_LEFT_OUT = {"x-request-id", "content-length", "ratelimit-reset"}


def event(name):
    """A sample's text."""
    return (EVENTS / f"{name}.json").read_text()


def files():
    """The samples that there are."""
    return {path.stem for path in EVENTS.glob("*.json")}


def expected():
    """What each sample is answered, first and again."""
    return parsed(EXPECTED.read_text())


def comparable(answer):
    """An answer without what differs at every call; a body as what it says."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return anonymous(answer)
    headers = answer["headers"].items()
    return anonymous({
        "status": answer["statusCode"],
        "headers": {name: value for name, value in headers if name not in HEADERS_LEFT_OUT},
        "body": parsed(answer["body"]),
    })


def effects(store):
    """What the samples, each sent twice, left in the tables and queues."""
    events = [picked(item, "user_id", "metric_type", "v", "source", "idempotency_key", "counter")
              for item in store.items("Events")]
    told = store.image("State", pk="SUB#sub_told", sk="SUB")
    passes = store.items("State", pk="CFG#reconcile")
    # Nothing is made up in these: they say what the sample says.
    hours = [parsed(body) for body in store.taken("AggregationQueue")]
    told_by_logs = [parsed(body) for body in store.taken("UsageEventsQueue")]
    return {"hours to compute": hours, "usage told by logs": told_by_logs} | anonymous({
        "events": sorted(events, key=lambda event: event["source"]),
        "subscriptions of user 1": [picked(item, "plan", "status", "timezone")
                                    for item in store.items("State", kind="subscription", user_id="1")],
        "counters": [picked(item, "metric_type", "used", "remaining", "cap", "pending", "holds")
                     for item in store.items("State") if item["sk"].startswith("CTR#")],
        "thresholds of user 1": [picked(one, "type", "value", "metric_type", "enabled")
                                 for item in store.items("State", pk="NTF#1")
                                 for one in item["thresholds"].values()],
        "told by the bus": told and {
            "user_id": told["user_id"]["S"], "plan": told["plan"]["S"],
            "api_calls": told["overrides"]["M"]["api_calls"]["M"]["limit"]["N"],
        },
        "reconciled": [picked(item, "done", "step") | {"drifted": json.loads(item["totals"])["drifted"]}
                       for item in passes],
        "erasures": len([item for item in store.items("State") if item["pk"].startswith("ERA#")]),
        "alerts to deliver": store.taken("AlertQueue"),
        "dead letters": {queue: store.taken(queue) for queue in store.queues if queue.endswith("DeadLetters")},
    })


def picked(item, *names):
    """Some of an item; what it lacks is none."""
    return {name: item.get(name) for name in names}
