"""Tasks: what a verb such as `classify` asks, before it meets a frame, and the templates it becomes there.

What is constant is rendered once into the system message, so that providers can keep it. A row's text goes into the
user's message alone, as a value: a template is never made of a cell.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from dfllm._core.cells import Plain
from dfllm._core.errors import TemplateError, listed, near
from dfllm._core.sandbox import compiled
from dfllm._core.schema import Schema
from dfllm._core.template import Prompt, check_columns, recipe_of
from dfllm._core.types import Failure, Message, Recipe

#: What each verb calls its column.
INTO: Mapping[str, str] = {
    "classify": "label",
    "extract": "extracted",
    "summarize": "summary",
    "translate": "translation",
    "score": "score",
    "judge": "winner",
}
#: The column that says of a pair's row that its texts change places; no frame of a user's has one of that name.
TURNED = "dfllm: texts change places"


@dataclass(frozen=True, slots=True)
class Task:
    """What a verb asks, as the functions of `dfllm.prompts` make it. The doors of ``df.llm`` take it for a prompt.

    Attributes:
        verb: the verb's name.
        texts: the prompt's variables that differ from row to row, each a column or a template, and the option it is.
        system: what the system message says; empty for none.
        user: the template of the user's message.
        facts: the prompt's other variables.
        schema: what each answer must hold; None for text.
    """

    verb: str
    texts: Mapping[str, tuple[str, str]]
    system: str
    user: str
    facts: Mapping[str, Plain]
    schema: Schema | None = None

    @property
    def into(self) -> str:
        """What the column is called where nobody says so."""
        return INTO[self.verb]

    @property
    def paired(self) -> bool:
        """Whether each row is asked twice, its two texts in both orders."""
        return len(self.texts) == 2

    def messages(self, columns: Sequence[Hashable]) -> list[dict[str, str]]:
        """Return the messages' templates for a frame.

        Args:
            columns: the frame's columns. A text that is exactly the name of one means it; others are templates.

        Raises:
            TemplateError: a text is neither a column nor a template that reads one.
        """
        before = ""
        sources = []
        for variable, (option, text) in self.texts.items():
            if text in columns:
                check_columns([text], columns, of=option)
                sources.append(f"row[{literal(text)}]")
                continue
            _check_text(option, text, columns)
            before += f"{{% set _{variable} %}}{text}{{% endset %}}"
            sources.append(f"_{variable}")
        if self.paired:
            turned = f"row[{literal(TURNED)}]"
            first, second = sources
            sources = [f"({second} if {turned} else {first})", f"({first} if {turned} else {second})"]
        reads = compiled(self.user).columns
        given = [f"{name}={source}" for name, source in zip(self.texts, sources, strict=True)]
        # An option that was not given prints nothing, as in the system message.
        facts = {name: "" if fact is None else fact for name, fact in self.facts.items() if name in reads}
        given += [f"{name}={literal(fact)}" for name, fact in facts.items()]
        # A blank text leaves the whole message blank, and a blank prompt is not sent.
        said = " and ".join(f"{name} | trim" for name in self.texts)
        user = f"{before}{{% with {', '.join(given)} %}}{{% if {said} %}}{self.user}{{% endif %}}{{% endwith %}}"
        system = [{"role": "system", "content": f"{{{{ {literal(self.system)} }}}}"}] if self.system else []
        return [*system, {"role": "user", "content": user}]


def system_of(source: str, facts: Mapping[str, Plain]) -> str:
    """Return what a template of constants says.

    Raises:
        TemplateError: it cannot be read, reads something else, or fails.
    """
    if not source.strip():
        return ""
    prompt = _read(source, "The system message of prompt=", "system")
    for name in prompt.columns:
        if name not in facts:
            raise TemplateError(
                f"The system message of prompt= reads {name!r}; it is the same for all rows and has "
                f"{listed(list(facts))}.{near(str(name), list(facts))} What differs from row to row is for user."
            )
    said = prompt.renderer()([facts[str(name)] for name in prompt.columns])
    if isinstance(said, Failure):
        raise TemplateError(f"The system message of prompt= cannot be rendered: {said.reason}")
    return said[0].content.strip()


def check_user(source: str, texts: Sequence[str], facts: Mapping[str, Plain]) -> None:
    """Refuse a template of the user's message that cannot be used.

    Raises:
        TemplateError: it cannot be read, has no use for a text, or reads what is not there.
    """
    prompt = _read(source, "The user's message of prompt=", "user")
    known = [*texts, *facts]
    for name in prompt.columns:
        if name not in known:
            raise TemplateError(
                f"The user's message of prompt= reads {name!r}; it has {listed(known)}.{near(str(name), known)} "
                "Further columns go into the text, which may be a template."
            )
    for name in texts:
        if name not in prompt.columns:
            raise TemplateError(f"The user's message of prompt= does not read {name!r}; put {{{{ {name} }}}} into it.")


def _read(source: str, called: str, role: str) -> Prompt:
    try:
        return Prompt(Recipe((Message(role, source),), "render"))
    except TemplateError as error:
        raise TemplateError(f"{called}: {error}") from error


def _check_text(option: str, text: str, columns: Sequence[Hashable]) -> None:
    try:
        prompt = Prompt(recipe_of(text))
    except TemplateError as error:
        raise TemplateError(f"{option}= is no column, and as a template: {error}") from error
    if not prompt.columns:
        names = list(map(str, columns))
        raise TemplateError(
            f"{option}={text[:80]!r} is no column and a template that reads none; the frame has "
            f"{listed(names) or 'no columns'}.{near(text, names)}"
        )
    check_columns(prompt.columns, columns, of=f"{option}=")


def literal(value: Plain) -> str:
    """Return the value as it is written in a template, in plain ASCII."""
    if isinstance(value, str):
        return '"' + value.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(name)}: {literal(item)}' for name, item in value.items())}}}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
