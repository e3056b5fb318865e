"""A simulator in a process of its own, with its bill on disk, and what the bill says from here.

Run as a program it takes its options as JSON, prints its URL and serves until SIGTERM.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path


def main():
    """Serve until told to end."""
    from dfllm.simulator import Simulator, serve

    options = json.loads(sys.argv[1])
    simulator = Simulator(**options | {"bill_path": Path(options["bill_path"])})
    serve(simulator, lambda url: os.write(1, f"{url}\n".encode()))


class Provider:
    """The process above, from outside.

    Args:
        bill: the bill's file.
        options: those of `Simulator`.
    """

    def __init__(self, bill, **options):
        self._bill = bill
        command = [sys.executable, __file__, json.dumps({"bill_path": str(bill), **options})]
        self._running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.base_url = self._running.stdout.readline().strip()

    def now(self):
        """Return the bill as it is at this moment."""
        with urllib.request.urlopen(f"{self.base_url.removesuffix('/v1')}/_bill", timeout=10) as answer:
            return json.load(answer)

    def bill(self):
        """Return how often each request was billed, once nothing is in flight any more."""
        seen = None
        while True:
            found = self.now()
            # What a dead client has sent may still lie in the socket, unread.
            if found == seen and not found["totals"]["in_flight"]:
                return Counter({request: entry["billed"] for request, entry in found["requests"].items()})
            seen = found
            time.sleep(0.005)

    def close(self):
        """End it; return what its file says, as hash to times billed."""
        from dfllm.simulator import Bill

        if self._running.poll() is None:
            self._running.terminate()
            self._running.wait(10)
            self._running.stdout.close()
        return Counter({request: entry.billed for request, entry in Bill(self._bill).entries().items()})


if __name__ == "__main__":
    main()
