"""A file is whole or not there: the old one stays until the new one is on disk, and nothing is left beside it."""

import os
import threading
from pathlib import Path

import pytest

from dfllm._places import check_place, replacing


def test_new_file_has_the_usual_mode(tmp_path: Path):
    """A new file can be read by whom the umask lets, like any other program's."""
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "new") as stream:
            stream.write(b"text")
    finally:
        os.umask(before)

    assert (b"text", 0o640) == ((tmp_path / "new").read_bytes(), (tmp_path / "new").stat().st_mode & 0o777)


def test_replaced_file_keeps_its_mode(tmp_path: Path):
    """Who could read the old file can read the new one, and nobody else, not even while it is written."""
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(0o602)

    with replacing(path) as stream:
        stream.write(b"new")
        unfinished = [found.stat().st_mode & 0o777 for found in tmp_path.iterdir() if found != path]

    assert [0o600] == unfinished
    assert (b"new", 0o602) == (path.read_bytes(), path.stat().st_mode & 0o777)


def test_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path):
    """Whoever reads while we write sees the old file whole."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with replacing(path) as stream:
        stream.write(b"new")
        stream.flush()
        seen = path.read_bytes()

    assert (b"old", b"new") == (seen, path.read_bytes())


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_failed_writing_leaves_no_trace(tmp_path: Path, error: BaseException):
    """An error in the middle leaves the old file as it was, and nothing beside it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()

    assert (b"old", ["file"]) == (path.read_bytes(), [found.name for found in tmp_path.iterdir()])


def test_link_stays_a_link(tmp_path: Path):
    """What a link leads to is replaced, not the link."""
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "file"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)

    with replacing(link) as stream:
        stream.write(b"new")

    assert (b"new", True) == (target.read_bytes(), link.is_symlink())


def test_pipe_is_written_to_and_stays(tmp_path: Path):
    """A named pipe takes the text and is a pipe afterwards."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    listener.start()

    check_place(pipe)
    with replacing(pipe) as stream:
        stream.write(b"text")
    listener.join(10)

    assert ([b"text"], True) == (heard, pipe.is_fifo())


def test_checking_leaves_no_trace(tmp_path: Path):
    """A place that is good is left as it was."""
    (tmp_path / "old").write_bytes(b"old")

    check_place(tmp_path / "old")
    check_place(tmp_path / "new")

    assert ["old"] == [found.name for found in tmp_path.iterdir()]
    assert b"old" == (tmp_path / "old").read_bytes()


def test_bad_places_are_found(tmp_path: Path):
    """A folder, a missing folder and a file that stands where a folder should are no places to write to."""
    (tmp_path / "file").touch()

    for path, error in {
        tmp_path: IsADirectoryError,
        tmp_path / "none" / "file": FileNotFoundError,
        tmp_path / "file" / "file": NotADirectoryError,
    }.items():
        with pytest.raises(error):
            check_place(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_protected_places_are_found(tmp_path: Path):
    """A file or a folder that may not be written is found before."""
    protected = tmp_path / "file"
    protected.touch(mode=0o400)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)

    for path in (protected, folder / "file"):
        with pytest.raises(PermissionError):
            check_place(path)
