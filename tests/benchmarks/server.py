"""The least server that answers chat completions: one fixed answer, at once or after a delay."""

from __future__ import annotations

import asyncio
import json
import os
import sys

BODY = json.dumps(
    {
        "id": "chatcmpl-000000000000000000000000000",
        "object": "chat.completion",
        "created": 1763600000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "A fixed answer of ninety characters, as short answers are in practice, more or less.",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 120,
            "completion_tokens": 20,
            "total_tokens": 140,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }
).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\nContent-Length: "
    + str(len(BODY)).encode()
    + b"\r\n\r\n"
    + BODY
)


class Answering(asyncio.Protocol):
    """One connection: reads by Content-Length, answers the same bytes each time."""

    def __init__(self, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        self.loop = asyncio.get_running_loop()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection to write to."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if self.delay_seconds:
                self.loop.call_later(self.delay_seconds, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        """Write the answer unless the client has gone."""
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main(delay_seconds: float) -> None:
    """Listen on a free port, print it, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(delay_seconds), "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if hasattr(os, "sched_setaffinity") and len(cores := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})  # the first is the client's
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
