"""File descriptors are raised as far as wanted and allowed, and never lowered."""

import resource
import subprocess
import sys
import textwrap

import pytest

from dfllm._run.http_descriptors import allow_descriptors


def in_a_process(soft: int, hard: int, wanted: int) -> list[int]:
    """Return what the function says, and the soft limit afterwards, in a process with these limits."""
    script = f"""
        import resource
        from dfllm._run.http_descriptors import allow_descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
        print(allow_descriptors({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(100, 256), (256, 256), (300, 300), (400, 400), (100_000, 400)],
)
def test_the_soft_limit_goes_as_far_as_wanted_and_allowed(wanted, expected):
    """Up to the hard limit, and not below what it was."""
    assert [expected, expected] == in_a_process(256, 400, wanted)


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
