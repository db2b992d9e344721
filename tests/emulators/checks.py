"""Checks that say what they looked at, and texts without what differs from run to run."""

import json
import re
from decimal import Decimal

ID = re.compile(r"\b([a-z]{3,5})_[0-9a-f]{24,32}\b")
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Checks:
    """Counts what holds and what does not; a failure ends nothing."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def that(self, what, holds, otherwise=""):
        """Notes whether something holds."""
        if holds:
            self.passed += 1
            print(f"  ok    {what}", flush=True)
        else:
            self.failed += 1
            print(f"  WRONG {what}: {otherwise}", flush=True)
        return holds

    def equal(self, what, got, expected):
        """Notes whether something is what it must be."""
        otherwise = f"\n    got      {text(got)}\n    expected {text(expected)}"
        return self.that(what, got == expected, otherwise)

    def close(self):
        """Prints the verdict; what the process ends with."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


def text(value):
    """A value as JSON."""
    return json.dumps(value, default=str, sort_keys=True)


def parsed(document):
    """JSON with exact numbers."""
    return json.loads(document, parse_float=Decimal)


def anonymous(value):
    """A value with kinds of ids and instants in the place of ids and instants."""
    if isinstance(value, dict):
        return {key: anonymous(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [anonymous(inner) for inner in value]
    if isinstance(value, str):
        named = UUID.sub("<uuid>", ID.sub(r"<\1>", value))
        return INSTANT.sub("<instant>", named)
    return value
