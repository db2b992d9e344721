"""The main paths through a deployed stack, each from what a caller sends to what lies in the store."""

import datetime
import decimal
import json
import os
import subprocess
import urllib.error
import urllib.request

from checks import parsed
from deploy import PARAMETERS
from processes import wait_until
from samples import picked
from template import ROOT

DOCUMENTS = "document_processing"
USER = {"user_id": "cloud"}
MALFORMED = '{"user_id": "cloud", "metric_type": '


class Api:
    """The deployed API."""

    def __init__(self, url, admin, service):
        self.url, self.keys = url, {"admin": admin, "service": service, "nobody": None}

    def call(self, method, path, body=None, role="service"):
        """Status and body of an answer."""
        headers = {"Content-Type": "application/json"}
        if self.keys[role]:
            headers["Authorization"] = f"Bearer {self.keys[role]}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, parsed(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            return refused.code, parsed(refused.read() or b"null")

    def redirected(self, path):
        """Status and target of an answer that sends elsewhere."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.keys['service']}"})
        try:
            with urllib.request.build_opener(Refusing).open(request, timeout=60) as answer:
                return answer.status, None
        except urllib.error.HTTPError as sent:
            return sent.code, sent.headers["Location"]


class Refusing(urllib.request.HTTPRedirectHandler):
    """Does not go where it is sent."""

    def redirect_request(self, *_):
        return None


def keys(checks, cloud):
    """The first key as a deployer makes it, and with it the key of a service."""
    environment = os.environ | {"AWS_ENDPOINT_URL": cloud.endpoint}
    script = [ROOT / "infra/deploy/first_key.sh", cloud.outputs["StateTable"]]
    made = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    api = Api(cloud.api(), made.stdout.strip().splitlines()[-1], None)
    wanted = {"name": "ci", "scopes": ["usage:read", "usage:write"]}
    status, key = api.call("POST", "/api/v1/usage/admin/api-keys", wanted, "admin")
    checks.equal("the first key makes a service's", (status, key.get("scopes")), (201, wanted["scopes"]))
    api.keys["service"] = key.get("key")
    return api


def http(checks, api, store):
    """Who calls; a subscription; usage once, again, and beyond the cap; what is left."""
    checks.equal("health", api.call("GET", "/health")[1]["status"], "ok")
    status, problem = api.call("GET", "/api/v1/usage/summary?user_id=cloud", role="nobody")
    checks.equal("nobody is refused", (status, problem["code"]), (401, "unauthenticated"))
    status, problem = api.call("GET", "/no/such/path")
    checks.equal("no such path", (status, problem["code"]), (404, "not_found"))
    settings = USER | {"email": "cloud@example.com", "notification_channels": ["email"]}
    checks.equal("an address", api.call("PUT", "/api/v1/usage/notification-settings", settings)[0], 200)
    wanted = USER | {"id": "sub_cloud", "plan": "basic"}
    status, made = api.call("POST", "/api/v1/usage/admin/subscriptions", wanted, "admin")
    checks.equal("a subscription", (status, picked(made, *wanted)), (201, wanted))
    usage = USER | {"metric_type": DOCUMENTS, "metric_value": 80, "idempotency_key": "cloud-1"}
    first, again = (api.call("POST", "/api/v1/usage/track", usage) for _ in range(2))
    told = ("duplicate", "metric_value", "over_limit", "unit")
    expected = {"duplicate": False, "metric_value": 80, "over_limit": False, "unit": "documents"}
    checks.equal("usage is tracked", (first[0], picked(first[1], *told)), (201, expected))
    checks.equal("again: once", (again[0], picked(again[1], *told)), (200, expected | {"duplicate": True}))
    checks.equal("under one id", again[1]["usage_id"], first[1]["usage_id"])
    status, denied = api.call("POST", "/api/v1/usage/track", usage | {"metric_value": 71, "idempotency_key": "cloud-2"})
    checks.equal("beyond the cap of 150: denied", (status, denied["code"]), (429, "quota_exceeded"))
    status, quota = api.call("GET", f"/api/v1/usage/check-quota/{DOCUMENTS}?user_id=cloud&required_quantity=20")
    left = (status, quota["is_available"], quota["quota_info"]["current_usage"], quota["quota_info"]["available"])
    checks.equal("the quota", left, (200, True, 80, 20))
    counter = store.counter("SUB#sub_cloud", DOCUMENTS)
    checks.equal("stored: the counter", picked(counter, "used", "cap"), {"used": 80, "cap": 150})
    events = [picked(item, "pk", "v", "source") for item in store.items("Events", **USER)]
    checks.equal("stored: one event", events, [{"pk": f"EVT#{first[1]['usage_id']}", "v": 80, "source": "api"}])


def queue(checks, api, store):
    """Messages of usage: a good one twice, one with a wrong element, one that is no JSON."""
    good = USER | {"metric_type": "api_calls", "metric_value": 5, "idempotency_key": "queued-1"}
    told = {"specversion": "1.0", "id": "queued-2", "source": "/gateway", "type": "api_calls", "subject": "cloud"}
    mixed = [told | {"data": {"value": 2}}, USER | {"metric_type": "teapots", "metric_value": 1}]
    bodies = [json.dumps(good), json.dumps(good), json.dumps(mixed), MALFORMED]
    entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
    store.sqs.send_message_batch(QueueUrl=store.queues["UsageEventsQueue"], Entries=entries)
    letters = []

    def arrived():
        letters.extend(json.loads(body) for body in store.taken("UsageEventsDeadLetters"))
        counter = store.counter("SUB#sub_cloud", "api_calls")
        return len(letters) >= 2 and counter and not counter["pending"]

    wait_until("queued usage", arrived, pause=0.5)
    checks.equal("queued usage is counted once", store.counter("SUB#sub_cloud", "api_calls")["used"], 7)
    stored = [(item["idempotency_key"], item["v"]) for item in store.items("Events", **USER, metric_type="api_calls")]
    checks.equal("stored: two events", sorted(stored), [("queued-1", 5), ("queued-2", 2)])
    reasons = sorted((letter["body"], letter["dead_letter"]["reason"],
                      [error["position"] for error in letter["dead_letter"]["errors"]]) for letter in letters)
    checks.equal("what cannot be counted is in the dead-letter queue, with its reason", reasons, sorted([
        (json.dumps(mixed), "1 of 2 elements cannot be counted", [1]),
        (MALFORMED, "1 of 1 elements cannot be counted", [0]),
    ]))
    status, quota = api.call("GET", "/api/v1/usage/check-quota/api_calls?user_id=cloud")
    checks.equal("and the API says so", (status, quota["quota_info"]["current_usage"]), (200, 7))


def access_log(checks, api, cloud, store):
    """Lines of another API's access log: two requests, one of them twice, and one that is cut off."""
    logs, group = cloud.client("logs"), PARAMETERS["AccessLogGroup"]

    def line(request):
        return json.dumps({
            "user_id": "logged", "extendedRequestId": request, "requestTimeEpoch": str(int(now().timestamp() * 1000)),
            "routeKey": "GET /documents/{id}", "status": "200", "responseLength": "1500", "responseLatency": "38",
        })

    cut = line("logged-3")[:60]
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    for lines in ([line("logged-1"), line("logged-2"), cut], [line("logged-1")]):
        events = [{"timestamp": int(now().timestamp() * 1000), "message": text} for text in lines]
        logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=events)
    letters = wait_until("the line that is cut off", lambda: store.taken("AccessLogDeadLetters"), pause=1)
    said = [(letter["body"], letter["dead_letter"]["log_group"]) for letter in map(json.loads, letters)]
    checks.equal("a line that is cut off is put aside", said, [(cut, group)])

    def used():
        return [api.call("GET", f"/api/v1/usage/check-quota/{metric}?user_id=logged")[1]["quota_info"]["current_usage"]
                for metric in ("api_calls", "bandwidth_usage")]

    # Told by one line, and again by another batch.
    wanted = [2, decimal.Decimal("0.000003")]
    wait_until("the access log", lambda: used() == wanted, pause=1)
    checks.equal("what an access log tells is counted, once", used(), wanted)


def report(checks, api, cloud):
    """A report: made, in the bucket, and fetched by its link."""
    wanted = USER | {"report_type": "summary", "report_format": "csv",
                     "period_start": (now() - datetime.timedelta(days=1)).isoformat(), "period_end": now().isoformat()}
    status, made = api.call("POST", "/api/v1/usage/reports/generate", wanted)
    checks.equal("a report is made", (status, made.get("status", made)), (201, "completed"))
    s3, bucket = cloud.client("s3"), cloud.resources["Reports"]
    kept = [(one["Key"].split("/")[:-1], one["Size"]) for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    wanted = [(["reports", "cloud", made["id"]], made["file_size_bytes"])]
    checks.equal("its file is in the bucket, in the user's folder", kept, wanted)
    status, location = api.redirected(made["file_url"])
    with urllib.request.urlopen(location, timeout=60) as answer:
        text = answer.read().decode()
    checks.equal("and fetched by its link", (status, len(text.encode())), (302, made["file_size_bytes"]))
    checks.that("which says what was used", "document_processing" in text and "api_calls" in text, text)


def poison(checks, api, store):
    """Sends a message that fails at every try, since the counter that it needs is damaged; the message."""
    user = {"user_id": "poison", "metric_type": "api_calls", "metric_value": 1}
    wanted = {"user_id": "poison", "id": "sub_poison", "plan": "basic"}
    api.call("POST", "/api/v1/usage/admin/subscriptions", wanted, "admin")
    checks.equal("a counter to be damaged", api.call("POST", "/api/v1/usage/track", user)[0], 201)
    counter = store.counter("SUB#sub_poison", "api_calls")
    store.dynamodb.update_item(
        TableName=store.tables["State"], Key={"pk": {"S": counter["pk"]}, "sk": {"S": counter["sk"]}},
        UpdateExpression="SET terms = :damage", ExpressionAttributeValues={":damage": {"S": "damaged"}},
    )
    message = json.dumps(user | {"idempotency_key": "poison-1"})
    store.sqs.send_message(QueueUrl=store.queues["UsageEventsQueue"], MessageBody=message)
    return message


def poisoned(checks, store, message):
    """The message of `poison` was tried as often as the parameter says, then put aside as it was sent."""
    tries, seconds = (int(PARAMETERS[f"UsageQueue{name}"]) for name in ("ReceivesMax", "VisibilitySeconds"))
    letters = wait_until("the poison message", lambda: store.taken("UsageEventsDeadLetters"), (tries + 2) * seconds, 1)
    checks.equal("a message that always fails ends in the dead-letter queue", letters, [message])
    counts = store.sqs.get_queue_attributes(QueueUrl=store.queues["UsageEventsQueue"], AttributeNames=["All"])
    left = [counts["Attributes"][f"ApproximateNumberOfMessages{state}"] for state in ("", "NotVisible")]
    checks.equal("and is gone from its queue", left, ["0", "0"])


def stream(checks, api, cloud, store):
    """What follows a write: the aggregate, and at 80 % the alert and its mail."""
    query = f"/api/v1/usage/aggregations/{DOCUMENTS}?user_id=cloud&granularity=hourly"
    buckets = wait_until("the aggregate", lambda: api.call("GET", query)[1]["aggregations"], pause=1)
    checks.equal("usage is aggregated", [picked(one, "total_value", "event_count") for one in buckets],
                 [{"total_value": 80, "event_count": 1}])
    query = "/api/v1/usage/alerts?user_id=cloud&status=sent"
    alerts = wait_until("the alert", lambda: api.call("GET", query)[1]["alerts"], pause=1)
    checks.equal("a threshold raises an alert", [picked(one, "alert_type", "metric_type") for one in alerts],
                 [{"alert_type": "approaching_limit", "metric_type": DOCUMENTS}])
    raised = [picked(item, "alert_type", "status") for item in store.items("State", pk="ALR#cloud")
              if "alert_type" in item]
    checks.equal("stored: one alert, sent", raised, [{"alert_type": "approaching_limit", "status": "sent"}])
    sent = [mail for mail in mails(cloud) if "cloud@example.com" in mail]
    says = [alerts[0]["id"], alerts[0]["title"], "Used: 80", "Limit: 100", PARAMETERS["MailSender"]]
    checks.that("which is mailed, once", len(sent) == 1 and all(what in sent[0] for what in says), sent)


def mails(cloud):
    """The mails that the cloud keeps, each as JSON: at ministack's own place, by account, or at LocalStack's."""
    for path in ("/_ministack/ses/messages", "/_aws/ses"):
        try:
            with urllib.request.urlopen(cloud.endpoint + path, timeout=10) as answer:
                kept = json.load(answer)["messages"]
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            continue
        lists = kept.values() if isinstance(kept, dict) else [kept]
        return [json.dumps(mail) for mails_of_account in lists for mail in mails_of_account]
    raise LookupError("the cloud keeps no mails")


def bus(checks, api, cloud, store):
    """What another system tells of a subscription, over the bus."""
    detail = {"subscription_id": "sub_bus", "user_id": "bus", "plan": "basic", "limits": {"api_calls": 5000},
              "occurred_at": now().isoformat().replace("+00:00", "Z")}
    entry = {"EventBusName": cloud.resources["UsageBus"], "Source": "licences",
             "DetailType": "subscription.created", "Detail": json.dumps(detail)}
    cloud.client("events").put_events(Entries=[entry])
    path = "/api/v1/usage/admin/subscriptions/sub_bus"
    wait_until("the subscription", lambda: api.call("GET", path, role="admin")[0] == 200, pause=1)
    told = store.image("State", pk="SUB#sub_bus", sk="SUB")
    limit = told["overrides"]["M"]["api_calls"]["M"]["limit"]["N"]
    checks.equal("a subscription is made by the bus", (told["user_id"]["S"], limit), ("bus", "5000"))


def schedule(checks, api, cloud, store):
    """A schedule starts the erasing of a user; it is made to come every minute, all else about it stays.

    (Of a schedule that is changed to a moment, `at(…)`, ministack thinks that it has come already.)
    """
    usage = {"user_id": "gone", "metric_type": "api_calls", "metric_value": 1}
    checks.equal("a user to be erased", api.call("POST", "/api/v1/usage/track", usage)[0], 201)
    wanted = {"user_id": "gone", "report_type": "summary", "report_format": "json",
              "period_start": (now() - datetime.timedelta(days=1)).isoformat(), "period_end": now().isoformat()}
    checks.equal("with a report", api.call("POST", "/api/v1/usage/reports/generate", wanted)[0], 201)
    answer = api.call("DELETE", "/api/v1/usage/admin/users/gone", role="admin")
    checks.equal("is to be", answer, (202, {"user_id": "gone", "status": "erasing"}))
    scheduler = cloud.client("scheduler")
    due = scheduler.get_schedule(Name=cloud.resources["ErasureJobDue"])
    kept = picked(due, "Name", "FlexibleTimeWindow", "Target")
    scheduler.update_schedule(ScheduleExpression="rate(1 minute)", **kept)

    def files():
        """The files of the user's reports."""
        listed = cloud.client("s3").list_objects_v2(Bucket=cloud.resources["Reports"], Prefix="reports/gone/")
        return [one["Key"] for one in listed.get("Contents", [])]

    def left():
        """What names the user: items, and the tombstone."""
        both = store.items("Events", user_id="gone") + store.items("State", user_id="gone")
        tombstones = [item for item in both if item["pk"].startswith("ERA#")]
        return [item["pk"] for item in both if item not in tombstones], tombstones[0]

    checks.that("until the schedule comes the user is there", left()[0] and files())
    # Noted when the first pass over the tables and then over the dead letters has come to its end.
    over = {"pass": 1, "stage": "queues", "position": {}}
    wait_until("the schedule", lambda: picked(left()[1], *over) == over, 120, 1)
    scheduler.update_schedule(ScheduleExpression=due["ScheduleExpression"], **kept)
    checks.equal("its run leaves nothing of the user", left()[0] + files(), [])
    # Caches of a minute may not know of it yet.
    refused = wait_until("the caches", lambda: api.call("POST", "/api/v1/usage/track", usage)[0] == 410, 70, 5)
    checks.that("who cannot come back", refused)


def nothing_else_failed(checks, cloud, store):
    """No other dead letters than what the damaged counter brings about in the streams, and no failed batch."""
    letters = {queue: store.taken(queue) for queue in store.queues if queue.endswith("DeadLetters")}
    damaged = [letter for letter in letters["RelayDeadLetters"] if "sub_poison" in letter]
    checks.that("the damaged counter's records are put aside by the streams' function", damaged)
    letters["RelayDeadLetters"] = [letter for letter in letters["RelayDeadLetters"] if letter not in damaged]
    checks.equal("no other dead letter", {name: one for name, one in letters.items() if one}, {})
    mappings = cloud.client("lambda").get_paginator("list_event_source_mappings").paginate()
    last = {mapping["EventSourceArn"]: mapping["LastProcessingResult"]
            for page in mappings for mapping in page["EventSourceMappings"]}
    failed = {source: result for source, result in last.items() if not result.startswith(("OK", "No records"))}
    checks.equal(f"none of {len(last)} mappings has failed last", failed, {})


def now():
    """The present instant, in UTC."""
    return datetime.datetime.now(datetime.UTC)
