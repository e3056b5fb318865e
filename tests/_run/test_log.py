"""The log: facts at their levels, prompts nowhere unless they were asked for by name, secrets nowhere at all."""

import base64
import json
import logging
import subprocess
import sys
import traceback
from urllib.parse import quote

import pytest

from dfllm._core.types import Failure, Response
from dfllm._run import log
from dfllm._run.secret import Secret

KEY = "Canary/7d+1 c0ffee=="  # no provider's pattern: known by its value alone
PATTERNED = "sk-proj-AbCdEf0123456789"
LOGGERS = pytest.mark.parametrize("name", ["dfllm", "dfllm.content"])


class Heard(logging.Handler):
    """Keeps every record as a handler that writes text sees it, and as one that sends its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.texts.append(self.format(record))

    @property
    def everything(self) -> str:
        """Return all that can be read off the records."""
        parts = [record.__dict__ | {"exc_info": None} for record in self.records]
        tracebacks = [
            "".join(traceback.format_exception(*record.exc_info)) for record in self.records if record.exc_info
        ]
        return "\n".join([*self.texts, repr(parts), *tracebacks])


@pytest.fixture
def heard(monkeypatch):
    """Listen at both loggers, at DEBUG; afterwards they are as they were, and no secret is known."""
    handler = Heard()
    monkeypatch.setattr(log, "_secrets", ())
    monkeypatch.setattr(log.logger, "propagate", False)
    before = log.logger.level, log.content.level
    log.logger.addHandler(handler)
    log.logger.setLevel(logging.DEBUG)
    yield handler
    log.logger.removeHandler(handler)
    log.logger.setLevel(before[0])
    log.content.setLevel(before[1])


# Secrets.


FORMS = {
    "plain": KEY,
    "quoted": quote(KEY, safe=""),
    "base64": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "json": json.dumps({"key": KEY}),
    "repr": repr(KEY),
}


@LOGGERS
@pytest.mark.parametrize("form", FORMS)
def test_known_secret_is_taken_out_of_whatever_is_logged(heard, name, form):
    """Message, arguments, facts beside them; as it is and as URLs, JSON and headers write it."""
    log.hide(Secret(KEY))
    log.content.setLevel(logging.DEBUG)
    logger, said = logging.getLogger(name), FORMS[form]

    logger.warning("sent " + said)  # noqa: G003  # somebody will write it so
    logger.warning("sent %s to %s", said, "host")
    logger.warning("sent %(what)s", {"what": said})
    logger.warning("sent", extra={"header": said})

    core = base64.b64encode(KEY.encode()).decode()[4:-8]
    assert 4 == len(heard.records)
    assert [] == [one for one in (KEY, quote(KEY, safe=""), core) if one in heard.everything]


@LOGGERS
def test_what_looks_like_a_key_is_taken_out_too(heard, name):
    """Nobody has to tell of it first."""
    log.content.setLevel(logging.DEBUG)

    logging.getLogger(name).error("got Authorization: Bearer %s", PATTERNED)

    assert f"ERROR {name} got Authorization: Bearer ***" == heard.texts[0]
    assert PATTERNED not in heard.everything


def test_secret_in_a_traceback_is_taken_out(heard):
    """The text is kept without it, and the exception itself, which others would print anew, goes."""
    log.hide(Secret(KEY))

    try:
        try:
            raise ValueError(f"bad header {KEY}")
        except ValueError as error:
            raise RuntimeError("could not send") from error
    except RuntimeError:
        log.logger.exception("request.failed")

    assert KEY not in heard.everything
    assert "ValueError: bad header ***" in heard.texts[0]
    assert "RuntimeError: could not send" in heard.texts[0]


def test_harmless_record_is_left_as_it_was(heard):
    """Whoever groups records by their format, or sends tracebacks on, still can."""
    log.hide(Secret(KEY))

    try:
        raise ValueError("harmless")
    except ValueError:
        log.logger.exception("store.slow %s of %d", "abc", 5, extra={"rows": 5}, stack_info=True)

    record = heard.records[0]
    assert ("store.slow %s of %d", ("abc", 5), 5) == (record.msg, record.args, record.rows)
    assert ValueError is record.exc_info[0]
    assert "test_harmless_record_is_left_as_it_was" in record.stack_info


def test_secret_in_a_stack_is_taken_out(heard):
    """The lines of code that led to the record may hold one as a literal."""
    log.hide(Secret("literal-0815"))

    log.logger.warning("here", stack_info=True, extra={"why": "literal-0815"})

    assert "literal-0815" not in heard.everything
    assert "***" in heard.records[0].stack_info


def test_record_that_cannot_be_read_does_not_pass_as_it_is(heard, capsys):
    """Arguments that do not fit are a bug of the caller, and no way past the filter."""
    log.hide(Secret(KEY))

    log.logger.warning("%d rows", KEY, extra={})

    assert ["WARNING dfllm a record that could not be read"] == heard.texts
    assert KEY not in heard.everything + capsys.readouterr().err


def test_the_latest_keys_are_remembered_and_no_more(monkeypatch):
    """A service that gets a new key each hour looks for a few of them, for ever."""
    monkeypatch.setattr(log, "_secrets", ())
    for number in range(100):
        log.hide(Secret(f"key-number-{number:03}"))
    log.hide(Secret("key-number-099"))
    log.hide(None)
    log.hide(Secret(""))

    assert 16 == len(log._secrets)
    assert "*** and *** but key number 3" == log.hidden("key-number-099 and key-number-084 but key number 3")


def test_failures_quote_no_key(monkeypatch):
    """Neither in the provider's words nor in its code or its name for the request; what is clean is left as it is."""
    monkeypatch.setattr(log, "_secrets", ())
    clean = Failure("BadRequest", "no such field", "free", code="bad", request_id="req_0011aabb")
    hexadecimal = "0123456789abcdef" * 2
    quoting = Failure("BadRequest", f"not {KEY}", "free", code=KEY, request_id=f"req_{hexadecimal}")
    assert log.without_secrets(quoting).reason == f"not {KEY}"  # nobody has said yet that it is one

    log.hide(Secret(KEY))
    log.hide(Secret(hexadecimal))

    assert log.without_secrets(clean) is clean
    assert Failure("BadRequest", "not ***", "free", code="***", request_id="***") == log.without_secrets(quoting)


def test_clean_texts_are_not_looked_at_again(monkeypatch):
    """The same complaint comes thousands of times; a new key makes all of them new."""
    looked_at = []
    monkeypatch.setattr(log, "_secrets", ())
    monkeypatch.setattr(log, "hidden", lambda text: looked_at.append(text) or text)
    failure = Failure("RateLimited", "slow down please", "free")
    log._clean.clear()

    log.without_secrets(failure)
    log.without_secrets(failure)
    log.hide(Secret("another key"))
    log.without_secrets(failure)

    assert ["slow down please"] * 2 == looked_at


def test_filters_are_there_once():
    """However often the module is asked to see to it."""
    log._install()

    for one in (log.logger, log.content):
        assert [log.Scrubbing] == [type(found) for found in one.filters]


def told(program: str) -> tuple[str, str]:
    """Return what a process of its own says, on stdout and on stderr; logging belongs to the whole process."""
    command = [sys.executable, "-c", f"import logging, logging.config, dfllm\n{program}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return ended.stdout.strip(), ended.stderr.strip()


def test_filters_survive_a_configuration():
    """`dictConfig` replaces handlers and resets children; what hides secrets stays."""
    program = """
logging.config.dictConfig({
    "version": 1, "handlers": {"out": {"class": "logging.StreamHandler"}}, "loggers": {"dfllm": {"handlers": ["out"]}}
})
logging.getLogger("dfllm").warning("Bearer abc123")
logging.getLogger("dfllm.content").warning("Bearer abc123")
"""

    assert ("", "Bearer ***\nBearer ***") == told(program)


# Requests.


OK = Response("the answer", "stop", 12, 5)
REFUSED = Failure("Refused", "I cannot say that", "paid", response=Response("no", tokens_in=3, tokens_out=1))
LIMITED = Failure("RateLimited", "slow down, said they", "free", status=429, request_id="req_0011")
LOST = Failure("ConnectionLost", "no answer came", "maybe")


@pytest.mark.parametrize(
    ("outcome", "status", "line"),
    [
        (OK, 200, "try 1, 200, ok, billing paid, 0.500 s, tokens 12 + 5, request id req_1"),
        (REFUSED, 200, "try 1, 200, Refused, billing paid, 0.500 s, tokens 3 + 1, request id req_1"),
        (LIMITED, 429, "try 1, 429, RateLimited, billing free, 0.500 s, tokens None + None, request id req_1"),
        (LOST, None, "try 1, None, ConnectionLost, billing maybe, 0.500 s, tokens None + None, request id req_1"),
    ],
)
def test_request_is_one_line_of_our_own_words(heard, outcome, status, line):
    """Key, try, status, type, billing, seconds, tokens, id: as text and as facts, without what anybody said."""
    log.request_ended("r_1", "k1ab", 1, outcome, status, 0.5, "req_1")

    assert [f"DEBUG dfllm request.ended k1ab, {line}"] == heard.texts
    record = heard.records[0]
    assert ("r_1", "k1ab", 1, status, 0.5) == (
        record.run,
        record.key,
        record.tries,
        record.status,
        record.seconds,
    )
    assert [] == [said for said in ("the answer", "cannot say", "slow down") if said in heard.everything]


def test_lines_of_our_own_words_are_not_searched(heard, monkeypatch):
    """That would cost more than the rest of the row; anything else with them is looked at all the same."""
    looked = []
    monkeypatch.setattr(log, "scrub", lambda text, secrets: looked.append(text) or text)

    log.request_ended("r_1", "k1ab", 1, OK, 200, 0.5, None)
    log.run_began("r_1", 5)
    assert [] == looked

    log.run_ended({"run": "r_1"})
    assert ["run.ended run r_1", "r_1"] == looked


def test_run_is_one_line_with_its_facts(heard):
    """Mappings are written out, what is not known is said."""
    log.run_ended({"run": "r_1", "rows": 3, "retries": {"Overloaded": 2}, "cost_usd": None, "empty": {}})

    assert ["INFO dfllm run.ended run r_1, rows 3, retries Overloaded 2, cost_usd unknown, empty none"] == heard.texts
    assert ({"Overloaded": 2}, None) == (heard.records[0].retries, heard.records[0].cost_usd)


# Prompts and answers.


@pytest.mark.parametrize(
    ("own", "shown"),
    [(logging.NOTSET, False), (logging.DEBUG, True), (5, True), (logging.INFO, False), (logging.ERROR, False)],
)
def test_content_is_shown_to_those_who_asked_for_it_by_name(heard, own, shown):
    """DEBUG for all of the library, or of the program, is not enough."""
    log.content.setLevel(own)

    assert shown == log.shows_content()
    assert log.shows_requests()


@pytest.mark.parametrize("configured", ['loggers={"dfllm": {"level": "DEBUG"}}', 'root={"level": "DEBUG"}'])
def test_configuring_logging_does_not_ask_for_content(configured):
    """Neither by `dictConfig`, which resets the levels of children, nor by the root logger."""
    program = f"""
logging.config.dictConfig(dict(version=1, disable_existing_loggers=False, {configured}))
from dfllm._run import log
print(log.shows_requests(), log.shows_content())
"""

    assert ("True False", "") == told(program)


def test_content_that_was_switched_off_is_not_shown(heard):
    """`logging.disable` is heard."""
    log.content.setLevel(logging.DEBUG)
    logging.disable(logging.DEBUG)
    try:
        assert not log.shows_content()
    finally:
        logging.disable(logging.NOTSET)


def test_content_goes_to_its_own_logger(heard):
    """Word by word, undecodable bytes as such; a request without an answer has none."""
    log.content.setLevel(logging.DEBUG)

    log.content_of("k1ab", 2, b'{"q":"\xc3\xa9\xff"}', None)

    assert ['DEBUG dfllm.content request.content k1ab, try 2, asked {"q":"é\ufffd"}, answered None'] == heard.texts


def test_content_with_a_key_in_it_is_scrubbed(heard):
    """Somebody's prompt may hold somebody's key."""
    log.content.setLevel(logging.DEBUG)

    log.content_of("k1ab", 1, f"use {PATTERNED}".encode(), f"I used {PATTERNED}".encode())

    assert PATTERNED not in heard.everything


def test_importing_the_library_sets_no_level_and_writes_nothing():
    """Levels and handlers are the program's."""
    program = """
one = logging.getLogger("dfllm")
print(one.level, [type(found).__name__ for found in one.handlers], logging.getLogger("dfllm.content").level)
one.warning("into the void")
"""

    assert ("0 ['NullHandler'] 0", "") == told(program)
