"""Faults follow from hash, attempt and seed, and from nothing else."""

import pytest

from dfllm.simulator import FAULTS, Faults

HASHES = [str(turn) for turn in range(4_000)]


def struck(faults, attempt=1, text=""):
    """Return the fault of each hash."""
    return [faults.choose(request_hash, attempt, text) for request_hash in HASHES]


def test_no_faults_by_default():
    """Without being asked, nothing goes wrong."""
    assert {None} == set(struck(Faults()))


def test_rates_are_shares_of_hashes():
    """Each fault strikes its share, and no hash has two."""
    found = struck(Faults(rates={"500": 0.2, "drop_mid": 0.1}))

    assert 0.18 < found.count("500") / len(HASHES) < 0.22
    assert 0.08 < found.count("drop_mid") / len(HASHES) < 0.12


def test_choice_is_pure():
    """The same seed strikes the same hashes, another one others."""
    one, again, other = (struck(Faults(rates={"500": 0.3}, seed=seed)) for seed in (1, 1, 2))

    assert one == again
    assert one != other


@pytest.mark.parametrize(
    ("attempts", "faults"), [(1, ["500", None, None]), (2, ["500", "500", None]), (9, ["500"] * 3)]
)
def test_faults_pass(attempts, faults):
    """A hash suffers its fault on its first attempts, then no more."""
    settings = Faults(rates={"500": 1.0}, attempts=attempts)

    assert faults == [settings.choose("a", attempt, "") for attempt in (1, 2, 3)]


@pytest.mark.parametrize(
    ("fault", "faults"),
    [("blank", ["blank"] * 3), ("blank*2", ["blank", "blank", None]), ("blank*0", [None] * 3)],
)
def test_text_calls_a_fault(fault, faults):
    """A text in the prompt calls its fault, each time or the first few times."""
    settings = Faults(by_text={"here": fault})

    assert faults == [settings.choose("a", attempt, "it is here") for attempt in (1, 2, 3)]
    assert settings.choose("a", 1, "it is not") is None


def test_text_goes_before_rates():
    """What a text calls comes first; after it, the rates have their turn."""
    settings = Faults(by_text={"here": "blank*1"}, rates={"500": 1.0}, attempts=2)

    assert ["blank", "500", None] == [settings.choose("a", attempt, "here") for attempt in (1, 2, 3)]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"rates": {"rate492": 0.1}}, "'rate429'"),
        ({"by_text": {"x": "drop_midd*2"}}, "'drop_mid'"),
        ({"rates": {"zzz": 0.1}}, "There are rate429, "),
        ({"by_text": {"x": "blank*often"}}, "after the star"),
        ({"rates": {"500": 0.7, "502": 0.4}}, "at most 1"),
        ({"rates": {"500": -0.1}}, "from 0 to 1"),
        ({"rates": {"500": float("nan")}}, "from 0 to 1"),
    ],
)
def test_nonsense_is_refused(options, hint):
    """Unknown names are refused with near ones, rates that are no shares too."""
    with pytest.raises(ValueError, match=r"fault|Rates") as raised:
        Faults(**options)

    assert hint in str(raised.value)


def test_table_fits_a_terminal():
    """Every fault is explained in one line."""
    assert all(description and len(description) < 100 for description in FAULTS.values())
