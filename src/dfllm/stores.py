"""The store of paid answers as a user sees it: what it holds, what is removed from it, and how it travels."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pandas as pd

from dfllm._core.ages import Age, seconds_of
from dfllm._core.errors import OptionError, StoreError
from dfllm._core.keys import key_from
from dfllm._core.types import Key
from dfllm._places import replacing
from dfllm._run import store_parquet
from dfllm._run.runtime import runtime
from dfllm._run.settings import Settings, current
from dfllm._run.store import Stats, Verification
from dfllm._run.store import Store as Opened
from dfllm._run.store_care import Removed
from dfllm._run.store_parquet import Exported, Loaded


class Store:
    """The store of paid answers; `dfllm.store` gives it. Nothing is made or opened before it is needed.

    Every method may be called while runs use the store, in this process or another.

    Attributes:
        path: the file, which may not be there yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.path: Path = settings.store_path.absolute()

    def __repr__(self) -> str:
        return f"dfllm.Store({str(self.path)!r})"

    def stats(self) -> Stats:
        """Count what is in the store.

        Returns:
            A named tuple: path, entries, bytes, sources (provider, model, entries, first, last, cost in 1e-9 USD),
            attempts, claims, quarantine, sqlite, journal.

        Raises:
            StoreError: there is no store, or it cannot be read.
        """
        return self._opened().stats()

    def verify(self) -> Verification:
        """Read the whole store and compare every checksum. Nothing is changed.

        Returns:
            A named tuple: entries, damaged (keys), integrity (what SQLite says of the file), ok.

        Raises:
            StoreError: there is no store, or it cannot be read.
        """
        return self._opened().verify()

    def prune(
        self, *, older_than: Age | None = None, model: str | None = None, max_bytes: int | None = None
    ) -> Removed:
        """Make room: take out old answers, and make the file smaller.

        `older_than` and `model` say what may go. All of that goes; with `max_bytes` only as much as it takes, oldest
        first. What a run is asking anew at this moment stays until the new answer is there. To leave no trace of
        answers, use `purge`.

        Args:
            older_than: a timedelta, seconds, or text such as ``"30d"``; what came later stays.
            model: as a call names it, ``"openai/gpt-mini"``, or without the provider.
            max_bytes: the size that the file is to have at most.

        Returns:
            A named tuple: answers, others (attempts without an answer and damaged entries, which go by their age),
            bytes (by how much the files shrank).

        Raises:
            OptionError: nothing was said, or it does not fit. Nothing was removed.
            StoreError: there is no store, or it cannot be written.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo"]}).llm.complete("{{ city }}", model="simulator/echo")
            >>> dfllm.store().prune(older_than="30d").answers
            0
        """
        if older_than is None and model is None and max_bytes is None:
            raise OptionError("prune() wants to know what may go: older_than=, model= or max_bytes=.")
        size: object = max_bytes
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise OptionError(f"max_bytes takes a whole number from 0 on; found {size!r}.")
        before = None if older_than is None else time.time() - seconds_of(older_than)
        with self._opened().care() as care:
            return care.prune(before=before, model=model, max_bytes=max_bytes)

    def purge(
        self,
        frame: pd.DataFrame | None = None,
        *,
        key: str | Iterable[str] | None = None,
        tag: str | None = None,
        older_than: Age | None = None,
    ) -> Removed:
        """Take answers out so that no byte of them is left in the store's files.

        Free pages, the WAL, spill files, what came back from attempts without an answer and files that a repair moved
        aside are cleared with them. The ledger keeps its amounts, and forgets which questions they were for. Backups,
        exports and the disk's own old blocks are beyond this.

        Args:
            frame: a frame with the ``{into}_key`` columns that ``details=True`` gives: the answers of its rows.
            key: a key as those columns have it, or several.
            tag: answers that runs with this tag paid for.
            older_than: a timedelta, seconds, or text such as ``"30d"``; ``0`` is everything.

        Returns:
            A named tuple: answers, others (attempts without an answer, damaged entries and files of damaged ones),
            bytes (by how much the files shrank).

        Raises:
            OptionError: not exactly one of these was given, or it does not fit. Nothing was removed.
            StoreError: there is no store, it cannot be written, or another program went on reading it, so that its
                files still hold what was removed; then purge again.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"name": ["Ada"]})
            >>> out = df.llm.complete("Greet {{ name }}", model="simulator/echo", details=True)
            >>> dfllm.store().purge(out).answers
            1
        """
        given = [name for name, value in locals().items() if name != "self" and value is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise OptionError(f"purge() takes one of a frame, key=, tag= and older_than=; found {found}.")
        keys = _keys_in(frame) if frame is not None else _keys_of(key) if key is not None else []
        before = None if older_than is None else time.time() - seconds_of(older_than)
        with self._opened().care() as care:
            return care.purge(keys=keys, tag=tag, before=before)

    def export(self, path: str | Path) -> Exported:
        """Write every answer to a Parquet file, for an archive or another machine.

        Columns: key, provider, model, created (unix seconds), seconds, cost (1e-9 USD), checksum, body (what the
        provider said, byte for byte). Attempts without an answer and the ledger are not in it. A file that is there is
        replaced, once the new one is whole.

        Args:
            path: the file.

        Returns:
            A named tuple: answers, damaged (left out).

        Raises:
            StoreError: there is no store, it cannot be read, or the file cannot be written.
        """
        place, opened = Path(path).expanduser(), self._opened()
        if place.name.startswith(self.path.name) and place.absolute().parent.resolve() == self.path.parent.resolve():
            raise StoreError(f"{place} is a name that the store itself may use; choose another for the export.")
        with opened.care() as care:
            try:
                with replacing(place) as stream:
                    return store_parquet.write(stream, care.windows())
            except OSError as error:
                raise StoreError(f"{place} cannot be written: {error.strerror or error}.") from error

    def load(self, path: str | Path) -> Loaded:
        """Take the answers of an export in; of two to one question the newer one stands.

        Checksums are compared, so a damaged answer is left out. They are no signature: load only files that you trust.
        The store is made where there is none.

        Args:
            path: a file that `export` wrote.

        Returns:
            A named tuple: answers (in the file), taken, known (the store had them, as new or newer), damaged.

        Raises:
            StoreError: the file is no export or cannot be read, or the store cannot be written.
        """
        answers = taken = damaged = 0
        windows = store_parquet.read(Path(path).expanduser())
        first = next(windows, [])  # what is no export makes no store
        with runtime().store(self._settings).care() as care:
            for window in chain([first], windows):
                whole = [row for row in window if row is not None]
                answers += len(window)
                damaged += len(window) - len(whole)
                taken += care.take(whole)
        return Loaded(answers, taken, answers - damaged - taken, damaged)

    def _opened(self) -> Opened:
        if not self.path.exists():
            raise StoreError(f"There is no store at {self.path}; the first run makes it.")
        return runtime().store(self._settings)


def store() -> Store:
    """Return the store of paid answers, the one that calls use here and now.

    Returns:
        A `Store`: `stats`, `verify`, `prune`, `purge`, `export` and `load`.

    Example:
        >>> import pandas as pd, dfllm
        >>> df = pd.DataFrame({"city": ["Oslo", "Lima"]}).llm.complete("{{ city }}", model="simulator/echo")
        >>> dfllm.store().stats().entries
        2
    """
    return Store(current())


def _keys_of(given: str | Iterable[str]) -> list[Key]:
    keys = []
    for one in [given] if isinstance(given, str) else given:
        try:
            keys.append(key_from(one))
        except ValueError:
            raise OptionError(
                f"key={one!r} is no key; it takes 'k1' and 40 hex digits, as details=True gives them."
            ) from None
    return keys


def _keys_in(frame: object) -> list[Key]:
    """Return the keys in the columns of a frame that hold keys."""
    if not isinstance(frame, pd.DataFrame):
        raise OptionError(f"purge() takes a frame; found {type(frame).__name__}. For keys say key=.")
    keys: dict[Key, None] = {}
    columns = 0
    for place, name in enumerate(frame.columns):
        if not str(name).endswith("_key"):
            continue
        try:
            held = [key_from(cell) for cell in frame.iloc[:, place].dropna().tolist()]
        except ValueError:
            continue  # a key of the user's own
        columns += bool(held) or frame.empty
        keys |= dict.fromkeys(held)
    if not columns:
        raise OptionError(
            "The frame has no column of keys. Make it with details=True, as the run was made: "
            "df.llm.complete(..., details=True, cache='only') sends nothing and gives '{into}_key'."
        )
    return list(keys)
