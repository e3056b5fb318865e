"""JSON that fits a schema: made up, but valid, and with an eye on the text it is about.

Read are the types, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`,
`uniqueItems`, all bounds, `multipleOf`, `format`, simple `pattern`s, `anyOf`, `oneOf` (its options should exclude
each other), `allOf`, `$ref` and `$defs`. A schema that refers to itself is followed once round, then as short as it
can end. `not`, `if` and `patternProperties` are not read.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import luck, words
from .merging import Schema, Subschema, both, depth, follow, possible, types_of
from .scalars import number_for, text_for

_FEELING = frozenset({"grade", "rating", "score", "sentiment", "stars"})
_ENDLESS = 1_000


class BadSchema(ValueError):
    """No value can be made for this schema."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where in the answer a value is wanted: the nearest field's name, the way there, references and lists on it."""

    name: str = ""
    path: str = "$"
    refs: tuple[str, ...] = ()
    lists: tuple[int, ...] = ()

    @property
    def deep(self) -> bool:
        """Whether a reference is on its second round, so that it is time to come to an end."""
        return len(set(self.refs)) < len(self.refs)

    def field(self, name: str) -> "_Spot":
        return replace(self, name=name, path=f"{self.path}.{name}")

    def item(self, place: int) -> "_Spot":
        return replace(self, path=f"{self.path}[]", lists=(*self.lists, place))


def fit(schema: Schema, text: str, key: str) -> Any:
    """Return a value that the schema allows.

    Args:
        schema: a JSON schema; its references are inside it.
        text: what the answer should seem to be about.
        key: what the luck depends on; the same key gives the same value.

    Raises:
        BadSchema: nothing can be made of it: a ``$ref`` points at nothing, or an object must contain itself.
    """
    try:
        return _Fit(schema, text, key).value(schema, _Spot())
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # Whatever a client may send in place of a schema: reading it is the check.
        raise BadSchema(str(error)[:200]) from error


class _Fit:
    """One schema, one text, one luck, and values for the schema's parts."""

    def __init__(self, root: Schema, text: str, key: str) -> None:
        self.root = root
        self.text = text
        self.key = key

    def value(self, schema: Subschema, spot: _Spot) -> Any:
        plain, spot = self.plain(schema, spot)
        if "const" in plain:
            return plain["const"]
        if "enum" in plain:
            return self.member(plain["enum"], spot)
        for union in ("anyOf", "oneOf"):
            if union in plain:
                rest = {keyword: value for keyword, value in plain.items() if keyword != union}
                return self.value(both(rest, self.option(plain[union], rest, spot)), spot)
        kind = self.kind(plain, spot)
        if kind == "object":
            return self.object(plain, spot)
        if kind == "array":
            return self.array(plain, spot)
        if kind == "null":
            return None
        if kind == "boolean":
            return self.truth(spot)
        if kind == "string":
            return text_for(plain, spot.name, self.text, self.seed(spot))
        return number_for(
            plain, self.text, self.seed(spot), whole=kind == "integer", felt=spot.name.lower() in _FEELING
        )

    def seed(self, spot: _Spot) -> str:
        return f"{self.key}{spot.path}{spot.lists}"

    def plain(self, schema: Subschema, spot: _Spot) -> tuple[Schema, _Spot]:
        """Follow references and join what must hold together."""
        plain = both({}, schema)
        while "$ref" in plain or "allOf" in plain:
            rest = {keyword: value for keyword, value in plain.items() if keyword not in ("$ref", "allOf")}
            if "$ref" in plain and len(spot.refs) < _ENDLESS:
                spot = replace(spot, refs=(*spot.refs, plain["$ref"]))
                rest = dict(both(follow(self.root, plain["$ref"]), rest))
            for part in plain.get("allOf", ()):
                rest = dict(both(rest, part))
            plain = rest
        return plain, spot

    def kind(self, plain: Schema, spot: _Spot) -> str:
        kinds = types_of(plain)
        if spot.deep and "null" in kinds:
            return "null"
        return next((kind for kind in kinds if kind != "null"), "null")

    def option(self, options: Sequence[Subschema], rest: Schema, spot: _Spot) -> Subschema:
        """Choose the option to follow: seldom null; the soonest at its end where a reference comes round again."""
        if not options:
            raise ValueError("a choice of nothing")
        open_options = [option for option in options if possible(both(rest, option))] or list(options)
        if spot.deep:
            return min(open_options, key=lambda option: depth(option, self.root, spot.refs))
        solid = [option for option in open_options if not isinstance(option, dict) or option.get("type") != "null"]
        if not solid or (len(solid) < len(open_options) and luck.below(8, self.seed(spot), "null") == 0):
            return {"type": "null"}
        return luck.pick(solid, self.seed(spot), "option")

    def object(self, plain: Schema, spot: _Spot) -> dict[str, Any]:
        fields = plain.get("properties", {})
        required = plain.get("required", ())
        others = plain.get("additionalProperties", True)
        made = {
            name: self.value(part, spot.field(name))
            for name, part in fields.items()
            if name in required or not spot.deep
        }
        for name in required:
            if name not in made:
                made[name] = self.value(others, spot.field(name))
        wanted = plain.get("minProperties", 0)
        if not fields and isinstance(others, dict) and not spot.deep:
            wanted = max(wanted, min(2, plain.get("maxProperties", 2)))  # a mapping: two entries show what it is
        names = [name.lower() for name in words.topics_of(self.text)] + [f"field_{turn}" for turn in range(wanted)]
        for name in [*fields, *names]:
            if len(made) < wanted and name not in made:
                made[name] = self.value(fields.get(name, others), spot.field(name))
        for name in [name for name in made if name not in required]:
            if len(made) > plain.get("maxProperties", len(made)):
                del made[name]
        return made

    def array(self, plain: Schema, spot: _Spot) -> list[Any]:
        first = plain.get("prefixItems", [])
        rest = plain.get("items", True)
        least = plain.get("minItems", 0)
        most = plain.get("maxItems", max(least, len(first), 3))
        if rest is False:
            most = min(most, len(first))
        wanted = least if spot.deep else max(least, len(first), 1 + luck.below(3, self.seed(spot), "length"))
        made: list[Any] = []
        seen: set[str] = set()
        for place in range(min(wanted, most) + 20):
            if len(made) >= min(wanted, most):
                break
            # Once an item has come twice, the text is left out of it: it may hold too few different ones.
            maker = self if len(made) == place else _Fit(self.root, "", self.key)
            one = maker.value(first[place] if place < len(first) else rest, spot.item(place))
            shown = json.dumps(one, sort_keys=True)
            if shown not in seen or not plain.get("uniqueItems"):
                made.append(one)
                seen.add(shown)
        return made

    def member(self, values: Sequence[Any], spot: _Spot) -> Any:
        """Choose one of the values; labels by what the text says, later items of a list by turns."""
        if not values:
            return None
        if all(isinstance(value, str) for value in values):
            place = values.index(words.label_for(values, self.text, self.key, spot.path))
        else:
            place = luck.below(len(values), self.key, spot.path)
        return values[(place + sum(spot.lists)) % len(values)]

    def truth(self, spot: _Spot) -> bool:
        """Feel the text where the field's name asks for it, else toss."""
        mood = words.mood_of(self.text)
        for feeling, answer in (("positive", mood.leaning == "good"), ("negative", mood.leaning == "bad")):
            if feeling in spot.name.lower():
                return answer
        return luck.below(2, self.seed(spot)) == 0
