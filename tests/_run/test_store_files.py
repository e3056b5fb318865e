"""Files: the store is its owner's alone, follows no link, and knows a network when it lies on one."""

import os
import stat
import sys
from pathlib import Path

import pytest

from dfllm._core.errors import StoreError
from dfllm._run import store_files
from dfllm._run.store import Store
from dfllm._run.store_files import beside, identity_of, is_network, is_strange, make_file, make_room

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners as POSIX has them")

MOUNTS = r"""
22 1 0:20 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /home rw shared:1 - nfs4 server:/home rw
31 30 0:26 / /home/local rw - ext4 /dev/vdb rw
32 22 0:27 / /mnt/with\040space rw - fuse.sshfs me@host rw
a line of another kind
"""


def mode_of(path):
    """Return who may do what with a file."""
    return stat.S_IMODE(path.lstat().st_mode)


@posix
def test_what_we_make_is_for_the_owner_alone(tmp_path):
    """Directories we make are 0700 and the file is 0600, whatever the umask."""
    path = tmp_path / "new" / "folder" / "store.db"
    before = os.umask(0)
    try:
        make_room(path)
        make_file(path)
    finally:
        os.umask(before)

    assert [0o700, 0o600] == [mode_of(path.parent), mode_of(path)]


@posix
def test_open_modes_are_closed(tmp_path):
    """A store that others could read is theirs no longer once it is opened."""
    path = tmp_path / "store.db"
    path.touch()
    path.chmod(0o644)

    make_room(path)

    assert 0o600 == mode_of(path)


def test_make_file_leaves_what_is_there(tmp_path):
    """An existing file is not touched."""
    path = tmp_path / "store.db"
    path.write_bytes(b"kept")

    make_file(path)

    assert b"kept" == path.read_bytes()


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    """SQLite opens a read-only file without a word; we say so before anything is paid for."""
    monkeypatch.setattr(os, "access", lambda path, right: right != os.W_OK)

    with pytest.raises(StoreError, match=r"it is read-only.*Make the file and its directory writable"):
        Store(tmp_path / "store.db")


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
@posix
def test_links_are_refused(tmp_path, suffix):
    """A link in place of any of the store's files could lead anywhere."""
    path = tmp_path / "store.db"
    beside(path, suffix).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match=r"symbolic link.*name the file itself"):
        make_room(path)


def test_a_folder_is_no_store(tmp_path):
    """Where the file should be there is a folder."""
    (tmp_path / "store.db").mkdir()

    with pytest.raises(StoreError, match=r"store\.db is no file.*DFLLM_STORE"):
        make_room(tmp_path / "store.db")


def test_a_file_in_place_of_the_folder_is_said(tmp_path):
    """Where the folder should be there is a file."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"file is a file, no directory.*DFLLM_STORE"):
        make_room(tmp_path / "file" / "store.db")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no directories, from nobody")
def test_a_place_that_takes_no_folder_is_said():
    """Even root cannot make a directory in /proc; the message says what to do."""
    with pytest.raises(StoreError, match=r"/proc/dfllm/store\.db cannot be used.*DFLLM_STORE"):
        make_room(Path("/proc/dfllm/store.db"))


def test_a_name_that_cannot_be_looked_at_is_said(tmp_path):
    """A name too long for the disk is an error of the place, not of ours."""
    with pytest.raises(StoreError, match="DFLLM_STORE"):
        make_room(tmp_path / ("long" * 100))


@posix
def test_a_folder_open_to_all_is_refused(tmp_path):
    """Where anyone may swap files no answer can be trusted; with the sticky bit nobody can."""
    room = tmp_path / "open"
    room.mkdir()
    room.chmod(0o777)

    with pytest.raises(StoreError, match="chmod o-w"):
        make_room(room / "store.db")
    room.chmod(0o1777)
    make_room(room / "store.db")

    assert [] == list(room.iterdir())


@posix
@pytest.mark.parametrize(("me", "owner", "strange"), [(7, 7, False), (7, 0, False), (7, 8, True), (0, 8, False)])
def test_strangers_files_are_known(tmp_path, monkeypatch, me, owner, strange):
    """A file is strange where it belongs to neither us nor root; to root nothing is strange."""
    monkeypatch.setattr(os, "geteuid", lambda: me)
    found = os.stat_result((0o100600, 0, 0, 0, owner, 0, 0, 0, 0, 0))

    assert strange == is_strange(found)


@posix
def test_strangers_stores_are_refused(tmp_path, monkeypatch):
    """Another user's store is not opened."""
    path = tmp_path / "store.db"
    path.touch()
    monkeypatch.setattr(store_files, "is_strange", lambda found: True)

    with pytest.raises(StoreError, match="belongs to another user"):
        make_room(path)


@pytest.mark.parametrize(
    ("place", "network"),
    [
        ("/data/store.db", False),
        ("/home/me/store.db", True),
        ("/home/local/store.db", False),
        ("/mnt/with space/store.db", True),
    ],
)
def test_networks_are_known_by_their_mount(tmp_path, place, network):
    """The nearest mount above the store says what the directory lies on."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    assert network == is_network(Path(place), mounts)


def test_where_mounts_cannot_be_read_there_is_no_network(tmp_path):
    """Systems without mountinfo are taken for local."""
    assert is_network(tmp_path / "store.db", tmp_path / "none") is False


def test_identity_tells_files_apart(tmp_path):
    """A file that took another's place is another file, and one that is gone is none."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    second.touch()
    was = identity_of(first)
    second.replace(first)

    assert was != identity_of(first)
    assert identity_of(second) is None
