#!/usr/bin/env python3
"""Sends usage to a deployed API for a while, says how long that took, and holds what was counted
against what was accepted: `METERING_KEY=mk_… python3 load.py https://….amazonaws.com`.

The key needs usage:read and usage:write. Usage goes to a user of the run's own, without
subscription and not enforced; erase it afterwards. Bounded: at most REQUESTS_MAX requests and
SECONDS_MAX seconds, whatever is asked for. A million requests cost what COST.md says.
"""

import argparse
import collections
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse
import uuid

REQUESTS_MAX = 100_000
SECONDS_MAX = 600
CONNECTIONS_MAX = 100
TRACK = "/api/v1/usage/track"


class Run:
    """What all connections share."""

    def __init__(self, url, key, requests, seconds):
        self.url = urllib.parse.urlsplit(url)
        self.key = key
        self.user = f"load-{uuid.uuid4().hex[:12]}"
        self.left = requests
        self.ends_at = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.statuses = collections.Counter()
        self.unknown = 0
        self.latencies_ms = []

    def connection(self):
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        return kind(self.url.netloc, timeout=35)

    def take(self):
        """Whether one more may be sent."""
        with self.lock:
            self.left -= 1
            return self.left >= 0 and time.monotonic() < self.ends_at

    def note(self, status, began):
        with self.lock:
            self.statuses[status] += 1
            self.latencies_ms.append((time.monotonic() - began) * 1000)


def send(connection, run, method, path, body=None):
    headers = {"Authorization": f"Bearer {run.key}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    return response.status, response.read()


def work(run):
    connection = run.connection()
    while run.take():
        event = {
            "user_id": run.user,
            "metric_type": "api_calls",
            "metric_value": 1,
            "enforce": False,
            "idempotency_key": uuid.uuid4().hex,
        }
        # An answer that is lost is asked for again: with its key the event counts once.
        for _ in range(3):
            began = time.monotonic()
            try:
                status, _ = send(connection, run, "POST", TRACK, event)
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            run.note(status, began)
            if status not in (429, 500, 502, 503, 504):
                break
        else:
            with run.lock:
                run.unknown += 1


def counted(run):
    connection = run.connection()
    query = urllib.parse.urlencode({"user_id": run.user, "metric_type": "api_calls"})
    status, body = send(connection, run, "GET", f"/api/v1/usage/quotas?{query}")
    if status != 200:
        sys.exit(f"what was counted cannot be read: {status} {body.decode(errors='replace')}")
    quotas = json.loads(body)["quotas"]
    return quotas[0]["current_usage"] if quotas else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("url", help="where the API answers, as the stack's output Api says")
    parser.add_argument("--requests", type=int, default=1_000, help=f"at most {REQUESTS_MAX} (1000)")
    parser.add_argument("--seconds", type=int, default=60, help=f"at most {SECONDS_MAX} (60)")
    parser.add_argument("--connections", type=int, default=8, help=f"at most {CONNECTIONS_MAX} (8)")
    asked = parser.parse_args()
    for name, most in (("requests", REQUESTS_MAX), ("seconds", SECONDS_MAX), ("connections", CONNECTIONS_MAX)):
        if not 1 <= getattr(asked, name) <= most:
            parser.error(f"--{name} must be between 1 and {most}")
    key = os.environ.get("METERING_KEY") or parser.error("METERING_KEY must hold an API key")
    run = Run(asked.url, key, asked.requests, asked.seconds)
    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(run,)) for _ in range(asked.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    times = sorted(run.latencies_ms)
    if not times:
        sys.exit("nothing was answered")
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    print(f"user {run.user}: {len(times)} answers in {took:.1f} s, {len(times) / took:.0f} a second")
    print("statuses: " + ", ".join(f"{status}: {count}" for status, count in sorted(run.statuses.items())))
    print(f"p50 {at(0.5):.1f} ms, p95 {at(0.95):.1f} ms, p99 {at(0.99):.1f} ms, most {times[-1]:.1f} ms")
    accepted, found = run.statuses[201], counted(run)
    print(f"accepted {accepted}, counted {found}")
    # What was never answered may have been counted; an answer that came twice was a duplicate.
    if not accepted <= found <= accepted + run.unknown + run.statuses[200]:
        sys.exit("what was counted is not what was accepted")


if __name__ == "__main__":
    main()
