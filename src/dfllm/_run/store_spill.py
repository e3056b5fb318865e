"""Spill files: where paid answers go when the store cannot take them, until the next open takes them in.

One JSON array a line: a CRC-32 in hexadecimal of the rest, the kind of row, its fields; bytes are base64.
"""

from __future__ import annotations

import getpass
import glob
import hashlib
import json
import os
import secrets
import stat
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from dfllm._run.store_files import is_strange
from dfllm._run.store_rows import Attempt, Entry, Note, Row, Spend, note_of, row_of, spend_of

#: Nobody takes longer to write a spill file.
_WRITING_SECONDS = 600.0


class Spill(NamedTuple):
    """What one spill file holds.

    Attributes:
        file: where it is.
        rows: the answers whose checksum holds.
        notes: the attempts whose checksum holds.
        spends: the amounts whose checksum holds.
        damaged: lines that cannot be read.
    """

    file: Path
    rows: list[Row]
    notes: list[Note]
    spends: list[Spend]
    damaged: int


def spill(path: Path, rows: Iterable[Row], notes: Iterable[Note], spends: Iterable[Spend] = ()) -> Path:
    """Write rows beside the store, or where that fails into a folder of ours for temporary files.

    Raises:
        OSError: neither place takes them.
    """
    lines = [_line("answer", row[:6] + row[7:]) for row in rows] + [_line("attempt", note) for note in notes]
    lines += [_line("spend", spend) for spend in spends]
    text = "".join(lines)
    name = f".spill-{secrets.token_hex(8)}.jsonl"
    try:
        return _write(path.with_name(path.name + name), text)
    except OSError:
        return _write(_refuge() / (_mark(path) + name), text)


def spills_of(path: Path) -> list[Spill]:
    """Read every spill file of this store; what is not ours to trust is left alone."""
    files = sorted(path.parent.glob(f"{glob.escape(path.name)}.spill-*.jsonl"))
    with suppress(OSError):
        files += sorted(_refuge().glob(f"{_mark(path)}.spill-*.jsonl"))
    return [found for file in files if (found := _read(file)) is not None]


def put_away(spills: Sequence[Spill]) -> None:
    """Delete files that were taken in; those with damaged lines are kept under another name."""
    for each in spills:
        with suppress(OSError):
            if each.damaged:
                each.file.rename(each.file.with_name(each.file.name + ".damaged"))
            else:
                each.file.unlink()


def leftovers(path: Path) -> list[Path]:
    """Return files that may hold answers and that nobody will read again: what is damaged, and halves of dead writers.

    Spill files are not among them; they are to be taken in. The file lock is held.
    """
    places = [(path.parent, path.name)]
    with suppress(OSError):
        places.append((_refuge(), _mark(path)))
    found: list[Path] = []
    for folder, name in places:
        name = glob.escape(name)
        for pattern in ("damaged-*", "repaired-*", "compact-*", "spill-*.jsonl.damaged"):
            found += folder.glob(f"{name}.{pattern}")
        found += (part for part in folder.glob(f"{name}.spill-*.part") if _is_old(part))
    return sorted(file for file in found if not file.is_dir())


def _is_old(part: Path) -> bool:
    """Return whether whoever wrote this would be done by now."""
    with suppress(OSError):
        return time.time() - part.lstat().st_mtime > _WRITING_SECONDS
    return False


def _line(kind: str, fields: Sequence[object]) -> str:
    plain = [{"base64": b64encode(field).decode("ascii")} if isinstance(field, bytes) else field for field in fields]
    content = [kind, *plain]
    return json.dumps([_sum(content), *content]) + "\n"


def _sum(content: Sequence[object]) -> str:
    return f"{crc32(json.dumps(content).encode()):08x}"


def _write(file: Path, text: str) -> Path:
    """Write a whole file and put it in its place at once, so that nobody reads half of it."""
    part = file.with_name(file.name + ".part")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as out:
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    _sync_folder(file.parent)
    return file


def _sync_folder(folder: Path) -> None:
    # Not every system opens a directory; the file itself is safe by now.
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _refuge() -> Path:
    """Return our own folder among the temporary files, made if need be; others may plant one, so it is looked at."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"dfllm-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or is_strange(found) or (os.name == "posix" and found.st_mode & 0o077):
        raise PermissionError(f"{folder} is not a folder of ours alone")
    return folder


def _mark(path: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def _read(file: Path) -> Spill | None:
    # A pipe planted under that name must not make us wait, and a link must not lead us elsewhere.
    cautious = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0) | cautious), "rb") as lines:
            found = os.fstat(lines.fileno())
            if is_strange(found) or not stat.S_ISREG(found.st_mode):
                return None
            spilled = Spill(file, [], [], [], 0)
            for line in lines:
                spilled = _add(spilled, line)
            return spilled
    except OSError:
        return None


def _add(spilled: Spill, line: bytes) -> Spill:
    try:
        total, kind, *fields = json.loads(line)
        if total != _sum([kind, *fields]):
            raise ValueError("checksum")
        values: list[Any] = [b64decode(field["base64"]) if isinstance(field, dict) else field for field in fields]
        if kind == "answer":
            key, provider, model, created, seconds, cost, body = values
            spilled.rows.append(row_of(Entry(key, body, provider, model, created, seconds, cost)))
        elif kind == "spend":
            spilled.spends.append(spend_of(Spend(*values)))
        else:
            spilled.notes.append(note_of(Attempt(*values)))
    except (ValueError, TypeError, LookupError, AttributeError):
        return spilled._replace(damaged=spilled.damaged + 1)
    return spilled
