"""Prefixes: what all prompts of a frame begin with, the key it is kept under at the provider, and whether it was.

A provider keeps the beginning of a prompt for some minutes, and reads it for less when another prompt begins exactly
alike: from 1,024 tokens on, in steps of 128. What comes first is the schema, then the messages in their order; one
value of a row ends the prefix, whatever stands behind it.

Source: https://platform.openai.com/docs/guides/prompt-caching.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from dfllm._core.keys import canonical
from dfllm._core.types import Messages, Terms

#: A shorter prefix is not kept.
LEAST_TOKENS = 1_024

_BYTES_A_TOKEN = 4
#: A key is sent from here on, guessed high; advice is given by the usual guess. Below there is nothing to be kept.
_DENSEST_BYTES_A_TOKEN = 3
#: So many answers are needed before they say anything: the first of a run find nothing kept.
_ENOUGH = 50
_KEPT_SHARE = 0.5


class Shared(NamedTuple):
    """What all prompts of a frame share, in tokens as they are guessed: one for four bytes.

    Attributes:
        prefix_tokens: what every prompt begins with.
        fixed_tokens: that, and what is the same in every prompt but stands behind a value of its row.
    """

    prefix_tokens: int
    fixed_tokens: int


NOTHING = Shared(0, 0)


def shared_of(terms: Terms, prefix: Messages, fixed_bytes: int) -> Shared:
    """Return what prompts share that begin with this prefix and have so many bytes of fixed text in all."""
    first = _size(terms, ())
    return Shared(_size(terms, prefix) // _BYTES_A_TOKEN, (first + fixed_bytes) // _BYTES_A_TOKEN)


def prompt_cache_key(terms: Terms, prefix: Messages) -> str | None:
    """Return the key under which a provider is to keep this prefix; None where it is too short to be kept.

    It depends on what a prefix is read by, which is the model, the schema, the tools, whatever `extra` holds, and the
    messages. So all rows of a frame have one key, other runs of the same prompt have it too, and temperature or
    another length of answer do not part them.
    """
    if _size(terms, prefix) < LEAST_TOKENS * _DENSEST_BYTES_A_TOKEN:
        return None
    read = [terms.model, terms.schema, terms.extra, [[message.role, message.content] for message in prefix]]
    read += [terms.tools] if terms.tools is not None else []
    return f"dfllm-{hashlib.sha256(canonical(read).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def advice(shared: Shared, answers: int, tokens_in: int, tokens_cached: int) -> str | None:
    """Return what is to be said of a run whose prompts share much and were read for the full price all the same.

    Args:
        shared: what they share.
        answers: how many were paid.
        tokens_in: their input tokens.
        tokens_cached: those of them that the provider had kept.
    """
    if answers < _ENOUGH:
        return None
    each = min(shared.fixed_tokens, tokens_in // answers)  # a guess is no more than what was billed
    share = tokens_cached / (each * answers) if each else 1.0
    if each <= LEAST_TOKENS or share >= _KEPT_SHARE:
        return None
    said = f"About {each:,} tokens are the same in every prompt, and {share:.0%} of them were read at the lower price."
    if shared.prefix_tokens < _KEPT_SHARE * shared.fixed_tokens:
        said += (
            f" A provider keeps what prompts begin with, which here is {shared.prefix_tokens:,} tokens: put what all "
            "rows share first in the template, or into system=, and the values of the row last."
        )
    else:
        said += (
            " They do come first, so the provider did not keep them: not every model does, and one that is asked very "
            "fast spreads requests over machines that each read them anew. Fewer in flight may be cheaper, with "
            "limits=Limits(concurrency=...)."
        )
    return said


def _size(terms: Terms, prefix: Messages) -> int:
    """Return the bytes that are read before anything of a row is."""
    texts = [terms.schema or "", terms.tools or "", *(message.content for message in prefix)]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
