"""Answers out of thin air: the same question, the same answer, and it looks at the text it was asked about.

`small` and `large` make something up: plain text in a sentence or two, or JSON where a schema is asked for; `large`
says more. `moody` is `small` with another answer each time it is asked. `echo` gives the last user message back, and a
line on each image and file. Where tools are on offer and one is named or must be called, it is called; `large` says
something first. Nothing here knows anything, and nothing here is random.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Literal

from . import luck, schemas, words
from .asks import Ask, first_tokens, tokens_of
from .tools import Call, calls_of

MODELS = ("small", "large", "moody", "echo")

_READ_CHARS = 20_000  # of a longer prompt only the beginning is looked at: one loop serves everybody

_TRANSLATE = re.compile(r"\btranslat", re.IGNORECASE)
_SHORTEN = re.compile(r"\bsummar|\btl;?dr\b|\bshorten\b|\bheadline\b|\btitle\b", re.IGNORECASE)
_YES_OR_NO = re.compile(r"\byes\W+(?:or\W+)?no\b|\btrue or false\b", re.IGNORECASE)
_SCALE = re.compile(r"\b(\d+)\s*(?:-|\u2013|to)\s*(\d+)\b")
_RATE = re.compile(r"\brate\b|\brating\b|\bscore\b|\bscale\b|\bstars\b", re.IGNORECASE)
_ONE_WORD = re.compile(r"\b(?:one|single) word\b|\bone-word\b|\bkeyword\b", re.IGNORECASE)
_MOODS = ("positive", "negative", "neutral", "mixed")

_OF_NOTHING = ("There is not much to go on here.", "That is hard to say without more to read.")
_OF_ONE = ("In short: {0}.", "Mostly a matter of {0}.", "It all depends on {0}.")
_OF_MORE = (
    "In short: {0} and {1}.",
    "Mostly a matter of {0} and {1}.",
    "It depends on {0}, and a little on {1}.",
    "First of all {0}, then {1}.",
)
_FURTHER = (
    "There is little detail about {0}, so take this with care.",
    "Much turns on {0}, which can be read in more than one way.",
    "Nothing here speaks against it, though {0} is mentioned only in passing.",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says and what it calls, and why it stops there."""

    text: str
    finish: Literal["stop", "length", "tool_calls"]
    tokens: int
    calls: tuple[Call, ...] = ()


def answers_to(ask: Ask, seed: int = 0, attempt: int = 0) -> tuple[Answer, ...]:
    """Return as many answers as were asked for; another seed, other answers, and of `moody` also at another attempt."""
    key = f"{seed}:{ask.hash}" if ask.model != "moody" else f"{seed}:{ask.hash}:{attempt}"
    return tuple(_answered(ask, f"{key}:{index}") for index in range(ask.choices))


def _answered(ask: Ask, key: str) -> Answer:
    calls = calls_of(ask.offer, ask.text[:_READ_CHARS], key) if ask.offer is not None else ()
    if not calls:
        return _within(ask, _answer(ask, key))
    said = _within(ask, _answer(ask, key) if ask.model == "large" else "")
    return said if said.finish == "length" else _calling(ask, said, calls)


def _calling(ask: Ask, said: Answer, calls: tuple[Call, ...]) -> Answer:
    """Put calls behind what was said, as far as the allowance goes; it may end in the middle of one."""
    made: list[Call] = []
    tokens = said.tokens
    for call in calls:
        name_tokens, whole = tokens_of(call.name), tokens_of(call.name) + tokens_of(call.arguments)
        if ask.allowance is not None and tokens + whole > ask.allowance:
            half = replace(call, arguments=first_tokens(call.arguments, max(0, ask.allowance - tokens - name_tokens)))
            return Answer(said.text, "length", ask.allowance, (*made, half))
        made.append(call)
        tokens += whole
    return Answer(said.text, "tool_calls", tokens, tuple(made))


def _answer(ask: Ask, key: str) -> str:
    if ask.model == "echo":
        return "\n".join([ask.text, *ask.seen] if ask.text else ask.seen)
    text = ask.text[:_READ_CHARS]
    if ask.schema is not None:
        return json.dumps(schemas.fit(ask.schema, text, key), ensure_ascii=False, separators=(",", ":"))
    return _in_form(text, key) or _sentences(text, key, more=2 if ask.model == "large" else 0)


def _within(ask: Ask, text: str) -> Answer:
    """End the text at a stop sequence, then where the allowance ends."""
    cuts = [text.index(stop) for stop in ask.stops if stop in text]
    text = text[: min(cuts)] if cuts else text
    if ask.allowance is not None and tokens_of(text) > ask.allowance:
        text = first_tokens(text, ask.allowance)
        return Answer(text, "length", tokens_of(text))
    return Answer(text, "stop", tokens_of(text))


def _in_form(text: str, key: str) -> str | None:
    """Answer in the form the prompt asks for, if it is one of the few forms known here."""
    subject = words.subject_of(text)
    task = text.replace(subject, " ") if subject != text.strip() else text
    if _TRANSLATE.search(task):
        return subject
    if _SHORTEN.search(task):
        return words.sentence_of(subject)
    scale = _SCALE.search(task)
    if scale and _RATE.search(task):
        low, high = sorted((int(scale[1]), int(scale[2])))
        return str(low + round((high - low) * (words.mood_of(subject).warmth + 1) / 2))
    labels = words.mentioned(_MOODS, task)
    if len(labels) > 1:
        return words.label_for(labels, text, key)
    if _YES_OR_NO.search(task):
        return words.label_for(("Yes", "No"), "", key)
    if _ONE_WORD.search(task):
        return next(iter(words.topics_of(subject, 1)), "Unclear")
    return None


def _sentences(text: str, key: str, *, more: int) -> str:
    topics = words.topics_of(words.subject_of(text)) or words.topics_of(text)
    lines = _OF_MORE if len(topics) > 1 else _OF_ONE if topics else _OF_NOTHING
    said = [luck.pick(lines, key, "sentence").format(*topics)]
    start = luck.below(len(_FURTHER), key, "further")
    for turn in range(more):
        topic = topics[-1 - turn % len(topics)] if topics else "the rest"
        said.append(_FURTHER[(start + turn) % len(_FURTHER)].format(topic))
    return " ".join(said)
