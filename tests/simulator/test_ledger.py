"""A bill's file is its owner's alone, adds up, and is nothing else."""

import multiprocessing
import stat

import pytest

from dfllm.simulator.ledger import Ledger, Line

LINE = Line("a", 200, 1, 1, 10, 5)


def add_often(path):
    """Add the same line many times, as another process would."""
    ledger = Ledger(path)
    for _ in range(50):
        ledger.add([LINE])


def test_lines_add_up(tmp_path):
    """The same hash and status is one line."""
    ledger = Ledger(tmp_path / "bill")

    ledger.add([LINE, LINE, Line("a", 500, 1, 0, 0, 0)])
    ledger.add([LINE])

    assert [Line("a", 200, 3, 3, 30, 15), Line("a", 500, 1, 0, 0, 0)] == sorted(ledger.lines())


def test_file_is_private(tmp_path):
    """Nobody else may read the file, nor a directory made for it."""
    path = tmp_path / "new" / "bill"

    Ledger(path)

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


def test_processes_add_together(tmp_path):
    """Two processes at once lose none of each other's calls."""
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=add_often, args=(tmp_path / "bill",)) for _ in range(2)]

    for other in others:
        other.start()
    for other in others:
        other.join()

    assert [0, 0] == [other.exitcode for other in others]
    assert [Line("a", 200, 100, 100, 1_000, 500)] == Ledger(tmp_path / "bill").lines()


def test_other_files_are_refused(tmp_path):
    """A file that is something else is left as it is."""
    path = tmp_path / "letter"
    path.write_text("Dear all, this is a letter and no table at all." * 50)

    with pytest.raises(OSError, match="cannot be read or written as a bill"):
        Ledger(path)
    assert path.read_text().startswith("Dear all")


def test_links_are_refused(tmp_path):
    """A symbolic link is not followed."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="link"):
        Ledger(tmp_path / "link")
