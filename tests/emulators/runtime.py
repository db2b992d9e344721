"""Every bootstrap under AWS's runtime interface emulator, against the local stack's engines.

Usage: runtime.py FOLDER, the one that cargo builds into. Run by `.ci/run runtime`.
"""

import contextlib
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import chain
import samples
import template
from checks import Checks
from local_stack import Store, local_stack
from processes import end_on_signals
from rie import emulated

# A first call brings an instance's caches; of so many more the median is printed.
WARM_CALLS = 20
# Cold starts of the release build: whatever else the machine does makes one longer, never shorter.
COLD_STARTS = 10
RELEASE_INIT_MS_MAX = 20
RELEASE_MEMORY_MB_MAX = 30


def main(built):
    end_on_signals()
    checks, whole = Checks(), template.read()
    checks.equal("every sample has an expected answer", samples.files(), set(samples.FUNCTIONS))
    checks.equal("every function has a sample", set(samples.FUNCTIONS.values()), set(template.functions(whole)))
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = stack.enter_context(local_stack(built / "debug/usage-local", folder / "stack.log"))
        store = Store(local.client("dynamodb"), local.client("sqs"), local.about["tables"], local.about["queues"])
        functions = {
            name: stack.enter_context(start(name, "debug", built, folder, local, whole))
            for name in template.functions(whole)
        }
        send(checks, functions)
        expected = samples.expected()
        for what, left in samples.effects(store).items():
            checks.equal(f"afterwards: {what}", left, expected["effects"][what])
        chain.run(checks, functions, store, lambda: local.get("/_local/outbox"))
        connected(checks, functions.values())
        rows = [warm(functions[name], sample) for name, sample in first_samples().items()]
        rows += release(checks, built, folder, local, whole)
        table(rows)
    return checks.close()


def start(function, profile, built, folder, local, whole):
    """A function's bootstrap, as it is deployed: without symbols."""
    program = template.binary(function)
    bootstrap = folder / profile / program / "bootstrap"
    if not bootstrap.exists():
        bootstrap.parent.mkdir(parents=True)
        if profile == "release":
            shutil.copy(built / profile / program, bootstrap)
        else:
            subprocess.run(["strip", "-o", bootstrap, built / profile / program], check=True)
    environment = local.environment(whole, function)
    return emulated(function, bootstrap, environment, folder / f"{program}-{profile}.log", local.dynamodb_port())


def send(checks, functions):
    """Sends every sample twice."""
    expected = samples.expected()
    for name, function in samples.FUNCTIONS.items():
        event = samples.event(name)
        for turn, answer in zip(("first", "again"), expected[name]):
            got = samples.comparable(functions[function].call(event))
            checks.equal(f"{function} answers {name}, {turn}", got, answer)


def connected(checks, functions):
    """A function is handed its first event when its init is done: what it connected to before is no caller's wait."""
    for one in functions:
        made = [at for at in one.relay.accepted if at < one.init_done_at() + 0.001]
        what = f"{one.function} connects to DynamoDB during its init"
        checks.that(what, made, f"connections after it: {len(one.relay.accepted)}")


def first_samples():
    """One sample of each function."""
    one_of = {}
    for name, function in samples.FUNCTIONS.items():
        one_of.setdefault(function, name)
    return one_of


def warm(function, sample, build="dev"):
    """A row of the table, once the function was called often."""
    for _ in range(WARM_CALLS + 1):
        function.call(samples.event(sample))
    latency = statistics.median(function.warm_ms()[-WARM_CALLS:])
    return (function.function, build, function.init_ms(), latency, function.memory_mb(), sample)


def release(checks, built, folder, local, whole):
    """The tracking function as it is deployed, started afresh several times."""
    inits = []
    for _ in range(COLD_STARTS):
        with start("TrackingApi", "release", built, folder, local, whole) as function:
            *row, init, latency, memory, sample = warm(function, "track", "release")
            inits.append(init)
            connected(checks, [function]) if len(inits) == 1 else None
    print(f"  cold starts of {row[0]}, release, in ms: {', '.join(f'{init:.1f}' for init in sorted(inits))}")
    checks.that(f"the fastest took less than {RELEASE_INIT_MS_MAX} ms", min(inits) < RELEASE_INIT_MS_MAX, min(inits))
    checks.that(f"less than {RELEASE_MEMORY_MB_MAX} MB are resident", memory < RELEASE_MEMORY_MB_MAX, memory)
    return [(*row, statistics.median(inits), latency, memory, sample)]


def table(rows):
    """Prints what was measured; this machine does other things beside."""
    print(f"\n  {'function':<20} {'build':<8} {'init':>9} {'warm p50':>9} {'resident':>9}  called with")
    for name, build, init, latency, memory, sample in rows:
        print(f"  {name:<20} {build:<8} {init:6.1f} ms {latency:6.2f} ms {memory:6.1f} MB  {sample}")


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
