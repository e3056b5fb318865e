"""What must be true after every schedule, whatever happened in it: the invariants of docs/failures.md."""

import json
import re
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field

from tests.chaos.stage import LONGEST_POLL_SECONDS

from dfllm._core.types import Failure, Response
from dfllm._wire.dialects import DIALECTS
from dfllm.simulator.openai_read import read as read_request

GRACE_SECONDS = 10.0
#: A row that was never sent, and why that may be.
_UNSENT = ("NotSent", "Cancelled", "StoreError")
#: Shared by the rows that waited while the first one met it.
_FATAL = (
    "AuthFailed",
    "PermissionDenied",
    "ModelNotFound",
    "QuotaExhausted",
    "TlsError",
    "RateLimited",
    "ProviderError",
)
_ANSWER = r'\{"answer":\s*"(?:positive|negative|neutral)"\}'
_LABEL = re.compile(rf"\s*{_ANSWER}\s*|.*```json\s*{_ANSWER}\s*```.*", re.DOTALL)
_read = DIALECTS["openai"].read


def kind_of(heard):
    """Return what an exchange means for money, told from the wire alone.

    Returns:
        "kept", an answer or what stands for one; "free", surely not billed; "limited", told to wait; "maybe", nobody
        can tell; "either", a gateway's word for an error of its own.
    """
    if heard.trouble:
        return "free" if heard.trouble in ("dns", "refuse") else "maybe"
    if heard.status == 429:
        return "limited"
    if heard.status != 200:
        return "maybe" if heard.status in (408, 504) else "free"
    try:
        body = json.loads(heard.body)
    except ValueError:
        return "maybe"
    if not isinstance(body, dict):
        return "maybe"
    if not body.get("choices"):
        return "either" if "error" in body or "status" in body else "maybe"
    return "kept"


@dataclass
class Question:
    """One question's story, as the judge follows it.

    Attributes:
        open: the runs that have sent it and heard nothing.
        saved: the outcome on disk, None while there is none.
        last: the last outcome that is kept.
        outcomes: all there were.
        by_run: for each run, what its attempts came to, in order.
        asked: what was sent: the question itself, and the one that asks for a better answer.
    """

    open: Counter = field(default_factory=Counter)
    saved: Response | Failure | None = None
    last: Response | Failure | None = None
    outcomes: list = field(default_factory=list)
    by_run: dict = field(default_factory=lambda: defaultdict(list))
    asked: dict = field(default_factory=dict)


class Judge:
    """Goes through a story once.

    Args:
        story: as it was played.

    Attributes:
        complaints: what should not have been.
    """

    def __init__(self, story):
        self.story = story
        self.schedule = story.schedule
        self.world = story.world
        self.runs = {run.name: run for run in story.runs}
        self.complaints = []
        self.questions = defaultdict(Question)
        self.sent = Counter()
        self.in_flight = Counter()
        self.misses = Counter()
        self.misses_at_most = Counter()

    def judge(self):
        """Return every complaint."""
        for event in self.world.events:
            if (heard := getattr(self, f"_{event.what}", None)) is not None:
                heard(event)
        for run in self.story.runs:
            self._run(run)
        self._better_times()
        self._bill()
        self._disk()
        for context in self.world.broken:
            self._complain(f"the loop complained: {context}")
        return self.complaints

    def _complain(self, what):
        self.complaints.append(what)

    # What happened, in order.

    def _sent(self, event):
        run, question = self.runs[event.run], self.questions[event.text]
        before = question.by_run[event.run]
        for other in question.open:
            if not self.runs[other].process.dead or self.runs[other] is run:
                self._complain(f"{event}: in flight already, in {other}")
        if run.act.cache == "only":
            self._complain(f"{event}: cache='only'")
        for name in ("interrupted", "abandoned", "ended"):
            if (moment := getattr(run, name)) is not None and event.at > moment:
                self._complain(f"{event}: the run had {name} at {moment}")
        if event.more != question.asked.setdefault(False, event.more):
            self._mended(event, before)
        else:
            if question.saved is not None and not (run.act.cache == "retry" and self._is_unfit(question.saved)):
                self._complain(f"{event}: it was answered")
            self._again(event, before)
        question.open[event.run] += 1
        self.sent[event.run] += 1
        self.in_flight[event.run] += 1
        if self.in_flight[event.run] > self.schedule.concurrency:
            self._complain(f"{event}: {self.in_flight[event.run]} in flight")

    def _is_unfit(self, outcome):
        """Return whether what was paid for is no answer to who asks again."""
        if isinstance(outcome, Failure) or outcome.calls is not None:  # nobody here offers tools
            return True
        return self.schedule.labels and not _LABEL.fullmatch(outcome.text)

    def _mended(self, event, before):
        """See that a better answer is asked for once, and only where the first one was none."""
        if event.more != self.questions[event.text].asked.setdefault(True, event.more) and before[-1:] != ["kept"]:
            return
        if not self.schedule.labels or not before:
            self._complain(f"{event}: it is another question")
        elif "mended" in before and before[-1] == "kept":
            self._complain(f"{event}: mended twice")
        elif before[-1] == "kept":
            self.misses[event.text] += not self.runs[event.run].process.dead  # and it is on disk as well
            before[-1] = "mended"

    def _again(self, event, before):
        """See that an attempt is allowed after the run's earlier ones. A free one costs nothing, however often."""
        if "kept" in before or "mended" in before:
            self._complain(f"{event}: the run had its answer")
        if before.count("maybe") > self.schedule.resend_ambiguous:
            self._complain(f"{event}: resent after {before.count('maybe')} that may have been billed")

    def _heard(self, event):
        question, heard = self.questions[event.text], event.more
        self.in_flight[event.run] -= 1
        question.open[event.run] -= 1
        question.open += Counter()
        kind = kind_of(heard)
        outcome = self._outcome(heard)
        question.outcomes.append(outcome)
        question.by_run[event.run].append(kind)
        if kind == "kept":
            question.last = outcome
            self.misses_at_most[event.text] += self.schedule.labels and self._is_unfit(outcome)
        if kind in ("maybe", "either"):
            self.misses_at_most[event.text] += 1
            if kind == "maybe" and not self.runs[event.run].process.dead:
                self.misses[event.text] += 1

    def _outcome(self, heard):
        if heard.trouble:
            return None
        return _read(heard.status, heard.headers, heard.body)

    def _dropped(self, event):
        question = self.questions[event.text]
        self.in_flight[event.run] -= 1
        question.open[event.run] -= 1
        question.open += Counter()
        question.by_run[event.run].append("maybe")
        self.misses_at_most[event.text] += 1
        if not self.runs[event.run].process.dead:
            self.misses[event.text] += 1
        if self.runs[event.run].abandoned is None and self.runs[event.run].interrupted is None:
            self._complain(f"{event}: nobody asked for that")

    def _saved(self, event):
        self.questions[event.text].saved = self.questions[event.text].last

    def _told(self, event):
        told, run = event.more, self.runs[event.run]
        if told.source == "live" and self.questions[event.text].saved is None and run.stopped is None:
            self._complain(f"{event}: it is not on disk")

    # What came of each run.

    def _run(self, run):
        if run.killed:
            return
        if run.told_twice:
            self._complain(f"{run.name}: rows told twice: {run.told_twice}")
        if run.act.door == "engine":
            if run.raised is not None:
                self._complain(f"{run.name} raised {run.raised!r}")
            self._facts(run)
        # Who waits for what another run asks looks up now and then.
        slack = 0.1 if run.act.company == "nobody" else LONGEST_POLL_SECONDS
        if run.interrupted is not None and run.ended > run.interrupted + GRACE_SECONDS + slack:
            self._complain(f"{run.name}: interrupted at {run.interrupted}, ended at {run.ended}")
        if run.abandoned is not None and run.ended > run.abandoned + slack:
            self._complain(f"{run.name}: abandoned at {run.abandoned}, ended at {run.ended}")
        if run in self.story.runs[: self.story.healed] and self._is_dead_key() and self.sent[run.name] > 1:
            self._complain(f"{run.name}: a dead key cost {self.sent[run.name]} requests")
        if run.raised is not None:
            return
        for position, value in enumerate(run.act.values):
            told = run.told.get(position)
            if told is None:
                self._complain(f"{run.name}: row {position} was told nothing")
            else:
                self._row(run, run.text(position), value, told)

    def _is_dead_key(self):
        """Return whether all that the provider ever said is that it does not know the key."""
        manners = self.schedule.manners
        in_time = manners.latency_seconds * (1 + manners.latency_spread) < self.schedule.timeout
        return not self.schedule.has_key and not manners.outages and in_time

    def _row(self, run, text, value, told):
        where = f"{run.name}, {text}: {told}"
        if (told.answer is None) == (told.error is None) and told.kind != "Truncated":
            self._complain(f"{where}: neither answer nor error, or both")
        if told.error is not None and (len(told.error) > 300 or "\n" in told.error):
            self._complain(f"{where}: not one line of 300")
        if value is None or told.kind == "Skipped":
            if not (value is None and told.kind == "Skipped") and told.kind not in _UNSENT:
                self._complain(f"{where}: skipped, or should be")
            return
        question = self.questions[text]
        if told.kind is None:
            texts = {one.text for one in question.outcomes if isinstance(one, Response)}
            # A frame's text is UTF-8, which has no lone surrogates.
            if told.answer not in texts | {_utf8(text) for text in texts}:
                self._complain(f"{where}: never heard")
        elif told.kind in _UNSENT:
            excused = run.stopped is not None or run.interrupted is not None or run.act.cache == "only"
            if not excused and run.act.door == "engine":
                self._complain(f"{where}: nobody stopped the run")
        else:
            kinds = {one.type for one in question.outcomes if isinstance(one, Failure)}
            unheard = ("Timeout", "ConnectionLost", "ConnectFailed", "BadResponse", "InvalidOutput", "EmptyResponse")
            if told.kind not in kinds and told.kind not in unheard and told.kind not in _FATAL:
                self._complain(f"{where}: never heard")

    def _facts(self, run):
        facts = run.facts
        if facts["ok"] + facts["failed"] + facts["skipped"] != facts["rows"] != len(run.act.values):
            self._complain(f"{run.name}: {facts}")
        if facts["requests"] != self.sent[run.name]:
            self._complain(f"{run.name}: {self.sent[run.name]} requests, {facts['requests']} counted")

    # What came of it all.

    def _better_times(self):
        """Once all is well the first run asks what is missing, and the second one nothing."""
        first, second = self.story.runs[self.story.healed :]
        for position in range(len(first.act.values)):
            told = second.told.get(position)
            if told is not None and told.kind in (*_UNSENT, *_FATAL, "Timeout", "ServerError", "ConnectionLost"):
                self._complain(f"{second.name}, {second.text(position)}: {told} when all was well")
        for event in self.world.events:
            if event.what == "sent" and event.run == second.name:
                self._complain(f"{event}: all was known")

    def _bill(self):
        """Nothing is billed that is not accounted for: an answer, a doubt, or a killed process."""
        entries = self.world.bill.entries()
        killed = Counter()
        for text, question in self.questions.items():
            for run in question.open:
                killed[text] += self.runs[run].process.dead
        for text, question in self.questions.items():
            request = self.world.bodies.get(text)
            entry = entries.get(read_request(request).hash) if request else None
            if entry is None:
                continue
            doubts = sum(kinds.count("maybe") + kinds.count("either") for kinds in question.by_run.values())
            kept = sum(kinds.count("kept") + kinds.count("mended") for kinds in question.by_run.values())
            if entry.billed > kept + doubts + killed[text]:
                self._complain(f"{text}: billed {entry.billed}, kept {kept}, in doubt {doubts}, killed {killed[text]}")

    def _disk(self):
        path = self.world.path
        spilt = [file.name for file in path.parent.iterdir() if "spill" in file.name]
        if spilt:
            self._complain(f"left behind: {spilt}")
        with closing(sqlite3.connect(path)) as connection:
            found = Counter()
            for key, billing in connection.execute("SELECT key, billing FROM attempts"):
                found[self.world.keys[key]] += 1
                if billing not in ("maybe", "paid"):
                    self._complain(f"{self.world.keys[key]}: a {billing} attempt is journalled")
            claims = connection.execute("SELECT count(*) FROM claims").fetchone()[0]
            stored = {self.world.keys[key] for (key,) in connection.execute("SELECT key FROM entries")}
            integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if integrity != "ok":
            self._complain(f"the store: {integrity}")
        if claims:
            self._complain(f"{claims} claims are left")
        if lost := {text for text, question in self.questions.items() if question.saved is not None} - stored:
            self._complain(f"lost after they were saved: {lost}")
        for text in found | self.misses | self.misses_at_most:
            if not self.misses[text] <= found[text] <= self.misses_at_most[text]:
                self._complain(
                    f"{text}: {found[text]} attempts are journalled, "
                    f"not {self.misses[text]} to {self.misses_at_most[text]}"
                )


def _utf8(text):
    return "".join("\ufffd" if 0xD800 <= ord(letter) < 0xE000 else letter for letter in text)
