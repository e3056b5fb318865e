"""The plan: what would be done, said in a few lines."""

from dataclasses import replace

from dfllm._core.estimate import Range
from dfllm._core.plan import Plan
from dfllm._core.prefix import Shared
from dfllm._core.types import Message

PLAN = Plan("openai/gpt", rows=12_345, distinct=12_000, known=2_000, missing=10_000, skipped=0, failed=0)
ASKED = ((Message("system", "Be brief."), Message("user", "Where is\n  Oslo?")), (Message("user", "Lima?"),))


def test_plan_says_what_is_known_and_what_is_missing():
    """Two counts that matter, and what they mean for the purse; nothing about rows that are not there."""
    assert [
        "Plan for openai/gpt: 12,345 rows, 12,000 distinct questions",
        "  known    2,000  answered from the store, free",
        "  missing  10,000  to be sent, once each",
    ] == str(PLAN).splitlines()


def test_plan_says_which_rows_are_not_sent():
    """Skipped ones and failed ones, the first of them with their reasons."""
    plan = replace(PLAN, skipped=5, failed=2, problems=((7, "BadInput: NUL"), (9, "TemplateError: 'x' is undefined")))

    assert [
        "  skipped  5  rows with a missing value",
        "  failed   2  rows that cannot be sent",
        "    row 7: BadInput: NUL",
        "    row 9: TemplateError: 'x' is undefined",
    ] == str(plan).splitlines()[3:]


def test_plan_says_what_others_are_asking():
    """Those are waited for and not paid here."""
    assert "  pending  7  of those are being asked by another run now" == str(replace(PLAN, pending=7)).splitlines()[3]


def test_plan_says_what_prompts_begin_with():
    """Where there is enough of it to be kept by a provider; and how much cannot be, behind a value of the row."""
    plans = [replace(PLAN, shared=Shared(*tokens)) for tokens in ((1_024, 1_024), (1_500, 1_500), (20, 1_500))]

    assert [
        [],
        ["  prefix   about 1,500 tokens that every prompt begins with"],
        [
            "  prefix   about 20 tokens that every prompt begins with",
            "           about 1,480 more of them stand behind a value of the row, so none is cached",
        ],
    ] == [str(plan).splitlines()[3:] for plan in plans]


def test_plan_shows_the_first_conversations():
    """Each message on one line, with who speaks."""
    assert [
        "  prompt 1:",
        "    [system] Be brief.",
        "    [user] Where is Oslo?",
        "  prompt 2:",
        "    [user] Lima?",
    ] == str(replace(PLAN, previews=ASKED)).splitlines()[3:]


def test_long_prompt_is_cut():
    """A plan is to be read, not scrolled."""
    texts = ["x" * 300, "x" * 301]

    lines = [str(replace(PLAN, previews=[(Message("user", text),)])).splitlines()[-1] for text in texts]

    assert ["    [user] " + "x" * 300, "    [user] " + "x" * 299 + "…"] == lines


def test_plan_shows_itself():
    """In a notebook's cell as in print."""
    assert str(PLAN) == repr(PLAN)


def test_plan_is_its_counts():
    """What carries it out is no part of what it says."""
    assert PLAN == replace(PLAN, run=lambda: 1)
    assert PLAN != replace(PLAN, known=1)
    assert None is PLAN.run()


MONEY = replace(
    PLAN,
    tokens_in=Range(900, 1_000, 4_000),
    tokens_out=Range(90, 100, None),
    cost=Range(10_000_000, 20_000_000, None),
    price="price of gpt from somewhere",
)


def test_plan_says_what_it_costs():
    """Tokens and cost from, about and up to; where the price is from; whether it is a guess."""
    bounded = replace(MONEY, tokens_out=Range(90, 100, 500), cost=Range(10**7, 2 * 10**7, 10**9), learnt=50)

    assert [
        "  input    about 1,000 tokens  at least 900 tokens, at most 4,000 tokens",
        "  output   about 100 tokens  at least 90 tokens, no upper bound: say max_tokens=",
        "  cost     about $0.02000  at least $0.01000, no upper bound: say max_tokens=",
        "  batch    unknown",
        "           price of gpt from somewhere",
        "           tokens guessed from the text; known answers would make it better",
    ] == str(MONEY).splitlines()[3:]
    assert "  cost     about $0.02000  at least $0.01000, at most $1.00" in str(bounded)
    assert "tokens estimated from 50 known answers" in str(bounded)
    assert "  batch    about $0.01000" in str(replace(bounded, batch_cost=Range(10**6, 10**7, 10**8)))


def test_unknown_price_is_said():
    """And no cost is made up."""
    said = str(replace(MONEY, cost=None, price="price unknown: tell it"))

    assert "  cost     unknown" in said
    assert "  batch" not in said
    assert "price unknown: tell it" in said


def test_page_shows_it_and_runs_nothing():
    """Counts, money and the first prompts; whatever a prompt says stays text."""
    evil = ((Message("user", "<script>alert(1)</script>"),),)
    html = replace(MONEY, previews=evil, failed=1, problems=((3, "<img src=x onerror=alert(1)>"),))._repr_html_()

    assert "<script>" not in html
    assert "<img" not in html
    for text in ("openai/gpt", "10,000", "about $0.02000", "price of gpt from somewhere", "&lt;script&gt;", "row 3"):
        assert text in html
