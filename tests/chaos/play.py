"""Plays schedules, one after the other, and judges them: ``python -m tests.chaos.play SEED FIRST STOP STEP``.

Prints a line of JSON for each that breaks a promise, and one at the end. With one number only it prints the schedule,
its whole trace and what there is to complain of.
"""

import hashlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.chaos.judge import Judge
from tests.chaos.schedules import Schedule, draw
from tests.chaos.stage import Stage
from tests.chaos.story import Run, Story
from tests.chaos.world import Wild

import dfllm

#: Planted, to be found nowhere. A masked key shows its last letters, so these are looked for as well.
KEY = "sk-chaos-Zq9x7Kd2Wm4Tv8Lb3Nc6"
_ENVIRONMENT = {
    "DFLLM_SIMULATOR_URL": "http://127.0.0.1:9/v1",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_API_KEY": KEY,
    "LAB_KEY": KEY,
}
_MEMORY = Path("/dev/shm")
#: A schedule takes milliseconds, or seconds on a bad day; one that takes longer goes round in circles.
_LONGEST_SECONDS = 60
#: After so many that break a promise the rest is not played.
_ENOUGH = 10
#: Of so many schedules one is listened to at the level of DEBUG, which takes time.
_LISTENED = 10


class Played(NamedTuple):
    """A schedule after it was played.

    Attributes:
        schedule: what was drawn.
        trace: every event, one a line.
        complaints: what should not have been.
        story: how it went.
    """

    schedule: Schedule
    trace: str
    complaints: list[str]
    story: Story

    @property
    def digest(self) -> str:
        """The trace in short."""
        return hashlib.sha256(self.trace.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Listener(logging.Handler):
    """Keeps every log record as text, with everything it carries."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.text += f"{record.getMessage()} {vars(record)}\n"


def stage(patch: pytest.MonkeyPatch) -> Stage:
    """Return a stage in an environment of its own."""
    for name, value in _ENVIRONMENT.items():
        patch.setenv(name, value)
    dfllm.register_provider("lab", base_url="http://127.0.0.1:9/v1", api_key_env="LAB_KEY")
    return Stage(patch)


def play(on: Stage, schedule: Schedule, *, listens: bool = False) -> Played:
    """Play a schedule and judge it."""
    story = Story(schedule, KEY)
    folder = Path(tempfile.mkdtemp(prefix="dfllm-chaos-", dir=_MEMORY if _MEMORY.is_dir() else None))
    listener, logger = Listener(), logging.getLogger("dfllm")
    with ExitStack() as after:
        after.callback(shutil.rmtree, folder)
        # What processes share of limits is this schedule's alone: the next one begins at the same virtual time.
        cache = tempfile.mkdtemp(prefix="dfllm-chaos-cache-")
        after.callback(shutil.rmtree, cache)
        os.environ["XDG_CACHE_HOME"] = cache
        if listens:
            after.callback(logger.setLevel, logger.level)
            after.callback(logger.removeHandler, listener)
            logger.setLevel(logging.DEBUG)
            logger.addHandler(listener)
        try:
            on.play(
                folder / "s.db",
                random.Random(f"{schedule.seed} dice").random,
                story.play,
                window=schedule.window,
                singly=any(act.ending == "commit" for act in schedule.acts),
            )
            complaints = Judge(story).judge()
        except (Exception, Wild, SystemExit):  # noqa: BLE001  # whatever it is, it belongs to the schedule
            complaints = [traceback.format_exc()]
        complaints += [f"the key is in {file.name}" for file in folder.rglob("*") if _holds(file, KEY)]
    trace = "".join(f"{event}\n" for event in story.world.events)
    said = {"trace": trace, "log": listener.text, "tracebacks": "".join(map(_traced, story.runs))}
    complaints += [f"the key is in the {where}" for where, text in said.items() if KEY[-5:] in text]
    return Played(schedule, trace, complaints, story)


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and text.encode() in file.read_bytes()


def _traced(run: Run) -> str:
    """Return what a run raised, with every local variable on the way."""
    if run.raised is None:
        return ""
    return "".join(traceback.TracebackException.from_exception(run.raised, capture_locals=True).format())


def _complain(number: int, frame: object) -> None:
    raise Wild(f"more than {_LONGEST_SECONDS} s")


def main(seed: str, *numbers: str) -> None:
    """Play the numbers asked for."""
    warnings.simplefilter("ignore", dfllm.RowsFailedWarning)
    warnings.simplefilter("ignore", dfllm.ModelWarning)
    os.environ.pop("DFLLM_STORE", None)
    signal.signal(signal.SIGALRM, _complain)
    tell = sys.stdout.write
    with pytest.MonkeyPatch.context() as patch:
        on = stage(patch)
        if len(numbers) == 1:
            signal.alarm(_LONGEST_SECONDS)
            played = play(on, draw(f"{seed}:{numbers[0]}"), listens=True)
            tell(
                f"{played.schedule}\n\n{played.trace}\n"
                + "".join(f"{each}\n" for each in played.complaints or ["well"])
            )
            return
        digest, wrongs, count = hashlib.sha256(), 0, 0
        for number in range(*map(int, numbers)):
            signal.alarm(_LONGEST_SECONDS)
            played = play(on, draw(f"{seed}:{number}"), listens=number % _LISTENED == 0)
            digest.update(played.digest.encode())
            count += 1
            if played.complaints:
                wrongs += 1
                wrong = {"number": number, "schedule": str(played.schedule), "complaints": played.complaints[:10]}
                tell(json.dumps(wrong) + "\n")
                sys.stdout.flush()
            if wrongs == _ENOUGH:
                break
        tell(json.dumps({"digest": digest.hexdigest(), "played": count}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
