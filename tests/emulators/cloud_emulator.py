"""ministack, which emulates AWS as LocalStack does, without Docker: on loopback only, keeping nothing."""

import contextlib
import os
import pathlib
import sys
import urllib.request

from processes import free_ports, running, wait_until

REGION = "us-east-1"


@contextlib.contextmanager
def ministack(folder):
    """Starts it on any free port; gives its address."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "AWS_ENDPOINT_URL": url,
        # What a function's role does not grant is refused.
        "AUTH": "true",
        # These listen on all addresses, whatever BIND_HOST says.
        "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0",
        "MINISTACK_REGION": REGION, "S3_DATA_DIR": str(folder / "s3"), "TMPDIR": str(folder),
    }
    with running([pathlib.Path(sys.executable).with_name("ministack")], folder / "ministack.log", env=environment):
        def answers():
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_localstack/health", timeout=2) as answer:
                return answer.status == 200

        wait_until("ministack", answers)
        yield url
