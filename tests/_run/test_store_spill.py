"""Spill files: what the store cannot take is whole on disk, and comes back byte for byte."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._run import store_spill
from dfllm._run.store_rows import Attempt, Entry, Spend, note_of, row_of
from dfllm._run.store_spill import leftovers, put_away, spill, spills_of

ROW = row_of(Entry(b"k" * 20, b'{"id": 1}\xff\x00', "openai", "gpt-mini", 1.5, 0.25, 1234))
NOTE = note_of(Attempt(b"l" * 20, "run", 2.5, "maybe", "Timeout: 600 s", None, b"half"))

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes as POSIX has them")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A store that is not there, and a folder for temporary files of its own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "room [1]").mkdir()
    return tmp_path / "room [1]" / "store.db"


def no_room_beside(monkeypatch, path):
    """Let every file beside the store fail."""
    plain = os.open

    def full(file, flags, *mode):
        if Path(file).parent == path.parent and flags & os.O_WRONLY:
            raise OSError(28, "No space left on device")
        return plain(file, flags, *mode)

    monkeypatch.setattr(os, "open", full)


texts = st.text(max_size=20)
numbers = st.floats(0, 1e12, allow_nan=False)


@given(
    body=st.binary(max_size=200),
    provider=texts,
    model=texts,
    created=numbers,
    seconds=numbers,
    cost=st.none() | st.integers(0, 2**63 - 1),
    status=st.none() | st.integers(100, 599),
)
def test_what_goes_in_comes_out(tmp_path_factory, body, provider, model, created, seconds, cost, status):
    """Any answer, attempt and amount survive the way through a spill file."""
    place = tmp_path_factory.mktemp("spill") / "store.db"
    row = row_of(Entry(b"k" * 20, body, provider, model, created, seconds, cost))
    note = note_of(Attempt(b"k" * 20, provider, created, "paid", model, status, body if status else None))

    spend = Spend("run", b"k" * 20, created, "paid", status, None, None, cost)

    file = spill(place, [row, ROW], [note], [spend])
    found = spills_of(place)

    assert [(file, [row, ROW], [note], [spend], 0)] == found


@posix
def test_a_spill_lies_beside_the_store_for_its_owner_alone(path):
    """The file has the store's name, mode 0600 whatever the umask, and no half-written sister."""
    before = os.umask(0)
    try:
        file = spill(path, [ROW], [])
    finally:
        os.umask(before)

    assert [file] == list(path.parent.iterdir())
    assert file.name.startswith("store.db.spill-")
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


@posix
def test_without_room_it_goes_to_a_folder_of_ours(path, monkeypatch):
    """Where the store's own disk is full the answers go to a private folder among the temporary files."""
    no_room_beside(monkeypatch, path)

    file = spill(path, [ROW], [NOTE])

    assert Path(tempfile.gettempdir()) / f"dfllm-{os.getuid()}" == file.parent
    assert 0o700 == stat.S_IMODE(file.parent.stat().st_mode)
    assert [(file, [ROW], [NOTE], [], 0)] == spills_of(path)


def test_each_store_takes_its_own(path, monkeypatch):
    """Spill files of one store are none of another's, beside it or not."""
    other = path.with_name("store.db.spill")
    spill(path, [ROW], [])
    no_room_beside(monkeypatch, path)
    spill(path, [ROW], [])

    assert [2, 0] == [len(spills_of(each)) for each in (path, other)]


@posix
@pytest.mark.parametrize("fate", ["open to all", "a link", "a file", "a stranger's"])
def test_a_planted_folder_is_not_used(path, monkeypatch, fate):
    """Others may make a folder of that name first; then there is no second place."""
    folder = Path(tempfile.gettempdir()) / f"dfllm-{os.getuid()}"
    if fate == "a link":
        (path.parent / "theirs").mkdir(mode=0o700)
        folder.symlink_to(path.parent / "theirs")
    elif fate == "a file":
        folder.touch(0o600)
    else:
        folder.mkdir(0o700)
    if fate == "open to all":
        folder.chmod(0o755)
    if fate == "a stranger's":
        monkeypatch.setattr(store_spill, "is_strange", lambda found: True)
    no_room_beside(monkeypatch, path)

    with pytest.raises(PermissionError, match="not a folder of ours alone"):
        spill(path, [ROW], [])
    assert [] == spills_of(path)


def test_a_write_that_fails_leaves_nothing_half(path, monkeypatch):
    """A disk that fills up while the file is written keeps no piece of it."""

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spill(path, [ROW], [])

    assert [] == list(path.parent.iterdir())


def test_a_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    """The file itself is safe; not every system syncs directories."""
    plain = os.fsync

    def only_files(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(22, "Invalid argument")
        plain(number)

    monkeypatch.setattr(os, "fsync", only_files)

    assert spill(path, [ROW], []).exists()


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'"text"',
        b'["00000000", "answer", 1]',
        b'["00000000", "answer", {"base64": "eA=="}]',
        b"\xff\xfe",
    ],
)
def test_damaged_lines_are_counted_and_the_others_read(path, line):
    """One broken line costs one answer."""
    file = spill(path, [ROW], [NOTE])
    file.write_bytes(line + b"\n" + file.read_bytes())

    assert [(file, [ROW], [NOTE], [], 1)] == spills_of(path)


def test_a_changed_letter_is_noticed(path):
    """Each line's checksum covers all of it."""
    file = spill(path, [ROW], [NOTE])
    file.write_bytes(file.read_bytes().replace(b"gpt-mini", b"gpt-maxi").replace(b'"run"', b'"ran"'))

    assert [(file, [], [], [], 2)] == spills_of(path)


def test_a_line_that_is_no_row_is_damaged(path):
    """A checksum that holds does not make a row of something else."""
    content = ["answer", {"base64": "aw=="}, "p", "m", 1.0, 1.0, None, {"base64": ""}]
    path.with_name("store.db.spill-1.jsonl").write_text(
        store_spill.json.dumps([store_spill._sum(content), *content]) + "\n"
    )

    assert [1] == [found.damaged for found in spills_of(path)]


@posix
@pytest.mark.parametrize("fate", ["a link", "a pipe", "a folder", "a stranger's"])
def test_planted_files_are_left_alone(path, monkeypatch, fate):
    """Only plain files of our own are read, and nothing makes us wait."""
    planted = path.with_name("store.db.spill-1.jsonl")
    if fate == "a link":
        spill(path.with_name("other.db"), [ROW], []).rename(path.with_name("theirs"))
        planted.symlink_to(path.with_name("theirs"))
    elif fate == "a pipe":
        os.mkfifo(planted)
    elif fate == "a folder":
        planted.mkdir()
    else:
        planted.touch()
        monkeypatch.setattr(store_spill, "is_strange", lambda found: True)

    assert [] == spills_of(path)


def test_what_was_taken_in_is_deleted(path):
    """A file without damage has done its work; one with damage is kept under another name."""
    good, bad = spill(path, [ROW], []), spill(path, [ROW], [])
    bad.write_bytes(bad.read_bytes() + b"broken\n")

    put_away(spills_of(path))

    assert [bad.name + ".damaged"] == [file.name for file in path.parent.iterdir()]
    assert not good.exists()
    assert [] == spills_of(path)


def test_what_cannot_be_deleted_stays(path):
    """A file that is gone already, or cannot go, is no failure: it is taken in again, to no effect."""
    spill(path, [ROW], [])
    found = spills_of(path)
    put_away(found)

    put_away(found)

    assert [] == list(path.parent.iterdir())


@posix
def test_leftovers_are_what_nobody_reads_again(path, monkeypatch):
    """Damaged files and halves of dead writers, beside the store or not; what is to be taken in is none of them."""
    beside, refuge = path.parent, Path(tempfile.gettempdir()) / f"dfllm-{os.getuid()}"
    spill(path, [ROW], [])
    no_room_beside(monkeypatch, path)
    mark = spill(path, [ROW], []).name.split(".")[0]
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(refuge.parent))
    old = [
        *(beside / f"store.db.{end}" for end in ("damaged-1", "damaged-1-wal", "repaired-1", "compact-1")),
        *(beside / f"store.db.spill-1.{end}" for end in ("jsonl.damaged", "jsonl.part")),
        *(refuge / f"{mark}.spill-1.{end}" for end in ("jsonl.damaged", "jsonl.part")),
    ]
    new = [
        beside / "store.db.spill-2.jsonl.part",
        beside / "store.db2.damaged-1",
        refuge / "other.spill-1.jsonl.damaged",
    ]
    for file in (*old, *new):
        file.touch()
    for file in old:
        os.utime(file, (1.0, 1.0))
    (beside / "store.db.damaged-folder").mkdir()

    assert sorted(old) == leftovers(path)
