"""Single values for a schema: a text of the right form and length, a number within its bounds."""

import math
import re
import uuid
from collections.abc import Callable
from fractions import Fraction

from . import luck, patterns, words
from .merging import Schema

_LONG = re.compile(r"answer|comment|description|explanation|justification|reason|response|summary|text", re.IGNORECASE)
_FOUND = {
    "date": re.compile(r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b"),
    "email": re.compile(r"\b[\w.+-]+@[a-z\d-]+\.[a-z]{2,}\b"),
}
_FORMATS: dict[str, Callable[[str], str]] = {
    "date": lambda key: _date(key),
    "date-time": lambda key: f"{_date(key)}T{_time(key)}Z",
    "duration": lambda key: f"P{1 + luck.below(28, key)}D",
    "email": lambda key: f"{luck.pick(('anna', 'ben', 'carla'), key)}@example.com",
    "hostname": lambda key: f"{luck.pick(('www', 'mail', 'api'), key)}.example.com",
    "ipv4": lambda key: f"192.0.2.{1 + luck.below(254, key)}",
    "ipv6": lambda key: f"2001:db8::{1 + luck.below(65_535, key):x}",
    "time": lambda key: f"{_time(key)}Z",
    "uri": lambda key: f"https://example.com/{luck.below(1_000, key)}",
    "uuid": lambda key: str(uuid.UUID(int=luck.number(key) << 64 | luck.number(key, "low"), version=4)),
}


def text_for(schema: Schema, name: str, text: str, key: str) -> str:
    """Return a text for a field: found in the prompt, in the form asked for, or a few of the prompt's words."""
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if schema.get("format") in _FORMATS:
        form = schema["format"]
        found = _FOUND[form].findall(text) if form in _FOUND else []
        return luck.pick(found, key) if found else _FORMATS[form](key)
    if "pattern" in schema:
        matching = patterns.match(schema["pattern"], key, least, most)
        if matching is not None:
            return matching
    return _sized(_words_for(name, text, key), least, most)


def number_for(schema: Schema, text: str, key: str, *, whole: bool, felt: bool) -> float:
    """Return a number within the bounds.

    Args:
        schema: its ``minimum``, ``maximum``, their exclusive forms and ``multipleOf`` are read.
        text: a number in it that fits is taken first.
        key: what the luck depends on.
        whole: whether only integers will do.
        felt: whether the number says how well the text speaks, as a rating does.
    """
    step = Fraction(str(schema["multipleOf"])) if "multipleOf" in schema else None
    if whole:
        step = Fraction(step.numerator) if step else Fraction(1)
    low, high = _bounds(schema, step)
    subject = words.subject_of(text)
    if felt and "minimum" in schema and "maximum" in schema:
        wish = low + (high - low) * Fraction(words.mood_of(subject).warmth + 1) / 2
    else:
        fitting = [number for number in map(Fraction, words.numbers_in(subject)) if low <= number <= high]
        fitting = [number for number in fitting if not step or number % step == 0]
        wish = luck.pick(fitting, key) if fitting else low + (high - low) * Fraction(luck.share(key))
    if step:
        return _on_step(wish, step, low, high, whole=whole)
    rounded = Fraction(str(round(float(wish), 2)))
    return float(rounded if low < rounded < high else wish)


def _bounds(schema: Schema, step: Fraction | None) -> tuple[Fraction, Fraction]:
    """Return the least and the greatest number, both allowed; where the schema leaves it open, a hundred apart."""
    low, above = _stricter(schema, "minimum", "exclusiveMinimum", max)
    high, beneath = _stricter(schema, "maximum", "exclusiveMaximum", min)
    room = max(Fraction(100), 2 * (step or 0))
    if low is None:
        low = Fraction(0) if high is None or high > 0 else high - room
    if high is None:
        high = low + room
    if step:
        low = (math.floor(low / step) + 1) * step if above else low
        high = (math.ceil(high / step) - 1) * step if beneath else high
        return low, high
    edge = (high - low) / 1_000
    return low + edge * above, high - edge * beneath


def _stricter(
    schema: Schema, closed: str, exclusive: str, stricter: Callable[..., tuple[Fraction, bool]]
) -> tuple[Fraction | None, bool]:
    """Return the limit that binds, and whether it is itself outside; of equals the exclusive one binds."""
    limits = [
        (Fraction(str(schema[name])), name == exclusive)
        for name in (closed, exclusive)
        if not isinstance(schema.get(name, True), bool)
    ]
    if not limits:
        return None, False
    tightest = stricter(limits)[0]
    return tightest, (tightest, True) in limits


def _on_step(wish: Fraction, step: Fraction, low: Fraction, high: Fraction, *, whole: bool) -> float:
    """Return the multiple nearest to the wish; of fractions one that still divides evenly as a float."""
    first, last = math.ceil(low / step), math.floor(high / step)
    place = min(max(round(wish / step), first), last)
    if whole:
        return int(place * step)
    size = float(step)
    near = sorted(range(max(first, place - 50), min(last, place + 50) + 1), key=lambda turn: abs(turn - place))
    even = (turn * size for turn in near if (turn * size / size).is_integer())
    return next(even, float(place * step))


def _words_for(name: str, text: str, key: str) -> str:
    subject = words.subject_of(text)
    if _LONG.search(name):
        return words.sentence_of(subject) or "Nothing to add."
    topics = words.topics_of(subject) or words.topics_of(text) or ["something"]
    return luck.pick(topics, key)


def _sized(text: str, least: int, most: int | None) -> str:
    while len(text) < least:
        text = f"{text} {text}" if text else "and so on"
        text = text[:most] if most is not None and len(text) > least else text
    return text if most is None else text[:most]


def _date(key: str) -> str:
    return f"2025-{1 + luck.below(12, key, 'month'):02}-{1 + luck.below(28, key, 'day'):02}"


def _time(key: str) -> str:
    return f"{luck.below(24, key, 'hour'):02}:{15 * luck.below(4, key, 'minute'):02}:00"
