"""The one-word helpers of a series, whose values are the texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import pandas as pd

from dfllm import prompts
from dfllm._core.errors import OptionError
from dfllm._verbs import Classify, Extract, Judge, Score, Summarize, Translate, arun, run, split

#: The columns of the frame that is made of a series, and of the one beside it.
_VALUE, _OTHER = "value", "other"


class SeriesVerbs:
    """The verbs of a series; `SeriesLLM` has them."""

    _frame: pd.DataFrame

    def classify(self, labels: Sequence[str], **options: Unpack[Classify]) -> pd.DataFrame:
        """Label each value; options as `DataFrameLLM.classify`.

        Returns:
            A frame with the series' index and only the new columns.

        Example:
            >>> import pandas as pd, dfllm
            >>> pd.Series(["Great tent!"]).llm.classify(["good", "bad"], model="simulator/small")["label"].tolist()
            ['good']
        """
        return _new(run(self._frame, *split(prompts.classify, (_VALUE, labels), options)))

    def extract(self, fields: Any, **options: Unpack[Extract]) -> pd.DataFrame:
        """Take fields out of each value; options as `DataFrameLLM.extract`.

        Returns:
            A frame with the series' index and only the new columns.
        """
        return _new(run(self._frame, *split(prompts.extract, (_VALUE, fields), options)))

    def summarize(self, **options: Unpack[Summarize]) -> pd.DataFrame:
        """Say each value in fewer words; options as `DataFrameLLM.summarize`.

        Returns:
            A frame with the series' index and only the new columns.
        """
        return _new(run(self._frame, *split(prompts.summarize, (_VALUE,), options)))

    def translate(self, to: str, **options: Unpack[Translate]) -> pd.DataFrame:
        """Translate each value; options as `DataFrameLLM.translate`.

        Returns:
            A frame with the series' index and only the new columns.
        """
        return _new(run(self._frame, *split(prompts.translate, (_VALUE, to), options)))

    def score(self, criteria: str, **options: Unpack[Score]) -> pd.DataFrame:
        """Rate each value with a whole number; options as `DataFrameLLM.score`.

        Returns:
            A frame with the series' index and only the new columns.
        """
        return _new(run(self._frame, *split(prompts.score, (_VALUE, criteria), options)))

    def judge(self, other: pd.Series[Any], criteria: str, **options: Unpack[Judge]) -> pd.DataFrame:
        """Say which is better, each value (``"a"``) or that of another series (``"b"``); see `DataFrameLLM.judge`.

        Args:
            other: a series with the same index.
            criteria: what makes a text the better one.
            options: as `DataFrameLLM.judge`.

        Returns:
            A frame with the series' index and only the new columns.

        Raises:
            OptionError: the two indexes are not the same. Nothing was sent.

        Example:
            >>> import pandas as pd, dfllm
            >>> old, new = pd.Series(["Hi."]), pd.Series(["Good morning!"])
            >>> list(old.llm.judge(new, "Which is politer?", model="simulator/small").columns)
            ['winner', 'winner_error']
        """
        return _new(run(self._beside(other), *split(prompts.judge, (_VALUE, _OTHER, criteria), options)))

    async def aclassify(self, labels: Sequence[str], **options: Unpack[Classify]) -> pd.DataFrame:
        """Do as `classify` does, awaited from any event loop.

        Returns:
            As `classify`.
        """
        return _new(await arun(self._frame, *split(prompts.classify, (_VALUE, labels), options)))

    async def aextract(self, fields: Any, **options: Unpack[Extract]) -> pd.DataFrame:
        """Do as `extract` does, awaited from any event loop.

        Returns:
            As `extract`.
        """
        return _new(await arun(self._frame, *split(prompts.extract, (_VALUE, fields), options)))

    async def asummarize(self, **options: Unpack[Summarize]) -> pd.DataFrame:
        """Do as `summarize` does, awaited from any event loop.

        Returns:
            As `summarize`.
        """
        return _new(await arun(self._frame, *split(prompts.summarize, (_VALUE,), options)))

    async def atranslate(self, to: str, **options: Unpack[Translate]) -> pd.DataFrame:
        """Do as `translate` does, awaited from any event loop.

        Returns:
            As `translate`.
        """
        return _new(await arun(self._frame, *split(prompts.translate, (_VALUE, to), options)))

    async def ascore(self, criteria: str, **options: Unpack[Score]) -> pd.DataFrame:
        """Do as `score` does, awaited from any event loop.

        Returns:
            As `score`.
        """
        return _new(await arun(self._frame, *split(prompts.score, (_VALUE, criteria), options)))

    async def ajudge(self, other: pd.Series[Any], criteria: str, **options: Unpack[Judge]) -> pd.DataFrame:
        """Do as `judge` does, awaited from any event loop.

        Returns:
            As `judge`.
        """
        return _new(await arun(self._beside(other), *split(prompts.judge, (_VALUE, _OTHER, criteria), options)))

    def _beside(self, other: pd.Series[Any]) -> pd.DataFrame:
        """Return the frame with another series' values beside its own."""
        if not isinstance(other, pd.Series):
            raise OptionError(f"judge() takes another series to compare with; found {type(other).__name__}.")
        if not self._frame.index.equals(other.index):
            raise OptionError("judge() takes a series with the same index, label by label; reindex one of them.")
        beside = self._frame.assign()
        beside[_OTHER] = other.array
        return beside


def _new(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[_VALUE, _OTHER], errors="ignore")
