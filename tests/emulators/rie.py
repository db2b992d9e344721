"""AWS's runtime interface emulator, as the wheel of aws-sam-cli brings it: runs a bootstrap on this machine.

It starts the bootstrap at the first call, hands it that call when its init is done, and logs when that
was and how long it took.
"""

import contextlib
import datetime
import os
import pathlib
import platform
import re
import time
import urllib.request

import samcli

from checks import parsed
from processes import Relay, free_ports, listens, running, wait_until

EMULATOR = pathlib.Path(samcli.__file__).parent / "local/rapid" / (
    "aws-lambda-rie-arm64" if platform.machine() == "aarch64" else "aws-lambda-rie-x86_64"
)
INVOKE = "/2015-03-31/functions/function/invocations"
INIT_DONE = re.compile(r"^(.*?) \[INFO\] \(rapid\) INIT RTDONE\(status: success\)", re.M)
INIT_TOOK = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
INVOKE_TOOK = re.compile(r"INVOKE RTDONE\(status: success, .*duration: ([\d.]+)ms\)")


class Emulated:
    """A function under the emulator."""

    def __init__(self, function, bootstrap, port, log):
        self.function = function
        self.bootstrap = bootstrap
        self.relay = None
        self._port = port
        self._process = None
        self._log = log

    def call(self, event):
        """The answer to an event."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{INVOKE}", data=event.encode())
        with urllib.request.urlopen(request, timeout=40) as answer:
            answer = parsed(answer.read() or b"null")
        if isinstance(answer, dict) and "errorMessage" in answer:
            print(f"  {self.function} failed; the end of its log:\n{self.log()[-2000:]}", flush=True)
        return answer

    def log(self):
        """What the emulator and the bootstrap logged."""
        return self._log.read_text()

    def init_ms(self):
        """How long the init took: from its start until the bootstrap asked for its first event."""
        return float(self._logged(INIT_TOOK))

    def init_done_at(self):
        """When the init was done, in seconds since 1970, to the millisecond."""
        stamp = self._logged(INIT_DONE)
        return datetime.datetime.strptime(stamp, "%d %b %Y %H:%M:%S,%f").timestamp()

    def warm_ms(self):
        """How long each call took, without the first."""
        return [float(took) for took in INVOKE_TOOK.findall(self.log())][1:]

    def memory_mb(self):
        """The most memory that the bootstrap had resident, in 10^6 bytes."""
        status = pathlib.Path(f"/proc/{self._bootstrap_pid()}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6

    def _bootstrap_pid(self):
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.path.samefile(entry / "exe", self.bootstrap):
                    if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == self._process.pid:
                        return int(entry.name)
        raise LookupError(f"{self.function} does not run")

    def _logged(self, pattern):
        return wait_until("the emulator's log", lambda: pattern.search(self.log()), 5)[1]


@contextlib.contextmanager
def emulated(function, bootstrap, environment, log, dynamodb_port):
    """A function under the emulator, which reaches DynamoDB through a relay."""
    api, runtime = free_ports(2)
    log.write_bytes(b"")
    one = Emulated(function, bootstrap, api, log)
    with contextlib.closing(Relay(dynamodb_port)) as one.relay:
        command = [
            EMULATOR, "--log-level", "info",
            "--runtime-interface-emulator-address", f"127.0.0.1:{api}",
            "--runtime-api-address", f"127.0.0.1:{runtime}", bootstrap,
        ]
        of_machine = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = of_machine | environment | {
            "AWS_LAMBDA_FUNCTION_NAME": function, "AWS_ENDPOINT_URL_DYNAMODB": one.relay.url,
        }
        with running(command, log, env=environment) as one._process:
            wait_until("the emulator", lambda: listens(api))
            try:
                yield one
            finally:
                # The emulator gives the bootstrap a group of its own.
                with contextlib.suppress(LookupError, ProcessLookupError):
                    os.kill(one._bootstrap_pid(), 15)
                    time.sleep(0.02)
