"""Estimates: likely is near, high is never passed, and the same questions give the same figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.estimate import FEW, SAMPLE, Estimate, Range, Tariff, guessed, guessed_in, schema_tokens
from dfllm._core.types import Message, Part, Parted, Response

TARIFF = Tariff(lambda tokens_in, tokens_out: tokens_in + 4 * tokens_out, lambda size: size + 4 * 100)


def asked(text):
    """Return a conversation of one message."""
    return (Message("user", text),)


def estimate(texts, **options):
    """Return an estimate of these questions; a request has forty bytes beside its text."""
    made = Estimate(**options)
    for text in texts:
        made.ask(asked(text), len(text.encode()) + 40)
    return made


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("word word", 2.25), ("日本語日本", 4), ("ab日本語日本", 4.5)])
def test_guess_counts_signs(text, tokens):
    """Four ASCII characters a token, and four to five others, which are mostly signs that stand for a word."""
    assert tokens == guessed(text)
    assert tokens + 4 == guessed_in(asked(text))


def test_guess_counts_what_is_shown():
    """An image and a file are guessed as such, not as the text that their bytes would be."""
    shown = Parted("user", "word word", (Part("image", "data:image/png;base64,AAAA"), Part("file", "https://a/b.pdf")))

    assert 1_000 + 3_000 + 2.25 + 4 == guessed_in((shown,))


def test_a_guess_is_not_above_what_is_most():
    """An image that is counted by its few bytes cannot have the tokens of a usual one."""
    made = Estimate(max_tokens=10)
    made.ask((Parted("user", "see", (Part("image", "data:image/png;base64,AAAA"),)),), 90)

    assert Range(90, 90, 90) == made.tokens_in()


def test_what_has_no_bound_has_no_upper_end():
    """One such question is enough; the rest of the figures stand."""
    made = estimate(["word word"], max_tokens=10)
    made.ask(asked("word word"), None)

    whole = estimate(["word word"] * 2, max_tokens=10)
    assert Range(*whole.tokens_in()[:2], None) == made.tokens_in()
    assert None is made.cost(TARIFF).high
    assert 20 == made.tokens_out().high


def test_nothing_to_ask_takes_nothing():
    """Not even a guess."""
    made = estimate([])

    assert Range(0, 0, 0) == made.tokens_in() == Range(*made.tokens_out()[:2], 0)
    assert Range(0, 0, 0) == made.cost(TARIFF)


def test_unbounded_output_has_no_upper_end():
    """Without max_tokens nobody can say how long an answer may be."""
    made = estimate(["a question"] * 10)

    assert None is made.tokens_out().high
    assert None is made.cost(TARIFF._replace(most=None)).high


def test_known_answers_put_the_guess_right():
    """What the provider counted for others like them counts, not what we thought of them."""
    made = estimate(["x" * 400] * 100, max_tokens=100)
    before = made.tokens_in(), made.tokens_out()
    for _ in range(FEW):
        made.learn(asked("x" * 400), Response("a", tokens_in=208, tokens_out=20))
    after = made.tokens_in(), made.tokens_out()

    assert 10_400 == before[0].likely
    assert (20_800, 18_720) == (after[0].likely, after[0].low)
    assert (2_000, 1_800, 10_000) == (after[1].likely, after[1].low, after[1].high)
    assert FEW == made.learnt


def test_few_known_answers_teach_nothing():
    """One odd answer is no rule, and one without usage is none at all."""
    made = estimate(["x" * 400])
    for _ in range(FEW - 1):
        made.learn(asked("x"), Response("a", tokens_in=900, tokens_out=900))
    made.learn(asked("x"), Response("a"))

    assert 0 == made.learnt
    assert 104 == made.tokens_in().likely


@pytest.mark.parametrize(("labels", "fields", "tokens"), [(("yes", "no"), 1, 8.75), ((), 3, 48.0)])
def test_schema_says_how_long_answers_are(labels, fields, tokens):
    """The longest label and what is around it, or so much for each field."""
    made = estimate(["q"] * 100, schema_out=schema_tokens(labels, fields))

    assert tokens == schema_tokens(labels, fields)
    assert round(tokens * 100) == made.tokens_out().likely


def test_sample_is_near_the_whole_and_always_the_same():
    """Of many questions a few are looked at: within a tenth here, and no luck of the day."""
    texts = ["x" * (40 + 7 * n % 800) for n in range(20 * SAMPLE)]
    whole = sum(guessed_in(asked(text)) for text in texts)

    first, second = (estimate(texts).tokens_in().likely for _ in range(2))

    assert first == second
    assert abs(first - whole) < 0.1 * whole


@given(
    st.lists(st.tuples(st.text(max_size=200), st.floats(0, 1), st.floats(0, 1)), max_size=60),
    st.integers(1, 3),
)
def test_upper_end_covers_every_bill(rows, times):
    """Any text in any script, any share of its bytes as tokens, any length of answer, paid as often as can be."""
    tariff = TARIFF._replace(most=lambda size: times * TARIFF.most(size))
    made = estimate([text for text, _, _ in rows], max_tokens=100)

    bill = sum(
        times * TARIFF.price(round((len(text.encode()) + 40) * share), round(100 * length))
        for text, share, length in rows
    )

    low, likely, high = made.cost(tariff)
    assert bill <= high
    assert low <= likely <= high
