"""The one-word helpers of a frame: questions that are asked so often that they have a name.

Each is `complete` with a prompt of `dfllm.prompts` and an answer of a known form. What a verb does not decide, its
options, is as `complete` has it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack, cast

import pandas as pd

from dfllm import prompts
from dfllm._core.tasks import INTO, Task
from dfllm._doors import doors_of, spelled_out
from dfllm._options import Options
from dfllm._several import call_of
from dfllm.prompts import Worded
from dfllm.report import remember

#: Options of `complete` that a verb decides by itself.
DECIDED = ("schema", "system", "messages", "tools", "tool_choice")


class Classify(Options, total=False):
    """The options of `classify`."""

    multi: bool
    descriptions: Mapping[str, str] | None
    prompt: Worded | None


class Extract(Options, total=False):
    """The options of `extract`."""

    instructions: str | None
    prompt: Worded | None


class Summarize(Options, total=False):
    """The options of `summarize`."""

    words: int | None
    sentences: int | None
    style: str | None
    language: str | None
    prompt: Worded | None


class Translate(Options, total=False):
    """The options of `translate`."""

    source: str | None
    glossary: Mapping[str, str] | None
    prompt: Worded | None


class Score(Options, total=False):
    """The options of `score`."""

    low: int
    high: int
    reason: bool
    prompt: Worded | None


class Judge(Options, total=False):
    """The options of `judge`."""

    prompt: Worded | None


class Verbs:
    """The verbs of a frame; `DataFrameLLM` has them."""

    _frame: pd.DataFrame

    def classify(self, text: str, labels: Sequence[str], **options: Unpack[Classify]) -> pd.DataFrame:
        """Label each row's text.

        Args:
            text: a column, or a template that reads columns, as in ``"{{ title }}: {{ body }}"``. What is exactly the
                name of a column means that column. So it is in all verbs.
            labels: two or more texts. Their order is no part of the question. Say ``"other"`` if nothing may fit:
                without it the nearest label is given.
            multi: whether a text may have several labels, or none.
            descriptions: what labels mean, by label.
            prompt: a changed `dfllm.prompts.CLASSIFY`, or a template or a path to one.
            into: name of the new column, ``"label"``; errors go to ``f"{into}_error"``.
            options: as `complete` has them, but for `schema`, `system`, `messages` and `tools`, which a verb decides.

        Returns:
            A new frame as `complete` gives it; `into` holds one of the labels or, with `multi`, a JSON list of them in
            the order of `labels`, each once.

        Raises:
            OptionError: an option does not fit. Nothing was sent.
            TemplateError: a text is neither a column nor a template that reads one. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["Great tent!", "It leaks, terrible."]})
            >>> df.llm.classify("review", ["good", "bad"], model="simulator/small")["label"].tolist()
            ['good', 'bad']
        """
        return run(self._frame, *split(prompts.classify, (text, labels), options))

    def extract(self, text: str, fields: Any, **options: Unpack[Extract]) -> pd.DataFrame:
        """Take fields out of each row's text.

        Args:
            text: a column, or a template that reads columns.
            fields: a mapping from a field's name to its type, to what it means (which then is text), or to both, as in
                ``{"price": (float, "in euros")}``; a list of texts in the place of a type is a choice of them. Each
                may be null. Or a pydantic model or a JSON schema, whose fields may be null where it says so.
            instructions: what else is to be said about how to extract.
            prompt: a changed `dfllm.prompts.EXTRACT`, or a template or a path to one.
            into: what the new columns begin with, ``"extracted"``.
            options: as `classify`.

        Returns:
            A new frame as `complete` gives it, with one column ``f"{into}_{field}"`` for each field, missing where the
            text does not give it.

        Raises:
            OptionError: an option does not fit. Nothing was sent.
            TemplateError: a text is neither a column nor a template that reads one. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["Bought two tents for 180 euros."]})
            >>> out = df.llm.extract("review", {"price": (float, "in euros"), "what": "what it is about"},
            ...                      model="simulator/small")
            >>> list(out.columns)
            ['review', 'extracted_price', 'extracted_what', 'extracted_error']
        """
        return run(self._frame, *split(prompts.extract, (text, fields), options))

    def summarize(self, text: str, **options: Unpack[Summarize]) -> pd.DataFrame:
        """Say each row's text in fewer words.

        Args:
            text: a column, or a template that reads columns.
            words: how many at most. It is asked for, not enforced.
            sentences: the same in sentences.
            style: what it is to be like, as in ``"a headline"``.
            language: what it is written in; None is the language of the text.
            prompt: a changed `dfllm.prompts.SUMMARIZE`, or a template or a path to one.
            into: name of the new column, ``"summary"``.
            options: as `classify`.

        Returns:
            A new frame as `complete` gives it.

        Raises:
            OptionError: an option does not fit. Nothing was sent.
            TemplateError: a text is neither a column nor a template that reads one. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["Went up in six minutes, without instructions."]})
            >>> out = df.llm.summarize("review", words=5, model="simulator/small")
            >>> list(out.columns)
            ['review', 'summary', 'summary_error']
        """
        return run(self._frame, *split(prompts.summarize, (text,), options))

    def translate(self, text: str, to: str, **options: Unpack[Translate]) -> pd.DataFrame:
        """Translate each row's text.

        Args:
            text: a column, or a template that reads columns.
            to: the language, as in ``"German"``.
            source: the language of the texts; None leaves it open, row by row.
            glossary: how terms are translated, by term.
            prompt: a changed `dfllm.prompts.TRANSLATE`, or a template or a path to one.
            into: name of the new column, ``"translation"``.
            options: as `classify`.

        Returns:
            A new frame as `complete` gives it.

        Raises:
            OptionError: an option does not fit. Nothing was sent.
            TemplateError: a text is neither a column nor a template that reads one. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["Went up in six minutes."]})
            >>> out = df.llm.translate("review", to="German", glossary={"tent": "Zelt"}, model="simulator/small")
            >>> list(out.columns)
            ['review', 'translation', 'translation_error']
        """
        return run(self._frame, *split(prompts.translate, (text, to), options))

    def score(self, text: str, criteria: str, **options: Unpack[Score]) -> pd.DataFrame:
        """Rate each row's text with a whole number.

        Args:
            text: a column, or a template that reads columns.
            criteria: what makes a text score high, and what the numbers stand for if that is not plain.
            low: the lowest score.
            high: the highest. A number out of these bounds is asked for once more, and else ``InvalidOutput``.
            reason: whether a reason is asked for, in one sentence, which stands before the score in the answer and in
                the column ``f"{into}_reason"``.
            prompt: a changed `dfllm.prompts.SCORE`, or a template or a path to one.
            into: name of the new column, ``"score"``.
            options: as `classify`.

        Returns:
            A new frame as `complete` gives it; `into` is ``Int64``.

        Raises:
            OptionError: an option does not fit. Nothing was sent.
            TemplateError: a text is neither a column nor a template that reads one. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"review": ["Great tent!"]})
            >>> out = df.llm.score("review", "How useful is it to others?", low=0, high=10, model="simulator/small")
            >>> out["score"].between(0, 10).all(), out["score"].dtype
            (np.True_, Int64Dtype())
        """
        return run(self._frame, *split(prompts.score, (text, criteria), options))

    def judge(self, a: str, b: str, criteria: str, **options: Unpack[Judge]) -> pd.DataFrame:
        """Say which of two texts of each row is better.

        Models lean towards what stands first. So each row is asked twice, in both orders, and only what wins in both is
        the winner. That costs two requests a row, which `plan` counts. They are one run: one report and one budget.

        Args:
            a: a column, or a template that reads columns.
            b: another one.
            criteria: what makes a text the better one.
            prompt: a changed `dfllm.prompts.JUDGE`, or a template or a path to one.
            into: name of the new column, ``"winner"``.
            options: as `classify`.

        Returns:
            A new frame as `complete` gives it; `into` holds ``"a"``, ``"b"``, or ``"tie"`` where the two orders do not
            agree or both say so. A row where either order failed has its error. With ``details=True`` tokens, cost and
            seconds are those of both; the key is that of the order in which `a` stands first.

        Raises:
            OptionError: an option does not fit, or `a` and `b` are the same. Nothing was sent.
            TemplateError: a text is neither a column nor a template that reads one. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"old": ["Hi."], "new": ["Good morning!"]})
            >>> out = df.llm.judge("old", "new", "Which greeting is politer?", model="simulator/small")
            >>> out["winner"].isin(["a", "b", "tie"]).all(), dfllm.last_run().to_dict()["requests"]
            (np.True_, 2)
        """
        return run(self._frame, *split(prompts.judge, (a, b, criteria), options))

    async def aclassify(self, text: str, labels: Sequence[str], **options: Unpack[Classify]) -> pd.DataFrame:
        """Do as `classify` does, awaited from any event loop.

        Returns:
            As `classify`.
        """
        return await arun(self._frame, *split(prompts.classify, (text, labels), options))

    async def aextract(self, text: str, fields: Any, **options: Unpack[Extract]) -> pd.DataFrame:
        """Do as `extract` does, awaited from any event loop.

        Returns:
            As `extract`.
        """
        return await arun(self._frame, *split(prompts.extract, (text, fields), options))

    async def asummarize(self, text: str, **options: Unpack[Summarize]) -> pd.DataFrame:
        """Do as `summarize` does, awaited from any event loop.

        Returns:
            As `summarize`.
        """
        return await arun(self._frame, *split(prompts.summarize, (text,), options))

    async def atranslate(self, text: str, to: str, **options: Unpack[Translate]) -> pd.DataFrame:
        """Do as `translate` does, awaited from any event loop.

        Returns:
            As `translate`.
        """
        return await arun(self._frame, *split(prompts.translate, (text, to), options))

    async def ascore(self, text: str, criteria: str, **options: Unpack[Score]) -> pd.DataFrame:
        """Do as `score` does, awaited from any event loop.

        Returns:
            As `score`.
        """
        return await arun(self._frame, *split(prompts.score, (text, criteria), options))

    async def ajudge(self, a: str, b: str, criteria: str, **options: Unpack[Judge]) -> pd.DataFrame:
        """Do as `judge` does, awaited from any event loop.

        Returns:
            As `judge`.
        """
        return await arun(self._frame, *split(prompts.judge, (a, b, criteria), options))


def split(make: Callable[..., Task], arguments: Sequence[Any], options: Mapping[str, Any]) -> tuple[Task, Options]:
    """Return the question that a verb's own arguments and options make, and the options that remain."""
    own = inspect.signature(make).parameters
    task = make(*arguments, **{name: value for name, value in options.items() if name in own})
    rest = {name: value for name, value in options.items() if name not in own}
    return task, cast("Options", {"into": task.into, **rest})


def run(frame: pd.DataFrame, task: Task, options: Options) -> pd.DataFrame:
    """Ask, wait, and return the frame."""
    work = call_of(frame, task, options)
    ending = work.run()
    remember(ending)
    return work.conclude(ending)


async def arun(frame: pd.DataFrame, task: Task, options: Options) -> pd.DataFrame:
    """Do as `run` does, awaited from any event loop."""
    work = call_of(frame, task, options)
    ending, cancelled = await work.arun()
    remember(ending)
    if cancelled is not None:
        raise cancelled
    return work.conclude(ending)


def spell_out(owner: type, whole: inspect.Signature) -> None:
    """Give every verb the signature it really has, for help, tab completion and a good word on a misspelt option.

    Args:
        owner: the class whose verbs they are.
        whole: the signature of `complete`, which has the options that all share.
    """
    for name, door in doors_of(owner):
        verb = name if name in INTO else name[1:]
        setattr(owner, name, spelled_out(door, _signature(door, verb, whole), DECIDED))


def _signature(door: Callable[..., Any], verb: str, whole: inspect.Signature) -> inspect.Signature:
    found = inspect.signature(door)
    said = [one for one in found.parameters.values() if one.kind is not one.VAR_KEYWORD]
    own = inspect.signature(getattr(prompts, verb)).parameters.values()
    named = {one.name for one in said}
    said += [one for one in own if one.kind is one.KEYWORD_ONLY and one.name not in named]
    for one in whole.parameters.values():
        if one.kind is one.KEYWORD_ONLY and one.name not in DECIDED:
            said.append(one.replace(default=INTO[verb]) if one.name == "into" else one)
    return inspect.Signature(said, return_annotation=found.return_annotation)
