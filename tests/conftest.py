"""What every test gets: a store, settings and an environment of its own, and simulators that end with it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
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
    name for provider in settings.PROVIDERS.values() for name in (*provider.key_names, *provider.url_names)
}


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
        if name.startswith("DFLLM_") or name in _OF_PROVIDERS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path / "store" / "answers.db"))
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
