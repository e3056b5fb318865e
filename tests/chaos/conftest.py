"""What the chaos suite shares: how much of it runs, the seed all its dice are made of, and who says so.

Each number is an option where this folder is named on the command line, and an environment variable everywhere.
"""

import os
import random
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest


class Size(NamedTuple):
    """A number that may be chosen.

    Attributes:
        usual: what it is in CI.
        what: what it counts.
    """

    usual: int
    what: str


SIZES = {
    "schedules": Size(2_000, "random fault schedules in virtual time"),
    "lives": Size(500, "random lives of one sender"),
    "kills": Size(30, "processes killed in the middle of a run"),
    "flips": Size(1_000, "bytes flipped in a store's files"),
    "faults": Size(1, "of so many failing points of the disk one is tried, from a random one on"),
    "only": Size(-1, "the one schedule to run again; -1 runs all"),
}
#: As for hypothesis: in CI the same dice each time, at home new ones, which every failure names.
_SEED = 1 if os.environ.get("CI") else random.randrange(1_000_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the seed and the sizes."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seed", type=int, help="what all dice are made of (CHAOS_SEED)")
    for name, size in SIZES.items():
        group.addoption(f"--chaos-{name}", type=int, help=f"{size.what}, usually {size.usual} (CHAOS_{name.upper()})")


def number(config: pytest.Config, name: str, usual: int) -> int:
    """Return a number as it was chosen: option, environment variable, or the usual one."""
    # Where the whole suite runs, this file is read after the command line, so the option is not there.
    chosen = config.getoption(f"chaos_{name}", None)
    return int(os.environ.get(f"CHAOS_{name.upper()}", usual) if chosen is None else chosen)


def seed_of(config: pytest.Config) -> int:
    """Return the seed of this session."""
    return number(config, "seed", _SEED)


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    """Name the seed, also where -q leaves the header out."""
    sizes = ", ".join(f"{number(config, name, SIZES[name].usual)} {name}" for name in SIZES if name != "only")
    return f"chaos: seed {seed_of(config)}, {sizes}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give more than the usual the time it needs."""
    if any(number(config, name, size.usual) > size.usual for name, size in SIZES.items()):
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Say how a failure is played again."""
    report = yield
    if report.failed and item.path.is_relative_to(Path(__file__).parent):
        nodeid = shlex.quote(item.nodeid)
        report.sections.append(("chaos", f"again: python -m pytest {nodeid} --chaos-seed {seed_of(item.config)}"))
    return report


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this session."""
    return seed_of(request.config)


@pytest.fixture
def dice(request: pytest.FixtureRequest, seed: int) -> random.Random:
    """Return dice that fall alike for this test whenever the seed is the same, whatever else runs."""
    return random.Random(f"{seed}:{request.node.name}")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[str], int]:
    """Return a function from a name of SIZES to its number."""
    return lambda name: number(request.config, name, SIZES[name].usual)
