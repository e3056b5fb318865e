"""What rows bring beside the template's columns: images, files and conversations of their own, window by window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import pandas as pd

from dfllm._core.errors import OptionError
from dfllm._core.images import Unfit
from dfllm._core.parts import Brought, listed
from dfllm._core.talks import talk_of
from dfllm._core.template import check_columns
from dfllm._core.types import Failure, Messages, Part
from dfllm._run.pictures import AT_ONCE, FILES, Pictures
from dfllm._run.settings import Settings
from dfllm._wire.media import Rules, refusal


class Attached(NamedTuple):
    """The columns that rows bring something in.

    Attributes:
        images: those with images.
        files: those with files.
        messages: that with conversations.
    """

    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.images, *self.files, *self.messages)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is shown in whole columns: ``"image"``, ``"file"`` or both."""
        return tuple(kind for kind, labels in (("image", self.images), ("file", self.files)) if labels)

    def check(self, available: Sequence[Any]) -> None:
        """Check that the frame has them.

        Raises:
            TemplateError: it has not.
        """
        for name, labels in self._asdict().items():
            check_columns(labels, available, of=f"{name}=")


def attached_of(options: Mapping[str, Any]) -> Attached:
    """Return the columns that a call's options name.

    Raises:
        OptionError: an option is no name.
    """
    messages = options.get("messages")
    if messages is not None and not isinstance(messages, str):
        raise OptionError(f"messages takes the name of a column that holds conversations; found {messages!r}.")
    return Attached(
        _labels("images", options.get("images")),
        _labels("files", options.get("files")),
        () if messages is None else (messages,),
    )


def _labels(option: str, given: object) -> tuple[str, ...]:
    labels = () if given is None else (given,) if isinstance(given, str) else given
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        raise OptionError(f"{option} takes a column's name or a list of them; found {given!r}.")
    return tuple(labels)


def check_taken(attached: Attached, rules: Rules) -> None:
    """Refuse columns that the provider takes nothing from.

    Raises:
        OptionError: it takes none, or there is a budget and they have no bound.
    """
    for kind in attached.kinds:
        if not rules.takes(kind):
            raise OptionError(f"{rules.whose} takes no {kind}s; leave {kind}s= out, or choose another provider.")
        if rules.is_capped and not rules.is_bounded(kind):
            raise OptionError(refusal(kind))


class _Eyes:
    """Looks at what one row shows, as far as a request may hold it: a cell can name one large file very often.

    Args:
        pictures: what reads images and files.
        rules: what holds for them.
    """

    def __init__(self, pictures: Mapping[str, Pictures], rules: Rules) -> None:
        self._pictures = pictures
        self._whose = rules.whose
        self._room = self._most = rules.media.request_bytes

    def show(self, kind: str, cell: Any) -> Part:
        """Return the part of an image or a file.

        Raises:
            Unfit: it cannot be sent, or is one too many.
        """
        url = self._pictures[kind].one(cell)
        self._room -= len(url)
        if self._room < 0:
            raise Unfit(f"more than the {self._most / 1e6:,.0f} MB that {self._whose} takes a request")
        return Part(kind, url)


def brought(
    frame: pd.DataFrame, attached: Attached, settings: Settings, rules: Rules, *, skip: bool
) -> Callable[[int, int], list[Brought | Failure]]:
    """Return the function from a window's bounds to what each row brings, or why it cannot be sent.

    Args:
        frame: the frame.
        attached: the columns.
        settings: whether URLs are fetched.
        rules: what holds for what they show.
        skip: whether a row without one of its cells is skipped; else it goes without.
    """
    pictures = {"image": Pictures(fetch=settings.fetch_images), "file": Pictures(FILES, fetch=settings.fetch_files)}
    fetches = settings.fetch_images or settings.fetch_files
    columns = [(label, frame[label]) for label in dict.fromkeys(attached.columns)]
    shown = [*(("file", label) for label in attached.files), *(("image", label) for label in attached.images)]

    def row(cells: Mapping[str, Any]) -> Brought | Failure:
        gaps = [label for label in attached.columns if _is_blank(cells[label])]
        if gaps and skip:
            return Failure("Skipped", f"column {gaps[0]!r} is missing")
        eyes = _Eyes(pictures, rules)
        media: list[Part] = []
        talk: Messages = ()
        label = ""
        try:
            for kind, label in shown:
                if label not in gaps:
                    media += [eyes.show(kind, one) for one in _several(cells[label])]
            for label in attached.messages:
                talk = () if label in gaps else talk_of(cells[label], eyes.show)
        except Unfit as error:
            return Failure("BadInput", f"{error} in column {label!r}")
        return Brought(talk, tuple(media))

    def window(start: int, stop: int) -> list[Brought | Failure]:
        cells = {label: column.iloc[start:stop].tolist() for label, column in columns}
        rows = [{label: found[place] for label, found in cells.items()} for place in range(stop - start)]
        if not fetches:
            return [row(one) for one in rows]
        with ThreadPoolExecutor(AT_ONCE, "dfllm-fetch") as pool:
            return list(pool.map(row, rows))

    return window


def _several(cell: Any) -> list[Any]:
    several = listed(cell)
    return [cell] if several is None else several


def _is_blank(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (pd.api.types.is_scalar(cell) and bool(cast("Any", pd.isna(cell))))
