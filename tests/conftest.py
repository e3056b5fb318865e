"""What every test gets: a store, settings and an environment of its own, and simulators that end with it."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tests.planted import SUITE_KEY, files_below, found_in

from dfllm._run import runtime, settings
from dfllm._wire.providers import PROVIDERS
from dfllm.simulator import Simulator

# In CI the same examples each time; at home new ones, and what failed can be pasted back in.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("home", deadline=None, print_blob=True)
PROFILE = "ci" if os.environ.get("CI") else "home"
hypothesis.settings.load_profile(PROFILE)

_OF_PROVIDERS = {
    name
    for provider in settings.PROVIDERS.values()
    for name in (*provider.key_names, *provider.url_names, *(name for _, names in provider.places for name in names))
}
#: Where the clouds' own tools keep credentials, which no test must find.
_OF_CLOUDS = ("AWS_", "GOOGLE_", "CLOUDSDK_")


def pytest_report_header(config: pytest.Config) -> str:
    """Say how random examples are drawn, and with which seed."""
    seed = config.getoption("hypothesis_seed", None)
    drawn = "derandomized" if PROFILE == "ci" else f"seed {'random' if seed is None else seed}"
    return f"hypothesis: profile {PROFILE}, {drawn}"


#: Where the suite's key showed: in what a test printed or logged, or in what it left on disk.
_leaks: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look for the suite's key in all that a test printed and logged."""
    said = [(report.nodeid, text.encode("utf-8", "replace")) for _, text in report.sections]
    _leaks.extend(found_in(said, [SUITE_KEY]))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for the suite's key in every file that the tests have left; one that is found fails the session."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None:
        _leaks.extend(found_in(files_below(factory.getbasetemp()), [SUITE_KEY]))
    if _leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the suite's key showed."""
    if _leaks:
        terminalreporter.section("the suite's API key showed", red=True)
        for leak in _leaks:
            terminalreporter.line(leak)


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Give the test a store nobody else has, no provider's variables, and the settings of a new process."""
    for name in os.environ:
        if name.startswith(("DFLLM_", *_OF_CLOUDS)) or name in _OF_PROVIDERS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path / "store" / "answers.db"))
    for name, file in (
        ("CLOUDSDK_CONFIG", "gcloud"),
        ("AWS_SHARED_CREDENTIALS_FILE", "aws/credentials"),
        ("AWS_CONFIG_FILE", "aws/config"),
    ):
        monkeypatch.setenv(name, str(tmp_path / file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where processes share what they know of limits
    for name in ("_configured", "_registered", "_simulators"):
        monkeypatch.setattr(settings, name, {})
    # Simulators let everyone in, so every test can send them a key; none of them may leave it anywhere.
    keyed = replace(PROVIDERS["simulator"], key_names=("DFLLM_PLANTED_KEY",))
    monkeypatch.setitem(PROVIDERS, "simulator", keyed)
    monkeypatch.setenv("DFLLM_PLANTED_KEY", SUITE_KEY)
    yield
    for simulator in settings._simulators.values():
        simulator.stop()
    if runtime._runtime is not None:
        runtime._runtime.close()


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Simulator]]:
    """Return a function that starts a simulator, with Simulator's options, for ``model="simulator/..."`` to talk to."""
    with ExitStack() as started:

        def start(**options: Any) -> Simulator:
            simulator = started.enter_context(Simulator(**options))
            monkeypatch.setenv("DFLLM_SIMULATOR_URL", simulator.base_url)
            return simulator

        yield start


@pytest.fixture(scope="session")
def rsa_key() -> str:
    """Return a private key, as the file of a service account holds one."""
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    forms = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoded: bytes = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    return encoded.decode()


class TokenServer(ThreadingHTTPServer):
    """Gives out access tokens, one after the other and the last of them again; `gone` are those it has given."""

    daemon_threads = True

    def __init__(self, *given: str, seconds: int = 3600, status: int = 200) -> None:
        self.gone: list[str] = []
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                server.asked += 1
                token = given[min(len(server.gone), len(given) - 1)]
                said = {"access_token": token, "expires_in": seconds, "token_type": "Bearer"}
                if status != 200:
                    said = {"error": "invalid_grant", "error_description": "Account has been deleted."}
                else:
                    server.gone.append(token)
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def google(tmp_path: Path, rsa_key: str) -> Iterator[Callable[..., str]]:
    """Return a function from the access tokens that Google is to give out to the file of a service account.

    Its last server of tokens is its attribute ``server``.
    """
    pytest.importorskip("google.auth")
    servers: list[TokenServer] = []

    def account(*tokens: str, **options: int) -> str:
        server = TokenServer(*tokens, **options)
        servers.append(server)
        account.server = server  # type: ignore[attr-defined]  # for the test to look at
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        said = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k",
            "private_key": rsa_key,
            "client_email": "robot@p.iam.gserviceaccount.com",
            "token_uri": f"http://127.0.0.1:{server.server_port}/token",
        }
        file = tmp_path / f"account-{len(servers)}.json"
        file.write_text(json.dumps(said), "utf-8")
        return str(file)

    yield account
    for server in servers:
        server.shutdown()
        server.server_close()
