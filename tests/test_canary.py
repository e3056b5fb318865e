"""Keys are planted, quoted back by the provider in every encoding, and looked for in all that a user can see or keep.

What is looked at: logs at DEBUG, tracebacks with all locals, reprs, pickles, frames and their error columns, notebook
HTML, warnings, spans, the command line's output, the store, its ledger and the simulator's bill.
"""

import contextlib
import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from tests.planted import ENCODINGS, KEYS, encoded, files_below, forms, found_in

import dfllm
from dfllm._core import retry
from dfllm._run import log, settings
from dfllm._run.secret import Secret
from dfllm.simulator import Faults

ROOT = Path(__file__).parents[1]
PROMPT = "{{ text }}"


class Canary:
    """A key that does not show in this file's own frames, whose locals are in the tracebacks that are looked at."""

    def __init__(self, key):
        self.of = lambda: key

    def __repr__(self):
        return "Canary()"


def quoting(canary, told):
    """Return a handler that does as the prompt says, and quotes the key wherever a provider may."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *given):
            pass

        def do_GET(self):
            self.says(404, "text/html", quotes(canary))

        def do_POST(self):
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.append(self.headers["Authorization"] == f"Bearer {canary.of()}")
            way = next(way for way in WAYS if f"<{way}>" in asked)
            if way == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            location = {"Location": f"http://127.0.0.1:9/{canary.of()}"} if way == "307" else {}
            self.says(*reply_to(way, canary, self.headers), location, missing=9 if way == "mid" else 0)

        def says(self, status, kind, text, more=None, missing=0):
            body = text.encode()
            self.send_response(status, canary.of())
            for name, value in {
                "Content-Type": kind,
                "Content-Length": len(body) + missing,
                "X-Request-Id": canary.of(),
                "Set-Cookie": f"key={canary.of()}",
                **(more or {}),
            }.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = missing > 0

    return Handler


def quotes(canary):
    """Return the key in every encoding."""
    return " | ".join(encoded(canary.of(), encoding) for encoding in ENCODINGS)


def reply_to(way, canary, headers):
    """Return status, media type and body of the provider's answer."""
    match way:
        case "html":
            return 500, "text/html", f"<h1>Headers: {headers}</h1> {quotes(canary)}"
        case "garbage" | "mid":
            return 200, "application/json", quotes(canary)
        case "answer" | "refusal" | "unfit":
            said = {"refusal" if way == "refusal" else "content": quotes(canary)}
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **said}}
            usage = {"prompt_tokens": 3, "completion_tokens": 5}
            body = {"id": canary.of(), "model": canary.of(), "choices": [choice], "usage": usage}
            return 200, "application/json", json.dumps(body)
    error = {"message": f"{way}: {quotes(canary)}", "type": "bad", "code": canary.of(), "param": canary.of()}
    return int(way) if way.isdecimal() else 400, "application/json", json.dumps({"error": error})


WAYS = (
    *("401", "400", "403", "404", "402", "422", "503", "307", "html", "garbage", "mid"),
    *("answer", "refusal", "unfit", "interrupt"),
)


@contextlib.contextmanager
def provider(canary):
    """Run a provider that quotes the key; yields its base URL and whether each request brought the key."""
    told = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), quoting(canary, told))
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", told
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


class Heard(logging.Handler):
    """Keeps all of each record: as text, as its parts, and its traceback."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.said = []

    def emit(self, record):
        self.said.append(logging.Formatter("%(name)s %(message)s").format(record))
        self.said.append(repr({**vars(record), "exc_info": None}))
        self.said += shown(record.exc_info[1]) if record.exc_info else []


@pytest.fixture
def heard(monkeypatch):
    """Listen at DEBUG to the whole process, prompts and answers included."""
    handler, root = Heard(), logging.getLogger()
    monkeypatch.setattr(log, "_secrets", ())
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.001)
    names = ("", "dfllm.content", "httpx", "aiohttp.client", "asyncio")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def spans(monkeypatch):
    """Trace into memory."""
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    traces = sdk.TracerProvider()
    traces.add_span_processor(export.SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: traces)
    return memory


def shown(error):
    """Return all that can be seen of an exception: with every frame's locals, chained ones too, and its pickle."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = [*traceback.TracebackException.from_exception(error, capture_locals=True).format()]
    return [*said, repr(error), str(error), repr(vars(error)), *pickled(error)]


def pickled(value):
    """Return a value's pickle as text; nothing where it refuses."""
    try:
        return [pickle.dumps(value).decode("latin-1")]
    except Exception:  # noqa: BLE001  # what cannot be pickled holds nothing
        return []


def seen_of(frame):
    """Return all that can be seen of a frame, and of the report of the call that made it."""
    made = [frame.to_csv(), frame.to_json(), frame.to_html(), repr(frame.attrs), *pickled(frame)]
    if (run := dfllm.last_run()) is not None:
        made += [repr(run), run._repr_html_(), json.dumps(run.to_dict(), default=str), run.failures.to_csv()]
        made += [repr(vars(run)), *pickled(run)]
    return made


def calls(url):
    """Return calls that end in every way there is, by name."""
    frames = {way: pd.DataFrame({"text": [f"<{way}> {n}" for n in range(2)]}) for way in WAYS}
    # A model each, since a gate that a refused key has shut stays shut for all calls to the same.
    made = {way: lambda way=way: frames[way].llm.complete(PROMPT, model=f"lab/{way}") for way in WAYS}
    made["unfit"] = lambda: frames["unfit"].llm.complete(PROMPT, model="lab/m", schema=["yes", "no"], into="label")
    made["details"] = lambda: frames["answer"].llm.complete(PROMPT, model="lab/m", details=True)
    made["raise"] = lambda: frames["refusal"].llm.complete(PROMPT, model="lab/m", on_error="raise")
    made["plan"] = lambda: frames["answer"].llm.plan(PROMPT, model="lab/m")
    made["no column"] = lambda: frames["answer"].llm.complete("{{ gone }}", model="lab/m")
    made["no option"] = lambda: frames["answer"].llm.complete(PROMPT, model="lab/m", extra={"model": "x"})
    made["no provider"] = lambda: frames["answer"].llm.complete(PROMPT, model="nobody/m")
    made["nobody there"] = lambda: frames["answer"].llm.complete(PROMPT, model="gone/m")
    made["not here"] = lambda: frames["answer"].llm.complete(PROMPT, model="far/m")
    made["iterated"] = lambda: pd.DataFrame(list(frames["answer"].llm.iter_completions(PROMPT, model="lab/m")))
    dfllm.register_provider("lab", base_url=url, api_key_env="LAB_API_KEY")
    dfllm.register_provider("gone", base_url="http://127.0.0.1:9/v1", api_key_env="LAB_API_KEY")
    dfllm.register_provider("far", base_url="http://203.0.113.1/v1", api_key_env="LAB_API_KEY")
    return made


def seen_of_call(call):
    """Make a call and return all that can be seen of it."""
    seen = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            result = call()
        except (dfllm.DfllmError, KeyboardInterrupt) as error:
            seen += shown(error)
            result = getattr(error, "frame", None)
    seen += [str(one.message) + repr(one) for one in warned]
    seen += [repr(result), str(result), *pickled(result)]
    return seen + (seen_of(result) if isinstance(result, pd.DataFrame) else [])


def as_artefacts(texts):
    """Return texts, by name, as bytes."""
    for name, those in texts.items():
        for text in those:
            yield name, text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("kind", KEYS)
def test_no_artefact_of_any_call_shows_a_key(kind, heard, spans, monkeypatch, tmp_path, capfd):
    """Whatever the provider quotes and however a call ends: five formats of keys, five encodings."""
    canary = Canary(KEYS[kind])
    monkeypatch.setenv("LAB_API_KEY", canary.of())
    seen = {}

    with provider(canary) as (url, told):
        for name, call in calls(url).items():
            seen[name] = seen_of_call(call)
    seen["books"] = [dfllm.runs().to_csv(), repr(dfllm.runs())]
    seen["log"] = heard.said
    seen["spans"] = [span.to_json() for span in spans.get_finished_spans()]
    seen["objects"] = [repr(settings.current()), repr(settings.providers()), repr(vars(log))]
    seen["printed"] = [*capfd.readouterr()]
    artefacts = [*as_artefacts(seen), *files_below(tmp_path)]

    assert [] == found_in(artefacts, [canary.of()])
    # The net was in the water: keys came and were quoted, the calls ended as they should, and there is a lot to see.
    assert all(told)
    assert len(told) > 20
    assert {"AuthFailed", "BadRequest", "PermissionDenied", "ModelNotFound", "QuotaExhausted", "ProviderError"} <= {
        word.partition(":")[0].rpartition(".")[2] for those in seen.values() for text in those for word in text.split()
    }
    assert any("KeyboardInterrupt" in text for text in seen["interrupt"])
    assert any("request.content" in text for text in seen["log"])
    assert len(seen["spans"]) > 20
    assert any(name.endswith("answers.db") for name, _ in artefacts)


def test_simulator_and_its_bill_show_no_key(simulator, heard, monkeypatch, tmp_path):
    """Neither let in nor refused: the bill knows requests by their hash, and the log no header."""
    canary = Canary(KEYS["token"])
    monkeypatch.setenv("LAB_API_KEY", canary.of())
    bill = tmp_path / "bill.db"
    seen = {}

    for name, key in (("in", canary.of()), ("refused", "another")):
        running = simulator(key=key, bill_path=bill, faults=Faults(by_text={"<refusal>": "refusal"}))
        dfllm.register_provider(f"lab-{name}", base_url=running.base_url, api_key_env="LAB_API_KEY")
        frame = pd.DataFrame({"text": ["a", "<refusal>"]})
        seen[name] = [
            *seen_of_call(lambda name=name, frame=frame: frame.llm.complete(PROMPT, model=f"lab-{name}/m")),
            repr(running),
            repr(running.bill),
        ]
        running.stop()
    seen["log"] = heard.said
    artefacts = [*as_artefacts(seen), *files_below(tmp_path)]

    assert [] == found_in(artefacts, [canary.of()])
    assert bill.exists()
    assert any("AuthFailed" in text for text in seen["refused"])


def test_command_line_shows_no_key(monkeypatch, tmp_path):
    """Every command, in a process of its own, with the key in the vendor's variable and quoted by the provider."""
    canary = Canary(KEYS["openai"])
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    lines = ("answer", "refusal", "422")  # nothing that is tried again, with waits between
    table.write_text("text\n" + "".join(f"<{way}>\n" for way in lines))
    dead = tmp_path / "dead.csv"
    dead.write_text("text\n<401>\n")
    seen, codes = {}, []

    with provider(canary) as (url, told):
        environment = {**os.environ, "OPENAI_API_KEY": canary.of(), "OPENAI_BASE_URL": url}
        for command in (
            ["run", str(table), "-p", PROMPT, "-m", "openai/m", "-o", str(out), "--json", "--details", "--progress"],
            ["run", str(table), "-p", PROMPT, "-m", "openai/m", "--to", "jsonl"],
            ["run", str(dead), "-p", PROMPT, "-m", "openai/m"],
            ["plan", str(table), "-p", PROMPT, "-m", "openai/m", "--json"],
            ["runs"],
            ["store", "stats"],
        ):
            ended = subprocess.run(
                [sys.executable, "-m", "dfllm", *command], env=environment, capture_output=True, timeout=60
            )
            codes.append(ended.returncode)
            seen[" ".join(command[:2])] = [ended.stdout.decode(), ended.stderr.decode()]
    artefacts = [*as_artefacts(seen), *files_below(tmp_path)]

    assert [3, 3, 1, 0, 0, 0] == codes, seen
    assert all(told)
    assert [] == found_in(artefacts, [canary.of()])


@pytest.mark.parametrize(
    "url",
    ["https://user:{key}@host/v1", "https://{key}@host/v1", "https://host/v1?key={key}", "https://host/v1#{key}"],
)
def test_key_in_a_base_url_is_refused_and_not_repeated(url, monkeypatch):
    """A base URL is kept beside answers, so no key may be in it: by registration and by a vendor's variable."""
    canary = Canary(KEYS["token"])
    monkeypatch.setenv("OPENAI_BASE_URL", url.format(key=canary.of()))
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    seen = {
        "registered": seen_of_call(lambda: dfllm.register_provider("lab", base_url=url.format(key=canary.of()))),
        "variable": seen_of_call(lambda: pd.DataFrame({"text": ["a"]}).llm.complete(PROMPT, model="openai/m")),
    }

    assert [] == found_in(as_artefacts(seen), [canary.of()])
    assert all(any("user, a password or a query" in text for text in those) for those in seen.values())


def test_carriers_loggers_lose_known_keys_and_nothing_else(heard):
    """What httpx, aiohttp and asyncio say of others' requests stays as it is."""
    log.hide(Secret(KEYS["token"]))
    for name in ("httpx", "aiohttp.client", "asyncio"):
        logging.getLogger(name).info("GET %s?token=theirs", KEYS["token"])

    assert 3 == sum(text.endswith("GET ***?token=theirs") for text in heard.said)
    assert [] == found_in(as_artefacts({"log": heard.said}), [KEYS["token"]])


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_planted_key_would_be_found(kind, encoding, tmp_path):
    """The net holds: a file with the key in any encoding is named, with the encoding."""
    key = KEYS[kind]
    written = encoded(key, encoding)
    (tmp_path / "log.txt").write_text(f"before {written} after")

    found = found_in(files_below(tmp_path), [key])

    assert f"log.txt: {encoding}" in found
    assert all(len(form) >= 16 for those in forms(key).values() for form in those)


def test_pickled_and_printed_values_would_be_looked_into():
    """A key in a frame's local, in an exception's argument or in a pickle is seen by what looks for it."""
    local = KEYS["token"]
    try:
        raise ValueError(local[:3])
    except ValueError as error:
        seen = {"error": shown(error), "pickle": pickled([local]), "print": [io.StringIO(local).getvalue()]}

    assert ["error: json", "error: raw", "error: url"] == found_in(as_artefacts({"error": seen["error"]}), [local])
    assert "pickle: raw" in found_in(as_artefacts(seen), [local])


LEAKY = """
import logging, os, sys

def test_leak(tmp_path):
    key = os.environ["DFLLM_PLANTED_KEY"]
    if {way!r} == "file":
        (tmp_path / "cache.bin").write_bytes(b"head " + key.encode().hex().encode())
    elif {way!r} == "log":
        logging.getLogger("theirs").warning("sent %s", key)
    elif {way!r} == "print":
        print(key, file=sys.stderr)
"""


@pytest.mark.parametrize(("way", "code"), [("file", 1), ("log", 1), ("print", 1), ("nothing", 0)])
def test_session_that_leaves_the_suites_key_anywhere_fails(way, code, tmp_path):
    """Every test of this suite sends a planted key; conftest looks through all that a session wrote."""
    (tmp_path / "test_leaky.py").write_text(LEAKY.format(way=way))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", "."]

    ended = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'base'}", str(tmp_path / "test_leaky.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    for left in (tmp_path / "base").rglob("cache.bin"):
        left.unlink()  # this session must not find it

    assert code == ended.returncode, ended.stdout + ended.stderr
    assert ("the suite's API key showed" in ended.stdout) == bool(code)
    assert "1 passed" in ended.stdout
