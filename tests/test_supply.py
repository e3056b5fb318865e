"""The supply chain: the locks name every file by its hash, and hold what the project asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / ".ci" / "lock"
#: The environment that is locked.
MARKERS = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux", "extra": ""}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

pytestmark = pytest.mark.skipif(not LOCKS.exists(), reason="the locks are in the repository, not in what is released")


def locked(name):
    """Return what a lock names: versions and hashes by package."""
    text = (LOCKS / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line.partition(" #")[0] for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    found = [re.fullmatch(r"([\w.-]+)==(\S+?)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line) for line in lines]
    assert all(found), [line for line, one in zip(lines, found, strict=True) if not one]
    return {canonicalize_name(one[1]): (one[2], re.findall(r"sha256:(\w+)", one[3])) for one in found}


def group(name):
    """Return what a dependency group asks for, with the groups in it."""
    for one in PROJECT["dependency-groups"][name]:
        if isinstance(one, dict):
            yield from group(one["include-group"])
        else:
            yield one


@pytest.mark.parametrize("name", ["pip", "tools", "runtime", "dev"])
def test_lock_names_every_file_by_its_hash(name):
    """Each line is one version and the hashes of its files, and nothing else: no address, no option, no range."""
    found = locked(name)

    assert found
    assert all(len(set(hashes)) == len(hashes) >= 1 for _, hashes in found.values())


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("runtime", PROJECT["project"]["dependencies"]),
        ("dev", [*PROJECT["project"]["dependencies"], *group("dev")]),
        ("tools", [*group("supply")]),
    ],
)
def test_locks_hold_what_the_project_asks_for(name, asked):
    """Every dependency is there, in a version that its bounds allow; `.ci/relock` brings a lock up to date."""
    found = locked(name)

    missing = [
        str(one)
        for one in map(Requirement, asked)
        if not one.marker or one.marker.evaluate(MARKERS)
        if not one.specifier.contains(found.get(canonicalize_name(one.name), ("0", []))[0], prereleases=True)
        or canonicalize_name(one.name) not in found
    ]

    assert [] == missing, f".ci/lock/{name}.txt is behind pyproject.toml; run .ci/relock"


def test_what_is_tested_is_what_is_shipped():
    """The lock for the tests has the very versions of the bill of materials."""
    runtime, dev = locked("runtime"), locked("dev")

    assert runtime == {name: dev.get(name) for name in runtime}
