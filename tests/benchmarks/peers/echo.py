"""The least server that answers chat completions, each answer naming the row that asked."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from pathlib import Path

from job import ANSWER, MARK

sys.path.append(str(Path(__file__).parents[1]))
import server  # after its folder is on the path

_MARK = MARK.encode()
#: A number found nowhere else in the answer.
_PLACE = 87654321
_MADE = json.loads(server.BODY)
_MADE["choices"][0]["message"]["content"] = ANSWER.format(number=_PLACE)
_BODY = json.dumps(_MADE).encode()
_HEAD, _TAIL = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
).split(b"%d" % _PLACE)


class Echoing(server.Answering):
    """One connection: reads by Content-Length, answers at once with the number found in the body."""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            whole = end + 4 + length
            if len(self.buffer) < whole:
                return
            after = self.buffer.find(_MARK, end, whole) + len(_MARK)
            number = int(self.buffer[after : self.buffer.find(b" ", after, whole)])
            self.buffer = self.buffer[whole:]
            if not self.transport.is_closing():
                self.transport.write(b"%b%08d%b" % (_HEAD, number, _TAIL))


async def main() -> None:
    """Listen on a free port, print it, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Echoing(0.0), "127.0.0.1", 0, backlog=8192)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the client has the first core
    asyncio.run(main())
