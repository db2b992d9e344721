"""OpenMeter's own Python client, unchanged, reports usage to a running stack.

Usage: openmeter_client.py URL, with `openmeter` and `cloudevents` installed. Run by `.ci/run clients`.
"""

import json
import sys
import urllib.request

from azure.core.exceptions import HttpResponseError
from cloudevents.conversion import to_dict
from cloudevents.http import CloudEvent
from openmeter import Client

KEY = "mk_dev_service"


def event(identity, value, metric="api_calls"):
    attributes = {"id": identity, "type": metric, "source": "openmeter-python", "subject": "customer-1"}
    return to_dict(CloudEvent(attributes=attributes, data={"value": value, "model": "gpt-4"}))


def used(url):
    query = "/api/v1/usage/quotas?user_id=customer-1&metric_type=api_calls"
    request = urllib.request.Request(url + query, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["quotas"][0]["current_usage"]


def main(url):
    client = Client(endpoint=url, headers={"Accept": "application/json", "Authorization": f"Bearer {KEY}"})
    one, many = event("a", 2), [event("b", "3.5"), event("c", 1)]
    for _ in range(2):
        client.ingest_events(one)
        client.ingest_events(many, content_type="application/cloudevents-batch+json")
    assert used(url) == 6.5, used(url)
    try:
        client.ingest_events(event("d", 1, metric="teapots"))
    except HttpResponseError as refused:
        assert refused.status_code in (400, 422), refused
    else:
        raise AssertionError("an unknown metric was taken")
    assert used(url) == 6.5, used(url)
    print("OpenMeter's client: three events sent twice, counted once")


if __name__ == "__main__":
    main(sys.argv[1])
