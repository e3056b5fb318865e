"""What is logged, at which level, and the filter that keeps secrets out of it.

The logger is `dfllm`. INFO has a line at a run's end, and one every half minute where no progress bar is drawn. DEBUG
has a line for each request. Prompts and answers are in neither: they go to `dfllm.content`, and only where somebody has
set that logger's own level to DEBUG. A level that it inherits does not count, so whoever looks for trouble with
``logging.basicConfig(level="DEBUG")`` does not find customers' data in the log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from dfllm._core.types import Failure, Outcome
from dfllm._run.secret import HIDDEN, Secret, scrub, without

logger: Final = logging.getLogger("dfllm")
content: Final = logging.getLogger("dfllm.content")

#: Loggers of what carries our requests. What they say is their user's, but for our keys.
_CARRIERS: Final = (
    *("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "asyncio"),
    *("aiohttp.access", "aiohttp.client", "aiohttp.internal", "aiohttp.server", "aiohttp.web", "aiohttp.websocket"),
)

#: Keys that are remembered to be taken out of records: the latest, since a service may get a new one each hour.
_MOST_SECRETS: Final = 16
_secrets: tuple[Secret, ...] = ()
#: Providers' texts that were looked at and hold no key: the same complaint comes again and again.
_MOST_CLEAN: Final = 1_000
_clean: Final[set[str]] = set()
#: What a provider calls a request: hexadecimal digits, of which no key is made that has a prefix.
_PLAIN_ID: Final = re.compile(r"(?:req_|chatcmpl-)?[0-9A-Fa-f-]{8,64}")
_formatter: Final = logging.Formatter()
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class OwnWords(str):
    """The format of a message which has, with its arguments, nothing but our own words, hashes and numbers in it.

    Looking for secrets takes as long as a whole row, so such a record is not looked at.
    """

    __slots__ = ()


def hide(secret: Secret | None) -> None:
    """Take this key out of every later record, in whatever form it is written."""
    global _secrets  # as the loggers are: what one run must not show, no other may
    if secret:
        if secret not in _secrets:
            _clean.clear()
        # A new tuple, since other threads may be looking through the old one.
        _secrets = (*(one for one in _secrets if one != secret), secret)[-_MOST_SECRETS:]


def hidden(text: str) -> str:
    """Return the text without known keys, and without whatever looks like one."""
    return scrub(text, _secrets)


def without_secrets(failure: Failure) -> Failure:
    """Return the failure with no key in what it quotes of the provider: text, code, name of the request."""
    reason, code = _hidden_again(failure.reason), failure.code and _hidden_again(failure.code)
    request_id = failure.request_id and hidden_id(failure.request_id)
    if (reason, code, request_id) == (failure.reason, failure.code, failure.request_id):
        return failure
    return replace(failure, reason=reason, code=code, request_id=request_id)


def hidden_id(name: str) -> str:
    """Return a provider's name for an exchange without keys; most are looked at in no time."""
    if _PLAIN_ID.fullmatch(name):
        return HIDDEN if any(secret.reveal() in name for secret in _secrets) else name
    return hidden(name)


def _hidden_again(text: str) -> str:
    if text in _clean:
        return text
    found = hidden(text)
    if found == text and len(_clean) < _MOST_CLEAN:
        _clean.add(text)
    return found


def _known_hidden(text: str) -> str:
    return without(text, _secrets)


class Scrubbing(logging.Filter):
    """Takes secrets out of a record before any handler sees it: message, arguments, facts, traceback and stack.

    Args:
        hide: what takes them out of a text.
    """

    def __init__(self, hide: Callable[[str], str] = hidden) -> None:
        super().__init__()
        self._hide = hide

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: a record is cleaned, and never dropped."""
        if type(record.msg) is OwnWords and record.exc_info is None:
            return True
        try:
            self._clean(record)
        except Exception:  # noqa: BLE001  # such as arguments that do not fit; nothing unseen may pass
            record.msg, record.args = "a record that could not be read", ()
            record.exc_info = record.exc_text = record.stack_info = None
        return True

    def _clean(self, record: logging.LogRecord) -> None:
        hide = self._hide
        said = record.getMessage()
        if (clean := hide(said)) != said:
            # The arguments are in the message now. Handlers that send them apart would send the secret.
            record.msg, record.args = clean, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = _formatter.formatException(record.exc_info)
        if record.exc_text and (clean := hide(record.exc_text)) != record.exc_text:
            record.exc_text, record.exc_info = clean, None
        if record.stack_info:
            record.stack_info = hide(record.stack_info)
        for name, fact in list(vars(record).items()):
            if name in _STANDARD or isinstance(fact, (int, float, type(None))):
                continue
            if (clean := hide(written := str(fact))) != written:
                setattr(record, name, clean)


def _install() -> None:
    # A logger's filter is not asked about the records of its children.
    for one in (logger, content):
        if not any(isinstance(filter_, Scrubbing) for filter_ in one.filters):
            one.addFilter(Scrubbing())
    for name in _CARRIERS:
        carrier = logging.getLogger(name)
        if not any(isinstance(filter_, Scrubbing) for filter_ in carrier.filters):
            carrier.addFilter(Scrubbing(_known_hidden))


_install()


def shows_requests() -> bool:
    """Whether a line for each request is wanted."""
    return logger.isEnabledFor(logging.DEBUG)


def shows_content() -> bool:
    """Whether prompts and answers are wanted: by a level that was set for them, not by one they inherit."""
    return 0 < content.level <= logging.DEBUG and content.isEnabledFor(logging.DEBUG)


_BEGAN: Final = OwnWords("run.began %s, rows %d")
_REQUEST: Final = OwnWords("request.ended %s, try %d, %s, %s, billing %s, %.3f s, tokens %s + %s, request id %s")
_CONTENT: Final = "request.content %s, try %d, asked %s, answered %s"


def run_began(run: str, rows: int) -> None:
    """Say that a run begins."""
    logger.debug(_BEGAN, run, rows, extra={"run": run, "rows": rows})


def run_ended(facts: Mapping[str, Any]) -> None:
    """Say what a run came to, in one line.

    Args:
        facts: counts and words by name; mappings, as of retries by cause, are written out.
    """
    logger.info("run.ended %s", ", ".join(f"{name} {_written(fact)}" for name, fact in facts.items()), extra=facts)


def _written(fact: object) -> str:
    if isinstance(fact, Mapping):
        return " ".join(f"{name} {count}" for name, count in fact.items()) or "none"
    return "unknown" if fact is None else str(fact)


def request_ended(
    run: str, key: str, tries: int, outcome: Outcome, status: int | None, seconds: float, request_id: str | None
) -> None:
    """Say what came of one attempt: nothing of the prompt, the answer, or the provider's own words."""
    response = outcome.response if isinstance(outcome, Failure) else outcome
    kind = outcome.type if isinstance(outcome, Failure) else "ok"
    billing = outcome.billing if isinstance(outcome, Failure) else "paid"
    tokens_in = response.tokens_in if response is not None else None
    tokens_out = response.tokens_out if response is not None else None
    facts = {
        "run": run,
        "key": key,
        "tries": tries,
        "status": status,
        "outcome": kind,
        "billing": billing,
        "seconds": seconds,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "request_id": request_id,
    }
    logger.debug(_REQUEST, key, tries, status, kind, billing, seconds, tokens_in, tokens_out, request_id, extra=facts)


def content_of(key: str, tries: int, asked: bytes, answered: bytes | None) -> None:
    """Say what was asked and answered, word by word."""
    question = asked.decode("utf-8", "replace")
    answer = None if answered is None else answered.decode("utf-8", "replace")
    content.debug(_CONTENT, key, tries, question, answer, extra={"key": key, "asked": question, "answered": answer})
