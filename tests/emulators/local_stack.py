"""The local stack, idle: its engines serve, its functions are left to the emulator."""

import contextlib
import json
import urllib.parse
import urllib.request

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

import template
from processes import running, wait_until

CALL_SECONDS = 30


class LocalStack:
    """What its engines hold, and how functions reach them."""

    def __init__(self, url):
        self.url = url
        self.about = self.get("/_local")

    def get(self, path):
        """The answer to a request without credentials."""
        with urllib.request.urlopen(self.url + path, timeout=CALL_SECONDS) as answer:
            return json.load(answer)

    def post(self, path, body):
        """The answer to a body."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
            return json.load(answer)

    def client(self, service):
        """A client of `dynamodb` or `sqs`."""
        return boto3.client(
            service,
            endpoint_url=self.about[service],
            region_name=self.about["region"],
            aws_access_key_id=self.about["access_key_id"],
            aws_secret_access_key=self.about["secret_access_key"],
        )

    def dynamodb_port(self):
        """Where the engine listens."""
        return urllib.parse.urlsplit(self.about["dynamodb"]).port

    def environment(self, whole, function):
        """What a function finds in its environment: what the template says, and the engines."""
        parameters = {name: one["Default"] for name, one in whole["Parameters"].items()}
        known = parameters | self.about["tables"] | self.about["queues"]
        for name, bus in template.of_type(whole, "AWS::Events::EventBus").items():
            known[name] = template.resolved(bus["Name"], known)
        variables = template.functions(whole)[function]["Environment"]["Variables"]
        known |= {"Reports": "reports", "HttpApi": "local", "AWS::Region": "us-east-1", "AWS::URLSuffix": "amazonaws.com"}
        return {name: template.resolved(value, known) for name, value in variables.items()} | {
            "AWS_REGION": self.about["region"],
            "AWS_ACCESS_KEY_ID": self.about["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.about["secret_access_key"],
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(whole["Globals"]["Function"]["Timeout"]),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(whole["Globals"]["Function"]["MemorySize"]),
            "AWS_ENDPOINT_URL_S3": self.about["s3"],
            "AWS_ENDPOINT_URL_SQS": self.about["sqs"],
            "AWS_ENDPOINT_URL_SESV2": self.about["sesv2"],
            "AWS_ENDPOINT_URL_SNS": self.about["sns"],
            "AWS_ENDPOINT_URL_EVENTBRIDGE": self.about["events"],
        }


class Store:
    """What lies in the tables and queues, read past the functions."""

    def __init__(self, dynamodb, sqs, tables, queues):
        self.dynamodb, self.sqs, self.tables, self.queues = dynamodb, sqs, tables, queues

    def items(self, table, **wanted):
        """The items of a table whose attributes have these values."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.tables[table], ConsistentRead=True)
        found = (plain(item) for page in pages for item in page["Items"])
        return [item for item in found if all(item.get(name) == value for name, value in wanted.items())]

    def image(self, table, **key):
        """An item as a stream would tell it; none if there is none."""
        typed = {name: TypeSerializer().serialize(value) for name, value in key.items()}
        return self.dynamodb.get_item(TableName=self.tables[table], Key=typed, ConsistentRead=True).get("Item")

    def counter(self, pk, metric):
        """What a counter counts; none if there is none."""
        for item in self.items("State", pk=pk):
            if item["sk"].startswith("CTR#") and item["sk"].endswith(f"#{metric}"):
                return item
        return None

    def taken(self, queue):
        """The messages of a queue, taken out of it."""
        url, taken = self.queues[queue], []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                taken.append(message["Body"])
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return taken


def plain(item):
    """An item without the names of types."""
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


@contextlib.contextmanager
def local_stack(program, log):
    """Starts the stack on any free port."""
    with running([program, "--ephemeral", "--port", "0", "--idle"], log):
        def ready():
            lines = log.read_text().splitlines() if log.exists() else []
            return [line.removeprefix("ready ") for line in lines if line.startswith("ready ")]

        yield LocalStack(wait_until("the local stack", ready)[0])
