"""What goes wrong, and for whom: a pure function of the request's hash, its attempt and a seed.

Timing plays no part, so a schedule of faults is the same however the requests are sent. What a fault looks like on
the wire is for the dialects to say.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from . import luck
from .vector_faults import VECTOR_FAULTS

FAULTS: Mapping[str, str] = {
    # Refused, free.
    "rate429": "429 rate_limit_exceeded, with retry-after and retry-after-ms",
    "day429": "429 rate_limit_exceeded for the day: retry-after is 20 hours",
    "ra_date": "429, retry-after is an HTTP date",
    "ra_skew": "429, retry-after is an HTTP date by a server clock that is an hour ahead, as its Date header is",
    "ra_past": "429, retry-after is a date an hour ago",
    "ra_junk": "429, retry-after is the word 'soon'",
    "ra_huge": "429, retry-after is 99999999999",
    "ra_negative": "429, retry-after is -5",
    "ra_nan": "429, retry-after is nan",
    "quota": "429 insufficient_quota: the money is gone",
    "quota402": "402: the money is gone, said otherwise",
    "credit400": "400: the credit balance is too low",
    "gemini429": "429 RESOURCE_EXHAUSTED as Google's: it speaks of a quota, and its details of a wait",
    "gemini_day429": "the same for the day",
    "400": "400 unsupported_value: a parameter the model does not take",
    "401": "401 invalid_api_key",
    "403": "403 unsupported_country_region_territory",
    "404": "404 model_not_found",
    "408": "408 request timeout",
    "409": "409 conflict",
    "413": "413 request too large",
    "ctx": "400 context_length_exceeded",
    "policy400": "400 content_policy_violation",
    "500": "500 server_error",
    "502": "502 server_error",
    "503": "503 overloaded",
    "504": "504 gateway timeout",
    "529": "529 overloaded_error",
    "5xx": "one of 500, 502 and 503, by the request's hash",
    "slowdown": "503 Slow Down",
    "html": "503 with an HTML page",
    "5xx_html": "the same as html",
    "xsr_false": "500 with x-should-retry: false",
    "xsr_true": "400 with x-should-retry: true",
    "redirect": "307 to another place",
    # The connection.
    "drop_before": "the connection is reset before any byte of the answer; free",
    "drop_before_billed": "the same, but billed",
    "drop_mid": "half of the body, then the end of the connection; billed",
    "reset_mid": "half of the body, then a reset; billed",
    "chunk_cut": "half of a chunked body, then the end of the connection; billed",
    "stall": "the whole answer, but only after stall_seconds; billed",
    "drip": "the whole answer, dripping in over stall_seconds; billed",
    "stale": "a good answer, after which the kept connection is closed; billed",
    "frame": "a good answer, and the same again behind it on the same connection; billed",
    # Status 200 that is no answer; billed, save html200, err200 and failed200.
    "html200": "200 with an HTML page; free",
    "err200": "200 with an error object and no choices; free",
    "failed200": "200 with a body of the Responses API whose status is failed; free",
    "trunc_json": "200 with half of the JSON",
    "empty": "choices are an empty list, with usage",
    "nochoices": "choices are null, without usage",
    "blank": "the content is an empty text",
    "refusal": "the message is a refusal, its content null",
    "filter": "finish_reason is content_filter, the content null",
    "length": "finish_reason is length, the text half",
    "think_out": "finish_reason is length, no text: all tokens were reasoning",
    "prose": "prose, whatever was asked for",
    "fenced": "the good answer, inside a Markdown fence and some talk",
    "badshape": "JSON of another shape than asked for",
    "weirdjson": "JSON with NaN and a name that comes twice",
    "fncall": "a function call instead of a text",
    "badargs": "a function call whose arguments are half of their JSON",
    "nousage": "a good answer without usage",
    "othermodel": "a good answer by another model",
    "surrogate": "a text with a lone surrogate",
    "xss": "a text of markup, formulas and terminal codes",
    "sse_err": "a stream that nobody asked for, with an error in it",
    "bomb": "a gzip body of more than 64 MiB unpacked",
}

_ALWAYS = 1 << 62


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, how often, and for how long.

    Attributes:
        rates: fault to the share of request hashes that suffer it, at most one fault for each hash.
        by_text: a text to the fault of requests whose last user message contains it, first match first. A plain name
            strikes every time; ``"drop_mid*2"`` only the first two attempts of each hash. Goes before ``rates``.
        attempts: how many attempts of a hash suffer its fault by ``rates``; a large number means for good.
        seed: another seed, other hashes suffer.
        retry_after_seconds: the wait that a rate limit asks for.
        stall_seconds: how long a stalled answer keeps its client waiting.
        redirect_to: where a redirect points.

    Raises:
        ValueError: no fault has that name, or the rates are no shares of one whole.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    by_text: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 1
    seed: int = 0
    retry_after_seconds: float = 0.05
    stall_seconds: float = 30.0
    redirect_to: str = "http://127.0.0.1:9/elsewhere"

    def __post_init__(self) -> None:
        _check_names([*self.rates, *(_parsed(fault)[0] for fault in self.by_text.values())])
        if any(not 0 <= rate <= 1 for rate in self.rates.values()) or sum(self.rates.values()) > 1 + 1e-9:
            raise ValueError(
                f"Rates are shares from 0 to 1 that add up to at most 1; these are {dict(self.rates)}. Lower them."
            )

    def choose(self, request_hash: str, attempt: int, text: str) -> str | None:
        """Name the fault of one attempt, counted from 1; None if all goes well."""
        for part, fault in self.by_text.items():
            name, strikes = _parsed(fault)
            if part in text and attempt <= strikes:
                return name
        if not self.rates or attempt > self.attempts:
            return None
        place = luck.share(self.seed, request_hash, "fault")
        for name, rate in self.rates.items():
            if place < rate:
                return name
            place -= rate
        return None


def _parsed(fault: str) -> tuple[str, int]:
    name, star, times = fault.partition("*")
    if star and not times.isdecimal():
        raise ValueError(f"{fault!r} is no fault: after the star comes the number of attempts, as in 'drop_mid*2'.")
    return name, int(times) if star else _ALWAYS


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if name not in FAULTS and name not in VECTOR_FAULTS:
            near = difflib.get_close_matches(name, [*FAULTS, *VECTOR_FAULTS], n=3)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are {', '.join(FAULTS)}."
            raise ValueError(f"There is no fault called {name!r}. {hint}")


NO_FAULTS = Faults()
