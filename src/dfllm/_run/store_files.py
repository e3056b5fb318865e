"""Where the store's files may lie and who may read them; nothing here opens the database itself.

A process that opens a SQLite file by other means and closes it again drops SQLite's locks on it, so files are only
looked at from outside once they exist.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from contextlib import suppress
from pathlib import Path

from dfllm._core.errors import StoreError
from dfllm._run.store_errors import ELSEWHERE, explain

#: What SQLite and we put beside the store.
SUFFIXES = ("", "-wal", "-shm", "-journal", ".lock")

#: No shared memory between hosts, so no WAL.
_NETWORK = frozenset(
    (
        *("9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fuse.cephfs", "fuse.glusterfs", "fuse.sshfs"),
        *("glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"),
    )
)


def beside(path: Path, suffix: str) -> Path:
    """Return the store's sister file."""
    return path.with_name(path.name + suffix)


def size_of_all(path: Path) -> int:
    """Return the size on disk of the store and all that lies beside it."""
    total = 0
    for file in path.parent.glob(glob.escape(path.name) + "*"):
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def make_room(path: Path) -> None:
    """Make the store's directory, for its owner alone, and refuse places where others could meddle.

    Raises:
        StoreError: the directory cannot be made, or the store's files are links, or others could swap them.
    """
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = folder.stat()
    except FileExistsError as error:
        raise StoreError(f"The store cannot be made: {folder} is a file, no directory; {ELSEWHERE}.") from error
    except OSError as error:
        raise explain(error, path) from error
    if room.st_mode & stat.S_IWOTH and not room.st_mode & stat.S_ISVTX:
        raise StoreError(
            f"Anyone may swap files in {folder}, so no store is kept there. Take the right to write from others "
            f"(chmod o-w), or {ELSEWHERE}."
        )
    for suffix in SUFFIXES:
        _refuse_strangers(beside(path, suffix))


def refuse_foreign(file: Path) -> None:
    """Leave alone what is certainly no store, before its mode is changed or a lock is put beside it.

    Only a file that others may read is looked into: a store is its owner's alone, and to close one that this process
    has open elsewhere would drop its locks.

    Raises:
        StoreError: it is a file of another kind. Nothing was touched.
    """
    try:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or not found.st_size or not found.st_mode & 0o077:
            return
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError:
        return  # opening it will say why
    if head != b"SQLite format 3\0":
        raise StoreError(
            f"{file} cannot be the store: it is no SQLite database. If it was a store once, run `dfllm store repair`; "
            f"otherwise {ELSEWHERE}."
        )


def _refuse_strangers(file: Path) -> None:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain(error, file) from error
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(f"{file} is a symbolic link, and the store follows none; name the file itself.")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{file} is no file, so it cannot be a store; {ELSEWHERE}.")
    if is_strange(found):
        raise StoreError(f"{file} belongs to another user; {ELSEWHERE}.")
    if os.name == "posix" and found.st_mode & 0o077:
        # Only the owner can; to root inside a container even that may be forbidden, and then the file stays as it is.
        with suppress(OSError):
            file.chmod(0o600)


def is_strange(found: os.stat_result) -> bool:
    """Return whether a file belongs to neither us nor root."""
    return os.name == "posix" and found.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one at the same path, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def make_file(path: Path) -> None:
    """Make an empty file that its owner alone can read, where there is none. The file lock is held.

    SQLite gives its WAL and shared memory the mode of the database.

    Raises:
        OSError: it cannot be made, or is there and cannot be written. SQLite would open it and complain of the first
            answer.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
    if not os.access(path, os.W_OK):
        raise OSError(errno.EROFS, "Read-only", str(path))


def is_network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Return whether the directory is known to be another host's; where mounts cannot be read, it is not."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    place = path.parent.resolve()
    kinds: dict[Path, str] = {}
    for line in lines:
        head, _, tail = line.partition(" - ")
        fields = head.split()
        if len(fields) > 4 and tail:
            kinds[Path(_unescape(fields[4]))] = tail.split()[0]
    return next((kinds[each] in _NETWORK for each in (place, *place.parents) if each in kinds), False)


def _unescape(field: str) -> str:
    """Undo mountinfo's octal escapes for space, tab, newline and backslash."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field
