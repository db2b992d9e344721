"""Deploys the real template with the binaries that cargo built, as `sam deploy` does, to a cloud at an endpoint."""

import io
import json
import subprocess
import zipfile

import boto3

import template

STACK = "usage-metering-ci"
CODE_BUCKET = "usage-metering-ci-code"
# Short enough for a message that fails to end in the dead-letter queue while one waits.
PARAMETERS = {
    "MailSender": "usage@example.com",
    "UsageQueueReceivesMax": "2",
    "UsageQueueVisibilitySeconds": "30",
    "Tracing": "PassThrough",
    "AccessLogGroup": "/aws/apigateway/documents",
}
DEPLOY_SECONDS = 180
SQS_BATCHED = ("sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")


class Cloud:
    """A cloud at an endpoint, and the stack in it."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.resources = {}
        self.outputs = {}

    def client(self, service):
        """A client of a service; region and credentials are the environment's."""
        # Buckets in paths: no names are resolved for them here.
        config = boto3.session.Config(s3={"addressing_style": "path"}, retries={"mode": "standard"})
        return boto3.client(service, endpoint_url=self.endpoint, config=config)

    def api(self):
        """Where the API answers: LocalStack's address of an API, which needs no names either."""
        return f"{self.endpoint}/_aws/execute-api/{self.resources['HttpApi']}/$default"


def deploy(cloud, built, folder):
    """Makes the stack: programs into a bucket, the template's changes as a change set, and executes it."""
    s3, cloudformation = cloud.client("s3"), cloud.client("cloudformation")
    s3.create_bucket(Bucket=CODE_BUCKET)
    whole = template.read()
    for name, function in template.functions(whole).items():
        key = f"{template.binary(name)}.zip"
        s3.put_object(Bucket=CODE_BUCKET, Key=key, Body=packed(built / template.binary(name), folder))
        function["CodeUri"] = {"Bucket": CODE_BUCKET, "Key": key}
        widen(function)
    s3.put_object(Bucket=CODE_BUCKET, Key="template.json", Body=json.dumps(whole).encode())
    cloudformation.create_change_set(
        StackName=STACK, ChangeSetName="first", ChangeSetType="CREATE",
        TemplateURL=f"{cloud.endpoint}/{CODE_BUCKET}/template.json",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()],
    )
    patience = {"Delay": 1, "MaxAttempts": DEPLOY_SECONDS}
    made = cloudformation.get_waiter("change_set_create_complete")
    made.wait(StackName=STACK, ChangeSetName="first", WaiterConfig=patience)
    cloudformation.execute_change_set(StackName=STACK, ChangeSetName="first")
    cloudformation.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig=patience)
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK)
    for page in pages:
        for resource in page["StackResourceSummaries"]:
            cloud.resources[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
    described = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    cloud.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    return described["StackStatus"]


def widen(function):
    """Grants what ministack asks for in the place of what AWS asks for; all else is enforced as it stands.

    For a batch AWS asks for the action of a single message and knows no other; ministack asks for one by the
    operation's name. For a mail AWS asks for the sender's identity; ministack asks for everything.
    """
    for policy in function["Policies"]:
        for statement in policy["Statement"]:
            if statement["Effect"] != "Allow":
                continue
            batched = [action for action in statement["Action"] if action in SQS_BATCHED]
            statement["Action"] += [f"{action}Batch" for action in batched]
            if statement["Action"] == ["ses:SendEmail"]:
                statement["Resource"] = "*"


def packed(program, folder):
    """A program as Lambda takes it: a zip of the file `bootstrap`, without symbols."""
    stripped = folder / program.name
    subprocess.run(["strip", "-o", stripped, program], check=True)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, stripped.read_bytes(), compresslevel=1)
    stripped.unlink()
    return held.getvalue()


def expand_routes(cloud):
    """Makes the routes that the cloud did not make from the template's HttpApi events; their keys.

    SAM writes them into the API's OpenAPI body, which ministack does not read. On AWS none is missing.
    """
    gateway, functions = cloud.client("apigatewayv2"), cloud.client("lambda")
    api = cloud.resources["HttpApi"]
    there, integrations = routes(cloud), {}
    missing = {key: function for key, function in template.routes(template.read()).items() if key not in there}
    for key, function in missing.items():
        if function not in integrations:
            described = functions.get_function(FunctionName=cloud.resources[function])["Configuration"]
            integrations[function] = gateway.create_integration(
                ApiId=api, IntegrationType="AWS_PROXY", PayloadFormatVersion="2.0",
                IntegrationUri=described["FunctionArn"],
            )["IntegrationId"]
        gateway.create_route(ApiId=api, RouteKey=key, Target=f"integrations/{integrations[function]}")
    return set(missing)


def routes(cloud):
    """The keys of the API's routes."""
    pages = cloud.client("apigatewayv2").get_paginator("get_routes").paginate(ApiId=cloud.resources["HttpApi"])
    return {route["RouteKey"] for page in pages for route in page["Items"]}


def allow_plain_http(cloud):
    """Takes the policies off the buckets, that refuse whoever comes without TLS; what they refused.

    Emulators are spoken to without TLS, and ministack enforces these as AWS does: nothing else would be tested.
    """
    s3, refused = cloud.client("s3"), set()
    for name in template.of_type(template.read(), "AWS::S3::Bucket"):
        bucket = cloud.resources[name]
        for statement in json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]:
            refused.add((name, statement["Effect"], statement["Action"], json.dumps(statement["Condition"])))
        s3.delete_bucket_policy(Bucket=bucket)
    return refused


def expand_lifecycles(cloud):
    """Gives buckets the lifecycle rules that the cloud dropped; the buckets. ministack does so, AWS does not."""
    s3, mended = cloud.client("s3"), set()
    for name, bucket in template.of_type(template.read(), "AWS::S3::Bucket").items():
        if "LifecycleConfiguration" in bucket and not lifecycle(cloud, name):
            rules = [as_rule(rule) for rule in bucket["LifecycleConfiguration"]["Rules"]]
            s3.put_bucket_lifecycle_configuration(
                Bucket=cloud.resources[name], LifecycleConfiguration={"Rules": rules}
            )
            mended.add(name)
    return mended


def lifecycle(cloud, name):
    """After how many days a bucket's objects go; none if they stay."""
    s3 = cloud.client("s3")
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=cloud.resources[name])["Rules"]
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        return None
    return [rule["Expiration"]["Days"] for rule in rules if rule["Status"] == "Enabled"]


def as_rule(rule):
    """A rule as the API of S3 says it; CloudFormation's words differ."""
    as_api = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    as_api["Expiration"] = {"Days": rule["ExpirationInDays"]}
    if "AbortIncompleteMultipartUpload" in rule:
        as_api["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
    return as_api
