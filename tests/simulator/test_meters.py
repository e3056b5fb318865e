"""A log stays small, whatever is thrown at it."""

from dfllm.simulator.meters import Log


def test_a_log_forgets():
    """Entries of one moment share a place, and what is over takes none."""
    log = Log(10_000, 0.0, fixed=False)

    for second in range(1_000):
        for _ in range(5):
            log.take(2, float(second), to_settle=True)
            log.settle(2, 1, float(second))

    assert (60, {}) == (len(log._entries), log._to_settle)
    assert 10_000 - 300 == log.left(999.0)
