r"""Planted keys: of five formats, and how they are found again in five encodings.

Formats: OpenAI's, Anthropic's, Google's, a token without any prefix, and a password that every encoding changes.
Encodings: as it is, base64 at any offset and in either alphabet, URL-escaped in large and small letters, JSON-escaped
(also with slashes escaped, and all in ``\\uXXXX``), and hex in large and small letters.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

#: Made up, and unlike any key in the tests, so that finding one means that it leaked.
KEYS = {
    "openai": "sk-proj-Zq7Planted0Openai1Key2vX9aB3cD4eF5",
    "anthropic": "sk-ant-api03-Wp5Planted-Anthropic_Key6hJ7kL8mN9-AA",
    "google": "AIzaSyPlanted4Google5Key6qR7sT8uV9wX0yZ",
    "token": "f3a9plantedtoken71c8e2b4d605",
    "password": 'Plan+ed/pass"word\\with==every&mark<>%',
}
#: What the whole suite sends to its simulators; `tests/conftest.py` looks for it in all that a session has written.
SUITE_KEY = "sk-suite-Kd8Planted0Suite1Key2gH3jK4lM5nP6"

ENCODINGS = ("raw", "base64", "url", "json", "hex")


def forms(key: str) -> Mapping[str, frozenset[bytes]]:
    """Return what to look for, by encoding."""
    raw = key.encode()
    quoted = quote(key, safe="")
    escaped = json.dumps(key)[1:-1]
    return {
        "raw": frozenset({raw}),
        "base64": frozenset(_in_base64(raw)),
        "url": frozenset({quoted.encode(), _lower(quoted).encode()}),
        "json": frozenset(
            one.encode() for one in (escaped, escaped.replace("/", "\\/"), "".join(f"\\u{ord(c):04x}" for c in key))
        ),
        "hex": frozenset({raw.hex().encode(), raw.hex().upper().encode()}),
    }


def encoded(key: str, encoding: str) -> str:
    """Return the key as a server may quote it in this encoding."""
    return {
        "raw": key,
        "base64": base64.b64encode(b"user:" + key.encode()).decode(),
        "url": quote(key, safe=""),
        "json": json.dumps(key)[1:-1],
        "hex": key.encode().hex(),
    }[encoding]


def _in_base64(raw: bytes) -> Iterator[bytes]:
    # What shows in the base64 of any text with the key in it; the letters at either end hang on the neighbours.
    for before in range(3):
        coded = base64.b64encode(b"x" * before + raw + b"x" * 3)
        inner = coded[4 if before else 0 : (before + len(raw)) // 3 * 4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _lower(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def found_in(artefacts: Iterable[tuple[str, bytes]], keys: Iterable[str]) -> list[str]:
    """Return where any of the keys shows: the artefact's name and the encoding, never the key."""
    wanted = [(encoding, form) for key in keys for encoding, those in forms(key).items() for form in those]
    return sorted(
        {f"{name}: {encoding}" for name, content in artefacts for encoding, form in wanted if form in content}
    )


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, with its content; the name counts as content."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(folder)), path.name.encode() + b"\n" + path.read_bytes()
