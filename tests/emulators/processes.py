"""Processes that end with whoever started them, and a relay that notes when it was connected to."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

START_SECONDS = 60
STOP_SECONDS = 10


def end_on_signals():
    """Lets a signal end this process in order, so that it takes along what it started."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def running(command, log, **options):
    """A process in a group of its own, which is ended afterwards; what it says goes to the file `log`."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        end(process)


def end(process):
    """Ends a process, which may end its own in order, and then what is left of its group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(what, ready, seconds=START_SECONDS, pause=0.05):
    """What `ready` gives as soon as that is something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        given = ready()
        if given:
            return given
        time.sleep(pause)
    raise TimeoutError(f"{what}: not within {seconds} s")


def listens(port):
    """Whether somebody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_ports(count):
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Relay:
    """Passes connections on to a port of this machine and notes when each was made."""

    def __init__(self, port):
        self.target = port
        self.accepted = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Takes no more connections."""
        self.listener.close()

    def _accept(self):
        while True:
            try:
                inner, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.append(time.time())
            outer = socket.create_connection(("127.0.0.1", self.target))
            for one in (inner, outer):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
