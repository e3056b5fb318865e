"""Rescue: what was paid for and cannot be written into the store goes into a spill file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfllm._run.store_spill import spill
from dfllm._run.store_work import Journal, Save, Work


def rescue(path: Path, works: Sequence[Work]) -> str:
    """Keep what works hold that was paid for; return a sentence that says where, or nothing."""
    rows = [row for work in works if isinstance(work, Save) for row in work.rows]
    notes = [note for work in works if isinstance(work, Journal) for note in work.notes]
    spends = [spend for work in works if isinstance(work, (Save, Journal)) for spend in work.spends]
    if not rows and not notes and not spends:
        return ""
    what = f"{len(rows)} answers" if rows else f"{len(notes)} attempts"
    try:
        file = spill(path, rows, notes, spends)
    except (OSError, TypeError, ValueError) as error:
        return f"{what} could be kept nowhere else ({error}); they are in the frame only."
    return f"{what} are kept in {file}; the store takes them in when it is next opened."
