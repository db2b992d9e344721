"""The real template with the real binaries in a cloud at an endpoint: ministack, or what AWS_ENDPOINT_URL names.

Usage: cloud.py FOLDER, the one that cargo builds into. Run by `.ci/run cloud`.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
import time

import paths
import template
from checks import Checks
from cloud_emulator import ministack
from deploy import PARAMETERS, STACK, Cloud, allow_plain_http, deploy, expand_lifecycles, expand_routes, lifecycle, routes
from local_stack import Store
from processes import end_on_signals


def main(built):
    end_on_signals()
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    checks = Checks()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or stack.enter_context(ministack(folder))
        try:
            check(checks, Cloud(endpoint), built / "debug", folder)
        except Exception:
            log = folder / "ministack.log"
            print(f"the end of the cloud's log:\n{log.read_text()[-4000:]}" if log.exists() else "", file=sys.stderr)
            raise
    return checks.close()


def check(checks, cloud, built, folder):
    # What a deployer has to have: the access log of another API.
    cloud.client("logs").create_log_group(logGroupName=PARAMETERS["AccessLogGroup"])
    began = time.monotonic()
    checks.equal(f"the stack {STACK} is made", deploy(cloud, built, folder), "CREATE_COMPLETE")
    print(f"  in {time.monotonic() - began:.0f} s, {len(cloud.resources)} resources", flush=True)
    wanted = set(template.routes(template.read()))
    made = expand_routes(cloud)
    checks.equal(f"all {len(wanted)} routes are there, {len(made)} made by hand", routes(cloud), wanted)
    mended = ", ".join(expand_lifecycles(cloud)) or "none"
    checks.equal(f"reports go after a week (rules set by hand: {mended})", lifecycle(cloud, "Reports"), [7])

    without_tls = {("Reports", "Deny", "s3:*", '{"Bool": {"aws:SecureTransport": "false"}}')}
    checks.equal("buckets refuse whoever comes without TLS, until that is lifted", allow_plain_http(cloud), without_tls)

    tables = {name: cloud.resources[name] for name in template.of_type(template.read(), "AWS::DynamoDB::Table")}
    queues = {name: cloud.resources[name] for name in template.of_type(template.read(), "AWS::SQS::Queue")}
    store = Store(cloud.client("dynamodb"), cloud.client("sqs"), tables, queues)
    # What a deployer has to have done.
    cloud.client("sesv2").create_email_identity(EmailIdentity=PARAMETERS["MailSender"])
    api = paths.keys(checks, cloud)
    paths.http(checks, api, store)
    # It takes the longest: what it comes to is looked at last.
    poison = paths.poison(checks, api, store)
    paths.queue(checks, api, store)
    paths.access_log(checks, api, cloud, store)
    paths.report(checks, api, cloud)
    paths.stream(checks, api, cloud, store)
    paths.bus(checks, api, cloud, store)
    paths.schedule(checks, api, cloud, store)
    paths.poisoned(checks, store, poison)
    paths.nothing_else_failed(checks, cloud, store)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
