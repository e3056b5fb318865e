"""File descriptors are raised as far as wanted and allowed, and never lowered."""

import resource
import subprocess
import sys
import textwrap

from dfllm._run import http_descriptors
from dfllm._run.http_descriptors import allow_descriptors


def test_the_soft_limit_goes_as_far_as_wanted_and_allowed():
    """Up to the hard limit, and not below what it was; tried in a process of its own."""
    script = f"""
        import resource, runpy
        allow = runpy.run_path({http_descriptors.__file__!r})["allow_descriptors"]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 400))
        for wanted in (100, 256, 300, 299, 400, 100_000):
            print(allow(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )

    assert ["256 256", "256 256", "300 300", "300 300", "400 400", "400 400"] == done.stdout.splitlines()


def test_what_is_there_already_is_not_touched():
    """Wanting less than there is changes nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert allow_descriptors(1) >= 1
    assert before == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_no_limit_is_plenty(monkeypatch):
    """Where the system names no limit, there is enough for anyone."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    assert allow_descriptors(5000) >= 5000


def test_a_refusal_leaves_the_limit_as_it_is(monkeypatch):
    """A system that refuses is taken at its word, after one more modest attempt."""
    asked = []

    def refuse(kind, limits):
        asked.append(limits[0])
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    assert 256 == allow_descriptors(50_000)
    assert [50_000, 10_240] == asked
