"""Wires: the same answers, faults and limits, in each vendor's words."""

import json

import pytest

from dfllm.simulator import FAULTS, Faults, Manners, RateLimits
from dfllm.simulator.bill import Bill
from dfllm.simulator.desk import Desk
from dfllm.simulator.wires import ANTHROPIC, GEMINI, OPENAI, RESPONSES

TURNS = [{"role": "user", "content": "Where is Oslo?"}]
ASKS = {
    "openai": (OPENAI, {"model": "small", "messages": TURNS}, {}),
    "anthropic": (ANTHROPIC, {"model": "small", "messages": TURNS, "max_tokens": 99}, {"version": "2026-10-21"}),
    "gemini": (GEMINI, {"contents": [{"parts": [{"text": "Where is Oslo?"}]}]}, {"model": "small"}),
    "openai-responses": (RESPONSES, {"model": "small", "input": "Where is Oslo?"}, {}),
}
every_wire = pytest.mark.parametrize("name", ASKS)


def reply(name, **manners):
    """Return what one question gets on a wire."""
    wire, body, given = ASKS[name]
    desk = Desk(Manners(**manners), Bill(), lambda: 0.0, lambda: 0.0)
    with desk.serve(json.dumps(body).encode(), "", wire, given) as served:
        return served.reply, desk.bill


@every_wire
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("bomb", "5xx")])
def test_faults_cost_the_same_on_every_wire(name, fault):
    """Status, delivery and bill do not depend on whose words they are said in (5xx goes by the body, bomb is slow)."""
    said, _ = reply(name, faults=Faults(by_text={"Oslo": fault}))
    plain, _ = reply("openai", faults=Faults(by_text={"Oslo": fault}))

    assert (plain.status, plain.delivery, plain.billed) == (said.status, said.delivery, said.billed)
    assert plain.headers.keys() == said.headers.keys()


@every_wire
def test_limits_are_told_in_the_vendors_names(name):
    """With the default style; one that was chosen stays."""
    prefix = {"anthropic": "anthropic-ratelimit-", "gemini": None}.get(name, "x-ratelimit-")

    said, chosen = (reply(name, limits=RateLimits(rpm=60, headers=style))[0] for style in ("openai", "none"))

    assert bool(said.headers) == (prefix is not None)
    assert all(header.startswith(prefix) for header in said.headers)
    assert {} == chosen.headers


@every_wire
def test_the_same_question_has_the_same_answer(name):
    """Bytes and all, but for the moment it was made."""
    assert reply(name)[0].body == reply(name)[0].body
    assert 1 == reply(name)[1].billed
