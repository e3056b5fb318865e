"""The desk for vectors: who is charged for what, and what goes wrong."""

import json

import pytest

from dfllm.simulator import FAULTS, Bill, Faults, Manners, Outage
from dfllm.simulator.desk import Desk
from dfllm.simulator.faults import VECTOR_FAULTS
from dfllm.simulator.vector_desk import VectorDesk
from dfllm.simulator.vector_faults import gone_wrong
from dfllm.simulator.vector_wires import PATHS
from dfllm.simulator.vectors import Texts, vector_of

WIRE = PATHS["/v1/embeddings"]


def ask(desk, *texts):
    """Return the reply to a request for vectors."""
    body = json.dumps({"model": "embed-small", "input": texts, "dimensions": 4}).encode()
    with VectorDesk(desk).serve(body, "", WIRE, {}) as served:
        return served.reply


def desk_of(**manners):
    """Return a desk with a bill of its own."""
    return Desk(Manners(**manners), Bill())


def test_a_request_is_a_call_and_its_texts_are_billed():
    """Each under its own hash, so what is paid twice is seen."""
    desk = desk_of()
    ask(desk, "a", "b")
    ask(desk, "b", "cccccccc")

    totals = desk.bill.totals()
    assert (2, 4, 5) == tuple(totals[name] for name in ("requests", "billed", "prompt_tokens"))
    assert [1, 1, 2] == sorted(entry.billed for entry in desk.bill.entries().values() if entry.billed)
    assert 0 == desk.bill.in_flight


def test_what_is_refused_costs_nothing():
    """It is a call all the same."""
    desk = desk_of()
    reply = ask(desk, "a", "")

    assert (400, 1, 0) == (reply.status, desk.bill.requests, desk.bill.billed)


@pytest.mark.parametrize("fault", [*FAULTS, *VECTOR_FAULTS])
def test_every_fault_can_strike(fault):
    """Refusals are free; a 200 that came of work is billed."""
    desk = desk_of(faults=Faults(by_text={"bad": fault}))

    reply = ask(desk, "a", "bad")

    assert (2 if reply.billed else 0) == desk.bill.billed
    assert not (reply.billed and reply.status != 200)


def test_a_fault_of_vectors_is_for_the_text_it_is_named_for():
    """And for the last where it is named for none."""
    desk = desk_of(faults=Faults(by_text={"bad": "vec_short"}))

    found = json.loads(ask(desk, "a", "bad", "c").body)["data"]

    assert [4, 3, 4] == [len(one["embedding"]) for one in found]


def test_an_outage_is_met_by_all():
    """As with completions."""
    assert 503 == ask(desk_of(outages=[Outage(0, 10, "503")]), "a").status


def test_a_misspelt_fault_is_met_with_the_nearest():
    """Faults of vectors are known to whoever sets them."""
    with pytest.raises(ValueError, match="vec_few"):
        Faults(by_text={"a": "vec_fwe"})


def test_vectors_go_wrong_as_their_names_say():
    """One left out, one index twice, one shorter, one with NaN, all turned round."""
    asked = Texts("embed-small", ("a", "b"), 4)
    good = [(place, vector_of(asked, text)) for place, text in enumerate(asked.texts)]
    made = {name: gone_wrong(name, good, 0) for name in VECTOR_FAULTS}

    assert [1] == [index for index, _ in made["vec_few"]]
    assert [1, 1] == [index for index, _ in made["vec_twice"]]
    assert [3, 4] == [len(vector) for _, vector in made["vec_short"]]
    assert [True, False] == [any(number != number for number in vector) for _, vector in made["vec_nan"]]
    assert [1, 0] == [index for index, _ in made["vec_mixed"]]
