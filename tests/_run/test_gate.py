"""The gate is shut until somebody has come back, and shuts again."""

from dfllm._core.types import Failure
from dfllm._run.gate import Gate


def test_a_gate_is_shut_at_first_and_again_after_a_fatal_answer():
    """Whoever waits finds the count changed and the answer there."""
    gate = Gate()
    at_first = gate.is_open, gate.fatal_count
    gate.is_open = True
    failure = Failure("AuthFailed", "key rejected", "free", status=401)

    gate.shut(failure)

    assert (False, 0) == at_first
    assert (False, 1, failure) == (gate.is_open, gate.fatal_count, gate.fatal)
