"""The pace file: where the processes of a host keep the tempo of one provider, model and key together.

It is some 240 bytes: a mark, the boot it is from, a checksum, and the numbers that `Tempo.dump` gives. They count on
the monotonic clock, which all processes of a host share and which begins anew with each boot. Whoever enters locks the
file, reads the numbers, and writes them back when leaving; the operating system unlocks for a process that dies. A file
that is torn, foreign or from another boot is begun anew. Its name is a hash, and no key can be read from it.

Nothing depends on it: where there is no folder for it, or somebody holds it for too long, each process paces alone.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import platformdirs

from dfllm._core.tempo import Tempo
from dfllm._run import store_lock
from dfllm._run.log import logger
from dfllm._run.secret import Secret
from dfllm._run.store_files import is_network, is_strange

_MARK = b"dfllmP\x00\x01"
_NUMBERS = struct.Struct(f"<{Tempo.SIZE}d")
_HEAD = struct.Struct("<8s16sdI")
_SIZE = _HEAD.size + _NUMBERS.size
#: Nobody holds the lock for longer than a few microseconds, unless it was stopped there.
_NAP_SECONDS = 0.0002
_NAPS = 100
_MOST_MISSES = 20
#: Where a boot has no id it is known by its time, which clocks that are set move a little.
_SAME_BOOT_SECONDS = 120.0
#: A time further ahead than this was written by no clock of ours.
_FARTHEST_SECONDS = 86_400.0
_KEPT_SECONDS = 7 * 86_400.0


class PaceFile:
    """One shared tempo, up to date and ours alone while this is entered.

    Args:
        path: the file.
        tempo: is brought up to date on entering, and written on leaving.

    Attributes:
        holds: whether the file is ours alone now.
    """

    def __init__(self, path: Path, tempo: Tempo) -> None:
        self._path = path
        self._tempo = tempo
        self._boot = boot_id()
        self._file: int | None = None
        self.holds = False
        self._misses = 0
        self._is_ours = False

    def __enter__(self) -> bool:
        """Return whether the tempo was brought up to date."""
        if self._misses > _MOST_MISSES:
            return False
        try:
            self.holds = self._lock()
            numbers = self._read() if self.holds else None
            self._is_ours = numbers is not None
            if numbers is not None:
                self._tempo.load(numbers)
        except OSError as error:
            self._give_up(error.strerror or type(error).__name__)
        return self.holds and self._is_ours

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not self.holds:
            return
        self.holds = False
        assert self._file is not None
        try:
            self._write(_NUMBERS.pack(*self._tempo.dump()))
        except OSError as failed:
            self._give_up(failed.strerror or type(failed).__name__)
        else:
            store_lock.unlock(self._file)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def _lock(self) -> bool:
        for nap in range(_NAPS):
            if self._file is None:
                flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
                self._file = os.open(self._path, flags | getattr(os, "O_BINARY", 0), 0o600)
            if store_lock.try_lock(self._file):
                if os.fstat(self._file).st_nlink:
                    self._misses = 0
                    return True
                self.close()  # deleted under us: whoever comes next would lock another file
            else:
                time.sleep(_NAP_SECONDS if nap else 0.0)
        self._misses += 1
        if self._misses > _MOST_MISSES:
            self._give_up("another process holds it and does not go on")
        return False

    def _give_up(self, why: str) -> None:
        self._misses = _MOST_MISSES + 1
        self.holds = False
        self.close()
        _say_alone(self._path.parent, why)

    def _read(self) -> tuple[float, ...] | None:
        """Return the numbers; None where the file holds none of ours from this boot."""
        assert self._file is not None
        os.lseek(self._file, 0, os.SEEK_SET)
        content = os.read(self._file, _SIZE + 1)
        if len(content) != _SIZE:
            return None
        mark, boot, booted_at, checksum = _HEAD.unpack_from(content)
        if mark != _MARK or checksum != zlib.crc32(content[_HEAD.size :]):
            return None
        if boot != self._boot or (not any(boot) and abs(booted_at - _booted_at()) > _SAME_BOOT_SECONDS):
            return None
        numbers = _NUMBERS.unpack_from(content, _HEAD.size)
        sane = all(map(math.isfinite, numbers)) and numbers[0] < time.monotonic() + _FARTHEST_SECONDS
        return numbers if sane else None

    def _write(self, numbers: bytes) -> None:
        assert self._file is not None
        if not self._is_ours:
            os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, _HEAD.pack(_MARK, self._boot, _booted_at(), zlib.crc32(numbers)) + numbers)


def _booted_at() -> float:
    return time.time() - time.monotonic()


def boot_id() -> bytes:
    """Return what tells this boot from others; all zeros where the system does not say."""
    with suppress(OSError):
        return hashlib.blake2b(Path("/proc/sys/kernel/random/boot_id").read_bytes(), digest_size=16).digest()
    return bytes(16)


def folder() -> Path | None:
    """Return where pace files lie, made if need be; None where there is no such place on this host."""
    place = Path(platformdirs.user_cache_dir("dfllm", appauthor=False)) / "pace"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.stat()
    except OSError as error:
        why = error.strerror or type(error).__name__
    else:
        if is_strange(found) or (os.name == "posix" and found.st_mode & 0o022):
            why = "others may write there"
        elif is_network(place / "any"):
            why = "it is on another host"
        else:
            return place
    _say_alone(place, why)
    return None


def pace_file(place: Path, what: tuple[str, ...], secret: Secret | None, tempo: Tempo) -> PaceFile:
    """Return the shared file of one provider, model and key.

    Args:
        place: the folder.
        what: provider, base URL and model.
        secret: the API key; only a hash of it and the rest goes into the name.
        tempo: what is shared.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (*what, secret.reveal() if secret is not None else ""):
        digest.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    _sweep(place)
    return PaceFile(place / f"{digest.hexdigest()}.pace", tempo)


def _sweep(place: Path) -> None:
    """Delete what nobody has used for a week."""
    with suppress(OSError):
        for file in place.glob("*.pace"):
            if time.time() - file.stat().st_mtime > _KEPT_SECONDS:
                file.unlink()


_has_said = False


def _say_alone(place: Path, why: str) -> None:
    global _has_said  # once a process is enough
    if not _has_said:
        _has_said = True
        logger.warning("pace.alone", extra={"folder": str(place), "why": why})
