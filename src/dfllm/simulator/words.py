"""A shallow reading of a prompt: what it is about, in what mood, and which label that suggests.

There is no model behind this. Word lists and punctuation are enough to make a made-up answer look at the text it is
given, which is all that a rehearsal needs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from . import lexicon, luck

_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_TASK = re.compile(r"[^:?]*\w\s*[:?]\s+(\S.*)", re.DOTALL)
_ORDER = re.compile(
    r"(?:please |now )?(?:answer|choose|classify|describe|does|do|extract|give|how|in one|is|label|list|name|pick|rate"
    r"|reply|return|score|shorten|summari[sz]e|tell|translate|what|which|who|why|write|you are|use)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w-])")


@dataclass(frozen=True, slots=True)
class Mood:
    """How often a text speaks well, and how often badly."""

    good: int
    bad: int

    @property
    def name(self) -> str:
        """One of good, bad, flat and mixed."""
        if self.good and self.bad:
            return "mixed"
        return "good" if self.good else "bad" if self.bad else "flat"

    @property
    def leaning(self) -> str:
        """The same without mixed: whichever is more."""
        return "good" if self.good > self.bad else "bad" if self.bad > self.good else "flat"

    @property
    def warmth(self) -> float:
        """From -1 to 1, and never quite either."""
        return (self.good - self.bad) / (self.good + self.bad + 1)


def subject_of(text: str) -> str:
    """Return what a prompt is about: its longest line that is no instruction, without a title or question before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts = [found[1] if (found := _TASK.match(line)) else line for line in lines]
    told = [part for part in parts if not _ORDER.match(part) and not part.endswith("?")]
    return max(told or lines, key=len, default="")


def mood_of(text: str) -> Mood:
    """Count good and bad words; a negation one or two words before turns a word round."""
    words = [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]
    good = bad = 0
    for place, word in enumerate(words):
        if word in lexicon.GOOD or word in lexicon.BAD:
            turned = not lexicon.NOT.isdisjoint(words[max(0, place - 2) : place])
            well = (word in lexicon.GOOD) is not turned
            good, bad = good + well, bad + (not well)
    return Mood(good, bad)


def topics_of(text: str, most: int = 3) -> list[str]:
    """Return a few words that carry the text, names first, then the longest, in the order they come."""
    found: dict[str, str] = {}
    for word in _WORD.findall(text):
        if len(word) > 2 and word.lower() not in lexicon.SMALL:
            found.setdefault(word.lower(), word)
    words = list(found.values())
    best = sorted(words, key=lambda word: (not word[0].isupper(), -len(word)))[:most]
    return [word for word in words if word in best]


def sentence_of(text: str, most_words: int = 20) -> str:
    """Return the first sentence, shortened where it is long."""
    first = next((part.strip() for part in _SENTENCE.findall(text) if part.strip()), "")
    words = first.split()
    return first if len(words) <= most_words else " ".join(words[:most_words]) + "."


def numbers_in(text: str) -> list[float]:
    """Return the numbers written in the text, in order."""
    return [float(found) for found in _NUMBER.findall(text) if len(found) < 16]


def mentioned(labels: Sequence[str], text: str) -> list[str]:
    """Return the labels that occur in the text as whole words, the first mentioned first."""
    found = {label: re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE) for label in labels if label}
    places = {label: place.start() for label, place in found.items() if place}
    return sorted(places, key=places.__getitem__)


def label_for(labels: Sequence[str], text: str, *key: object) -> str:
    """Choose the label that looks right: by mood if the labels are moods, else one that is mentioned, else by luck."""
    by_mood = {mood: label for mood, names in lexicon.MOODS.items() for label in labels if label.lower() in names}
    if {"good", "bad"} <= by_mood.keys():
        mood = mood_of(subject_of(text))
        if mood.name == "flat":
            mood = mood_of(text)
        for name in (mood.name, mood.leaning):
            if name in by_mood:
                return by_mood[name]
    return next(iter(mentioned(labels, subject_of(text))), None) or luck.pick(labels, *key)
