"""A body on its way says that it left, unless it is certain that it did not."""

import asyncio

import pytest

from dfllm._run.http_sending import Sending

BODY = b'{"model":"m"}'


class Connection:
    """Stands in for the engine's writer, transport and protocol in one."""

    def __init__(self, *, closing=False, answers=0, refuses=False):
        self.closing, self.answers, self.refuses = closing, answers, refuses
        self.written = b""
        self.aborted = False
        self.transport = self

    def is_closing(self):
        """As a transport."""
        return self.closing

    def get_write_buffer_size(self):
        """As a transport."""
        return 0

    def get_protocol(self):
        """As a transport."""
        return self

    def __len__(self):
        return self.answers

    async def write(self, data, *, drain):
        """As a writer."""
        assert not drain
        self.written += data
        self.closing = self.refuses

    async def drain(self):
        """As a writer."""

    def abort(self):
        """As a transport."""
        self.aborted = True


def test_a_body_that_was_taken_is_sent():
    """From then on a server may have read it."""
    sending, connection = Sending(BODY), Connection()

    asyncio.run(sending.write_with_length(connection, len(BODY)))

    assert (True, BODY) == (sending.sent, connection.written)


def test_older_engines_write_it_as_well():
    """They know no length."""
    sending, connection = Sending(BODY), Connection()

    asyncio.run(sending.write(connection))

    assert (True, BODY) == (sending.sent, connection.written)


def test_a_body_the_system_refused_is_unsent():
    """The transport closes itself in the very write."""
    sending = Sending(BODY)

    asyncio.run(sending.write(Connection(refuses=True)))

    assert not sending.sent


@pytest.mark.parametrize("connection", [Connection(closing=True), Connection(answers=1)], ids=["closing", "answered"])
def test_a_useless_connection_is_not_written_to(connection):
    """Neither a closing one, nor one that holds an answer before the question."""
    sending = Sending(BODY)

    with pytest.raises(ConnectionResetError):
        asyncio.run(sending.write(connection))

    assert (False, b"") == (sending.sent, connection.written)


def test_a_lost_connection_is_not_written_to():
    """The engine may have no transport any more."""
    sending, connection = Sending(BODY), Connection()
    connection.transport = None

    with pytest.raises(ConnectionResetError):
        asyncio.run(sending.write(connection))

    assert not sending.sent


def test_a_late_body_is_not_sent():
    """What waited for a connection past its deadline is not paid for any more."""
    sending, connection = Sending(BODY), Connection()
    sending.expire()

    with pytest.raises(ConnectionResetError):
        asyncio.run(sending.write(connection))

    assert (False, b"") == (sending.sent, connection.written)


def test_expiring_drops_the_connection():
    """Whoever waits on it wakes."""
    sending, connection = Sending(BODY), Connection()
    asyncio.run(sending.write(connection))

    sending.expire()

    assert (True, True) == (sending.late, connection.aborted)


def test_another_answer_is_seen():
    """Two answers to one question belong to nobody."""
    sending, connection = Sending(BODY), Connection()
    asyncio.run(sending.write(connection))

    before = sending.has_more_answers()
    connection.answers = 1

    assert (False, True) == (before, sending.has_more_answers())


def test_the_engine_is_told_the_size():
    """And the text, should it ask."""
    sending = Sending("é".encode())

    assert (2, "é") == (sending.size, sending.decode())
