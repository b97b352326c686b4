"""Words that a provider wrote, made fit for a line of log: bounded in number and length, with plain characters only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

MOST_WORDS = 40
LONGEST_WORD = 100
# No comma, quote or blank: one name cannot pass for two, or for a sentence of ours.
_OTHER = re.compile(r"[^A-Za-z0-9_.:/~@#$+*=-]")


def listed(words: Iterable[object]) -> str:
    """For names of claims and audiences; never for what a claim says of a person."""
    found = list(islice(words, MOST_WORDS + 1))
    shown = [_OTHER.sub("?", str(word)[:LONGEST_WORD]) for word in found[:MOST_WORDS]]
    return ", ".join([*shown, "and more"] if len(found) > MOST_WORDS else shown) or "none"
