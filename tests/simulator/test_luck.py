"""The same question has the same luck."""

from dfllm.simulator import luck


def test_luck_holds():
    """Numbers depend on the parts alone, and stay what they are from release to release."""
    expected = 1

    actual = luck.below(10, "a", 1)

    assert expected == actual


def test_luck_hears_every_part():
    """Parts do not run into each other."""
    one, other = luck.number("ab", "c"), luck.number("a", "bc")

    assert one != other


def test_shares_are_even():
    """Shares lie below 1 and spread evenly."""
    shares = [luck.share("seed", turn) for turn in range(4_000)]

    assert all(0 <= share < 1 for share in shares)
    assert abs(sum(shares) / len(shares) - 0.5) < 0.02


def test_pick_reaches_every_option():
    """Every option is picked by somebody."""
    picked = {luck.pick("abc", turn) for turn in range(50)}

    assert {"a", "b", "c"} == picked
