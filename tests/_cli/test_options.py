"""How texts, schemas and JSON are read from a command line."""

from pathlib import Path

import click
import pytest

from dfllm._cli.options import read_json, read_object, read_schema, read_template

CONTEXT = click.Context(click.Command("run"))
OPTION = click.Option(["--option"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a few files."""
    monkeypatch.chdir(tmp_path)
    Path("prompt.txt").write_text("Sum up {{ text }}\n", "utf-8")
    Path("schema.json").write_text('{"type": "string"}', "utf-8")
    Path("labels").write_text('["a", "b"]', "utf-8")
    Path("bad.json").write_text("{", "utf-8")
    Path("latin.txt").write_bytes(b"\xe9")


@pytest.mark.parametrize(
    ("value", "template"),
    [
        (None, None),
        ("Sum up {{ text }}", "Sum up {{ text }}"),
        ("@prompt.txt", "Sum up {{ text }}\n"),
        ("@{{ user }}, hello", "@{{ user }}, hello"),
        ("@prompt.txt\nand more", "@prompt.txt\nand more"),
        ("prompt.j2", "prompt.j2"),
        ("ü" * 10_000, "ü" * 10_000),
        ("", ""),
    ],
)
def test_template_is_text_or_a_file(value, template):
    """An @ names a file, unless a template follows it; paths to .j2 files are the library's to read."""
    found = read_template(CONTEXT, OPTION, value)

    assert template == found


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (None, None),
        ("good, bad", ["good", "bad"]),
        ("schema.json", {"type": "string"}),
        ("@schema.json", {"type": "string"}),
        ("@labels", ["a", "b"]),
        ('{"type":"integer"}', {"type": "integer"}),
        ("[1,2]", [1, 2]),
    ],
)
def test_schema_is_labels_or_a_file(value, schema):
    """Commas make labels; a name that ends in .json, or an @, is a file."""
    found = read_schema(CONTEXT, OPTION, value)

    assert schema == found


def test_object_is_read():
    """An object comes from the line or from a file."""
    found = [read_object(CONTEXT, OPTION, value) for value in (None, '{"top_k": 5}', "@schema.json")]

    assert [None, {"top_k": 5}, {"type": "string"}] == found


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (read_template, "@none.txt", "none.txt cannot be read: No such file or directory."),
        (read_template, "@latin.txt", "latin.txt cannot be read: it is no UTF-8 text."),
        (read_template, "prompt.txt", "prompt.txt is a file; to send what is in it, write @prompt.txt."),
        (read_schema, "positive", "give two or more labels with commas between, or a file that ends in .json."),
        (read_schema, "none.json", "none.json cannot be read: No such file or directory."),
        (read_schema, "bad.json", "that is no JSON: "),
        (read_json, "{", "that is no JSON: "),
        (read_object, "[1]", "it takes a JSON object, such as "),
    ],
)
def test_what_cannot_be_read_is_a_wrong_usage(read, value, said):
    """A missing file, bad JSON or a forgotten @ is said before anything happens."""
    with pytest.raises(click.BadParameter) as raised:
        read(CONTEXT, OPTION, value)

    assert said == raised.value.message[: len(said)]
