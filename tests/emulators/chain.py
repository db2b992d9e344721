"""What follows a write, function by function as in AWS, each under the emulator: what one leaves in a table
or queue is handed to the next as Lambda would hand it over."""

import base64
import json
import uuid

from checks import parsed
from samples import event

USER = {"user_id": "chain"}
SUBSCRIPTION = "SUB#sub_chain"
DOCUMENTS = "document_processing"


def run(checks, functions, store, outbox):
    """Tracks eighty of a hundred documents, and goes on to the hour, the alert and the mail; then erases the user."""
    usage_id = _track(checks, functions, store)
    _aggregate(checks, functions, store, usage_id)
    _alert(checks, functions, store, outbox)
    _erase(checks, functions, store)


def _track(checks, functions, store):
    settings = USER | {"email": "chain@example.com", "notification_channels": ["email"]}
    answer = functions["AlertsApi"].call(http("PUT", "/api/v1/usage/notification-settings", settings))
    checks.equal("an address is set", answer["statusCode"], 200)
    subscription = USER | {"id": "sub_chain", "plan": "basic"}
    answer = functions["AdminApi"].call(http("POST", "/api/v1/usage/admin/subscriptions", subscription, "admin"))
    checks.equal("a subscription is created", answer["statusCode"], 201)
    usage = USER | {"metric_type": DOCUMENTS, "metric_value": 80, "idempotency_key": "chain-1"}
    answer = functions["TrackingApi"].call(http("POST", "/api/v1/usage/track", usage))
    body = parsed(answer["body"])
    checks.equal("eighty documents are tracked", (answer["statusCode"], body["quota"]["current_usage"]), (201, 80))
    checks.equal("the counter has them", store.counter(SUBSCRIPTION, DOCUMENTS)["used"], 80)
    return body["usage_id"]


def _aggregate(checks, functions, store, usage_id):
    image = store.image("Events", pk=f"EVT#{usage_id}")
    answer = functions["RelayJob"].call(records("Events", {"pk": image["pk"]}, image))
    checks.equal("the event is relayed", answer, {"batchItemFailures": []})
    messages = [json.loads(body) for body in store.taken("AggregationQueue")]
    told = [(one["owner"], one["metric_type"], [event["id"] for event in one["events"]]) for one in messages]
    if not checks.equal("its hour is to be computed", told, [(SUBSCRIPTION, DOCUMENTS, [usage_id])]):
        return
    answer = functions["AggregateJob"].call(deliveries("AggregationQueue", [json.dumps(messages[0])]))
    checks.equal("the hour is computed", answer, {"batchItemFailures": []})
    query = {"user_id": "chain", "granularity": "hourly"}
    answer = functions["AnalyticsApi"].call(http("GET", f"/api/v1/usage/aggregations/{DOCUMENTS}", query=query))
    buckets = parsed(answer["body"])["aggregations"]
    checks.equal("and asked for", [(one["total_value"], one["event_count"]) for one in buckets], [(80, 1)])


def _alert(checks, functions, store, outbox):
    counter = store.counter(SUBSCRIPTION, DOCUMENTS)
    image = store.image("State", pk=counter["pk"], sk=counter["sk"])
    functions["RelayJob"].call(records("State", {"pk": image["pk"], "sk": image["sk"]}, image))
    alerts = [item for item in store.items("State", pk="ALR#chain") if "alert_type" in item]
    raised = [(one["alert_type"], one["status"]) for one in alerts]
    if not checks.equal("an alert is raised", raised, [("approaching_limit", "pending")]):
        return
    key = {"pk": alerts[0]["pk"], "sk": alerts[0]["sk"]}
    image = store.image("State", **key)
    functions["RelayJob"].call(records("State", {"pk": image["pk"], "sk": image["sk"]}, image))
    tasks = store.taken("AlertQueue")
    ways = sorted(json.loads(task)["deliver"]["way"] for task in tasks)
    checks.equal("it goes two ways", ways, ["bus", "email"])
    answer = functions["AlertJob"].call(deliveries("AlertQueue", tasks))
    checks.equal("it is delivered", answer, {"batchItemFailures": []})
    sent = outbox()
    mails = [(mail["to"], "80" in mail["subject"] + mail["text"]) for mail in sent["emails"]]
    checks.equal("by one mail", mails, [("chain@example.com", True)])
    checks.equal("and on the bus", [one["detail"]["user_id"] for one in sent["bus"]], ["chain"])
    alert = store.items("State", **key)[0]
    checks.equal("and is marked as sent", alert["status"], "sent")


def _erase(checks, functions, store):
    answer = functions["AdminApi"].call(http("DELETE", "/api/v1/usage/admin/users/chain", role="admin"))
    checks.equal("the user is to be erased", answer["statusCode"], 202)
    answer = functions["ErasureJob"].call(event("erasure"))
    checks.equal("a first pass is made", (answer["users"], answer["finished"]), (1, 0))
    left = store.items("Events", **USER) + store.items("State", **USER)
    checks.equal("nothing names the user", [item["pk"] for item in left if not item["pk"].startswith("ERA#")], [])


def http(method, path, body=None, role="service", query=None):
    """A request as API Gateway hands it over."""
    request = json.loads(event("track"))
    query = query or {}
    request |= {
        "routeKey": "$default", "rawPath": path, "queryStringParameters": query,
        "rawQueryString": "&".join(f"{name}={value}" for name, value in query.items()),
        "body": json.dumps(body) if body else None,
    }
    request["headers"] |= {"authorization": f"Bearer mk_dev_{role}"}
    del request["headers"]["content-length"]
    request["requestContext"]["routeKey"] = "$default"
    request["requestContext"]["http"] |= {"method": method, "path": path}
    return json.dumps(request)


def deliveries(queue, bodies):
    """Messages as Lambda hands them over."""
    sample = json.loads(event("ingest"))["Records"][0]
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue}"
    each = [sample | {"messageId": str(uuid.uuid4()), "body": body, "eventSourceARN": arn} for body in bodies]
    return json.dumps({"Records": each})


def records(table, key, image):
    """An item that was put, as a table's stream tells of it."""
    sample = json.loads(event("relay-usage"))["Records"][0]
    sample["eventSourceARN"] = f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/2026-01-01T00:00:00.000"
    sample["dynamodb"] |= {"Keys": key, "NewImage": image}
    return json.dumps({"Records": [sample]}, default=lambda octets: base64.b64encode(octets).decode())
