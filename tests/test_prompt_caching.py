"""What rows share is read for less: told to the provider, counted, and missed where the template stands in the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pandas as pd
import pytest

import dfllm
from dfllm._work import Work
from dfllm.simulator import Simulator

RULES = "Answer in one word, and never in two. " * 150
CITIES = pd.DataFrame({"city": [f"City {number}" for number in range(60)]})
ECHO = "simulator/echo"


def asked_of(model: str, **options):
    """Return the terms under which a provider would be asked."""
    return Work(CITIES, "Where is {{ city }}?", {"model": model, "system": RULES, **options}, sends=False).order.terms


def test_share_is_that_of_the_provider(simulator: Callable[..., Simulator]):
    """All rows but the first find the prefix, and the report says how much of the input that was."""
    simulator()

    CITIES.llm.complete("{{ city }}", system=RULES, model=ECHO)

    run = dfllm.last_run()
    facts = run.to_dict()
    assert 59 * 1_408 == facts["tokens_cached"]
    assert pytest.approx(59 * 1_408 / facts["tokens_in"]) == run.cached_share
    assert round(run.cached_share, 3) == facts["cached_share"]
    assert f"({run.cached_share:.0%} of the input cached)" in repr(run)
    assert f"({run.cached_share:.0%} of the input cached)" in run._repr_html_()


def test_run_that_paid_nothing_has_no_share(simulator: Callable[..., Simulator]):
    """Neither nothing nor all of it was cached."""
    simulator()
    CITIES.llm.complete("{{ city }}", system=RULES, model=ECHO)

    CITIES.llm.complete("{{ city }}", system=RULES, model=ECHO)

    run = dfllm.last_run()
    assert (None, None, 0) == (run.cached_share, run.to_dict()["cached_share"], run.to_dict()["tokens_cached"])
    assert "cached" not in repr(run)


def test_values_in_front_are_warned_of(simulator: Callable[..., Simulator]):
    """Once for the run, at the line that made the call; the frame is whole."""
    simulator()

    with pytest.warns(dfllm.PromptCacheWarning, match="put what all rows share first") as caught:
        made = CITIES.llm.complete("{{ city }}: " + RULES, model=ECHO)

    assert (1, __file__) == (len(caught), caught[0].filename)
    assert made["completion"].notna().all()


def test_setting_off_sends_no_key_and_says_nothing(simulator: Callable[..., Simulator]):
    """And the answers are the same ones: no key of a row hears of it."""
    simulator()
    dfllm.configure(prompt_caching="off")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CITIES.llm.complete("{{ city }}: " + RULES, model=ECHO)
    terms = asked_of(ECHO)

    dfllm.configure(prompt_caching="auto")
    CITIES.llm.complete("{{ city }}: " + RULES, model=ECHO)

    assert None is terms.prompt_cache_key
    assert None is not asked_of(ECHO).prompt_cache_key
    assert 0 == dfllm.last_run().to_dict()["requests"]


@pytest.mark.parametrize("value", ["5m", "1h", "on"])
def test_times_are_refused_while_no_provider_has_them(value):
    """With what there is, and why."""
    with pytest.raises(dfllm.OptionError, match="takes 'auto' or 'off', since no known provider"):
        dfllm.configure(prompt_caching=value)


def test_key_is_sent_to_the_provider_itself_only(monkeypatch):
    """A server at another address, or a compatible one, may refuse what it does not know."""
    sent = asked_of("openai/gpt-mini").prompt_cache_key
    dfllm.register_provider("lab", base_url="http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    others = [asked_of(model).prompt_cache_key for model in ("openai/gpt-mini", "lab/x", "vllm/x", "ollama/x")]

    assert sent.startswith("dfllm-")
    assert [None] * 4 == others


def test_images_end_what_rows_share():
    """They stand before the text they go with; what a message before that one says is shared all the same."""
    frame = CITIES.assign(photo="https://example.com/a.png")
    prompt = [{"role": "system", "content": RULES}, {"role": "user", "content": RULES + "{{ city }}"}]

    plans = [frame.llm.plan(prompt, model=ECHO, images=images) for images in (None, "photo")]

    size = len(RULES) // 4
    assert [(2 * size, 2 * size), (size, 2 * size)] == [tuple(plan.shared) for plan in plans]


def test_plan_counts_what_is_shared():
    """Before anything is sent, and for any provider."""
    plan = CITIES.llm.plan("{{ city }}: " + RULES, model=ECHO, system="Be kind.")

    assert (2, 2 + len(RULES) // 4) == plan.shared
    assert "1,425 more of them stand behind a value of the row" in str(plan)


def test_own_turns_of_a_row_end_what_rows_share():
    """The rules stand before them and are told; the prompt's turns behind them are no beginning."""
    frame = CITIES.assign(talk=[[{"role": "user", "content": "Hi."}]] * len(CITIES))
    prompts = ["{{ city }}", RULES + "{{ city }}"]

    keys = [
        Work(frame, prompt, {"model": "openai/gpt", "messages": "talk", "system": RULES}, sends=False).order.terms
        for prompt in prompts
    ]
    alone = Work(frame, RULES, {"model": "openai/gpt", "messages": "talk"}, sends=False).order.terms

    assert keys[0].prompt_cache_key == keys[1].prompt_cache_key
    assert keys[0].prompt_cache_key is not None
    assert None is alone.prompt_cache_key
