"""Control characters: gone wherever prompts and answers are shown."""

from dfllm._core.controls import visible
from dfllm._core.plan import Plan
from dfllm._core.types import Failure, Message

BAD = "a\x1b]0;owned\x07b\x9b2Jc\r\x00d\u202ee\u2069"


def test_control_codes_are_taken_out():
    """Nothing below the blank, DEL or the upper controls gets through, save line ends and tabs."""
    text = "".join(map(chr, range(0x180))) + "Ü🎈\u2028"

    assert "\t\n" + "".join(map(chr, [*range(32, 127), *range(160, 0x180)])) + "Ü🎈\u2028" == visible(text)


def test_marks_of_reading_order_are_taken_out():
    """Text reads in the order in which it is written; the marks that Arabic and Hebrew need stay."""
    assert "abc\u200f" == visible("a\u202eb\u2066c\u200f\u2069")


def test_error_text_has_no_control_codes():
    """Whatever the reason quotes."""
    said = str(Failure("InvalidOutput", BAD, "paid"))

    assert "InvalidOutput: a]0;ownedb2Jc de (paid)" == said


def test_plan_shows_prompts_without_control_codes():
    """A cell of the user's frame may come from a stranger."""
    plan = Plan("m", 1, 1, 0, 1, 0, 0, previews=[(Message("user", BAD),)], problems=[(0, BAD)])

    assert visible(str(plan)) == str(plan)
    assert "owned" in str(plan)
