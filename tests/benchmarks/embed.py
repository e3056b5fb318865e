"""Vectors of many short texts from a server that answers at once: ours, and a client that has no store.

``embed.py serve DIMENSIONS`` is the server, ``embed.py ours|openai|aiohttp URL TEXTS DIMENSIONS`` one client; each in
a process of its own, which prints its figures. `run.py` prints them side by side.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from zlib import crc32

import numpy as np
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))
from clients import cpu_seconds  # after its folder is on the path

#: The server has so many vectors; a text gets one of them by its checksum.
TABLE = 512
#: As many texts a request as ours puts into one.
PACK = 512
IN_FLIGHT = 8


def text_of(number: int) -> str:
    """Return one short text; they are all different."""
    return f"review {number}: it works well and looks good, and it came in time"


def table_of(dimensions: int) -> np.ndarray:
    """Return the server's vectors: unit vectors, the same in every process."""
    drawn = np.random.default_rng(7).standard_normal((TABLE, dimensions), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def serve(dimensions: int) -> None:
    """Answer until stdin ends; print the port."""
    table = table_of(dimensions)
    in_base64 = [base64.b64encode(row.tobytes()) for row in table]
    in_json = [json.dumps(row.tolist(), separators=(",", ":")).encode() for row in table]

    async def embeddings(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        packed = body.get("encoding_format") == "base64"
        items = []
        for index, text in enumerate(body["input"]):
            place = crc32(text.encode()) % TABLE
            one = b'"%b"' % in_base64[place] if packed else in_json[place]
            items.append(b'{"object":"embedding","index":%d,"embedding":%b}' % (index, one))
        tokens = 16 * len(items)
        usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
        whole = b'{"object":"list","data":[%b],"model":"bench","usage":%b}' % (b",".join(items), usage)
        return web.Response(body=whole, content_type="application/json")

    async def main() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/embeddings", embeddings)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    _keep_to(others=True)
    asyncio.run(main())


def _keep_to(*, others: bool) -> None:
    """Stay on the first core, or on all the others."""
    if hasattr(os, "sched_setaffinity") and len(cores := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, cores - {min(cores)} if others else {min(cores)})


def ours(url: str, texts: list[str]) -> np.ndarray:
    """Everything included: render, key, claim, pack, cut, store, column."""
    import pandas as pd

    import dfllm  # noqa: F401  # puts df.llm in place

    os.environ["DFLLM_STORE"] = tempfile.mkdtemp(prefix="dfllm-bench-")
    os.environ["VLLM_BASE_URL"] = url
    frame = pd.DataFrame({"text": texts})
    out = frame.llm.embed("{{ text }}", model="vllm/bench", progress=False)
    assert out["embedding_error"].isna().all(), out["embedding_error"].dropna().iloc[0]
    return np.stack(out["embedding"].to_list())


def with_openai(url: str, texts: list[str]) -> np.ndarray:
    """The vendor's SDK, packs of the same size one after the other; it asks for base64 too."""
    import openai

    made = []
    with openai.OpenAI(base_url=url, api_key="none") as client:
        for start in range(0, len(texts), PACK):
            answer = client.embeddings.create(model="bench", input=texts[start : start + PACK])
            made += [one.embedding for one in answer.data]
    return np.array(made, dtype=np.float32)


def with_aiohttp(url: str, texts: list[str]) -> np.ndarray:
    """A session, post, json: what anyone would write, several at a time, lists of floats."""
    import aiohttp

    async def main() -> np.ndarray:
        made: dict[int, list[list[float]]] = {}
        starts = iter(range(0, len(texts), PACK))
        async with aiohttp.ClientSession() as session:

            async def work() -> None:
                for start in starts:
                    asked = {"model": "bench", "input": texts[start : start + PACK]}
                    async with session.post(f"{url}/embeddings", json=asked) as answer:
                        made[start] = [one["embedding"] for one in (await answer.json())["data"]]

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return np.array([one for start in sorted(made) for one in made[start]], dtype=np.float32)

    return asyncio.run(main())


CLIENTS = {"ours": ours, "openai": with_openai, "aiohttp": with_aiohttp}


def measure(name: str, url: str, count: int, dimensions: int) -> dict[str, float]:
    """Run one client, and hold its vectors against what was sent, bit by bit."""
    texts = [text_of(number) for number in range(count)]
    CLIENTS[name](url, texts[:10])  # imports and connections are not what is measured
    _keep_to(others=False)
    wall, cpu = time.perf_counter(), cpu_seconds()
    found = CLIENTS[name](url, texts)
    figures = {"seconds": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}
    wanted = table_of(dimensions)[[crc32(text.encode()) % TABLE for text in texts]]
    figures["same"] = float(np.array_equal(found.view(np.uint32), wanted.view(np.uint32)))
    return figures


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
