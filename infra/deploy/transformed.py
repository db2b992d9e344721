"""Holds what SAM makes of template.yaml against the template: `python transformed.py`, with aws-sam-cli.

Offline, by the transform that CloudFormation runs itself. The rules in `src/lint` look at the
template as it is written; here is what only the transform decides: roles, routes, mappings.
"""

import json
import pathlib
import sys

from samcli.lib.translate.sam_template_validator import SamTemplateValidator
from samcli.yamlhelper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESOURCES_MAX = 500
AWS_POLICIES = {
    "service-role/AWSLambdaBasicExecutionRole": "every function: it writes logs",
    "AWSXrayWriteOnlyAccess": "every function: it is traced",
    "service-role/AWSLambdaSQSQueueExecutionRole": "what is handed messages; fenced",
    "service-role/AWSLambdaDynamoDBExecutionRole": "what is handed records; fenced",
}


class NoPoliciesByName:
    """The template names no policy of AWS's, so that nobody need be asked for their list."""

    def load(self):
        return {}


def transformed(template):
    validator = SamTemplateValidator(template, NoPoliciesByName(), region="us-east-1")
    return yaml_parse(validator.get_translated_template_if_valid())


class Check:
    def __init__(self, source, result):
        self.source = source["Resources"]
        self.result = result["Resources"]
        self.faults = []

    def that(self, holds, what):
        if not holds:
            self.faults.append(what)

    def of(self, kind):
        return {name: one["Properties"] for name, one in self.result.items() if one["Type"] == kind}

    def functions(self):
        """Each has the policies that are written, and of AWS's those that are known; its logs; its trace."""
        written = {n: r for n, r in self.source.items() if r["Type"] == "AWS::Serverless::Function"}
        functions, roles = self.of("AWS::Lambda::Function"), self.of("AWS::IAM::Role")
        self.that(functions.keys() == written.keys(), "the functions are not those that are written")
        granted = 0
        for name, function in functions.items():
            role = roles[function["Role"]["Fn::GetAtt"][0]]
            inline = [policy["PolicyDocument"] for policy in role["Policies"]]
            own = written[name]["Properties"]["Policies"]
            self.that(all(document in inline for document in own), f"{name}: its role lacks what is written")
            for document in inline:
                granted += len(document["Statement"])
                self.that(document in own or self.puts_aside(document), f"{name}: its role may do more: {document}")
            for arn in role["ManagedPolicyArns"]:
                policy = json.dumps(arn).split(":policy/")[1].rstrip('"]}')
                self.that(policy in AWS_POLICIES, f"{name}: {policy} was not expected")
            self.that("LogGroup" in function.get("LoggingConfig", {}), f"{name}: its logs go elsewhere")
            self.that(function.get("TracingConfig", {}).get("Mode") == {"Ref": "Tracing"}, f"{name}: it is not traced")
            self.that(function["Handler"] == "bootstrap", f"{name}: its handler")
        return f"{len(functions)} functions, {granted} statements in {len(functions)} roles"

    @staticmethod
    def puts_aside(document):
        """SAM lets a function with a dead-letter queue send to it."""
        (statement,) = document["Statement"]
        queue = statement["Resource"]["Fn::GetAtt"][0]
        return statement["Action"] == "sqs:SendMessage" and queue.endswith("DeadLetters")

    def routes(self):
        """Each route of the document reaches a function that may be called."""
        (api,) = self.of("AWS::ApiGatewayV2::Api").values()
        document = json.loads((ROOT / "functions/tracking-api/openapi.json").read_text())
        methods = {"get", "put", "post", "delete", "patch"}
        wanted = {(m, p) for p, item in document["paths"].items() for m in item if m in methods}
        made = {(m, p): o for p, item in api["Body"]["paths"].items() for m, o in item.items()}
        fallback = made.pop(("x-amazon-apigateway-any-method", "/$default"), None)
        self.that(fallback is not None, "nothing answers what no route names")
        self.that(made.keys() == wanted, f"routes that differ: {sorted(made.keys() ^ wanted)}")
        permitted = {json.dumps(p["FunctionName"]) for p in self.of("AWS::Lambda::Permission").values()}
        for (method, path), operation in made.items():
            uri = json.dumps(operation["x-amazon-apigateway-integration"]["uri"])
            called = [one for one in permitted if json.loads(one)["Ref"] + ".Arn" in uri]
            self.that(len(called) == 1, f"{method} {path}: the API may not call its function")
        return f"{len(made)} routes and the fallback"

    def mappings(self):
        """Each reports what failed and has an end for it."""
        mappings = self.of("AWS::Lambda::EventSourceMapping")
        for name, mapping in mappings.items():
            reports = mapping.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]
            self.that(reports, f"{name}: one failure fails the batch")
            if "StreamArn" in json.dumps(mapping["EventSourceArn"]):
                self.that(mapping.get("DestinationConfig", {}).get("OnFailure"), f"{name}: what fails is lost")
            else:
                self.that(mapping.get("ScalingConfig", {}).get("MaximumConcurrency"), f"{name}: it takes all instances")
        return f"{len(mappings)} mappings"

    def schedules(self):
        """Each may call its own function and nothing else."""
        schedules, roles = self.of("AWS::Scheduler::Schedule"), self.of("AWS::IAM::Role")
        for name, schedule in schedules.items():
            target = schedule["Target"]
            role = roles[target["RoleArn"]["Fn::GetAtt"][0]]
            statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
            only = [(s["Action"], s["Resource"]) for s in statements] == [("lambda:InvokeFunction", target["Arn"])]
            self.that(only, f"{name}: its role may do more than call its function")
        return f"{len(schedules)} schedules"

    def queues(self):
        """Each is a dead-letter queue or has one."""
        queues = self.of("AWS::SQS::Queue")
        dead = {q["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] for q in queues.values() if "RedrivePolicy" in q}
        text = json.dumps([self.of("AWS::Lambda::EventSourceMapping"), self.of("AWS::Lambda::Function")])
        dead |= {name for name in queues if f'["{name}", "Arn"]' in text and "DeadLetters" in name}
        for name, queue in queues.items():
            self.that(name in dead or "RedrivePolicy" in queue, f"{name}: it has no dead-letter queue")
        watched = json.dumps(self.of("AWS::CloudWatch::Alarm"))
        for name in dead:
            self.that(f'["{name}", "QueueName"]' in watched, f"{name}: no alarm looks at it")
        return f"{len(queues)} queues, of them {len(dead)} for dead letters"

    def buckets(self):
        buckets = self.of("AWS::S3::Bucket")
        for name, bucket in buckets.items():
            days = [rule.get("ExpirationInDays") for rule in bucket["LifecycleConfiguration"]["Rules"]]
            self.that(days == [7], f"{name}: its objects must live seven days")
            self.that(all(bucket["PublicAccessBlockConfiguration"].values()), f"{name}: it can be made public")
        return f"{len(buckets)} bucket"

    def size(self):
        self.that(len(self.result) <= RESOURCES_MAX, "more resources than a stack may have")
        return f"{len(self.result)} resources of at most {RESOURCES_MAX}"


def main():
    # Twice: the transform changes what it is given.
    text = (ROOT / "template.yaml").read_text()
    check = Check(yaml_parse(text), transformed(yaml_parse(text)))
    rules = (check.functions, check.routes, check.mappings, check.schedules, check.queues, check.buckets, check.size)
    said = [rule() for rule in rules]
    print("SAM makes of the template: " + "; ".join(said))
    for fault in check.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if check.faults else 0


if __name__ == "__main__":
    sys.exit(main())
