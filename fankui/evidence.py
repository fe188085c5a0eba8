"""Which passages of a text state a label: clauses by the shares that their tokens have in the label's logit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fankui.decisions import Floats
from fankui.tags import Evidence
from fankui.text import Normalised, encodable, split_clauses

_SECOND = 0.6
"""A further clause is evidence too when its share is at least so much of the strongest clause's."""
_MOST = 3


def clause_shares(clauses: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]], shares: Floats) -> Floats:
    """Sums of token shares per clause, (clauses, labels).

    offsets: (start, end) of each token in the normalised text; shares: (tokens, labels). A token belongs to the
    clause in which it ends; tokens between clauses (punctuation) to none.
    """
    starts = np.array([start for start, _ in clauses])
    ends = np.array([end for _, end in clauses])
    last = np.array([max(end - 1, 0) for _, end in offsets])
    index = np.searchsorted(starts, last, side="right") - 1
    inside = (index >= 0) & (last < ends[index.clip(0)]) & np.array([end > start for start, end in offsets])
    sums = np.zeros((len(clauses), shares.shape[1]), np.float32)
    np.add.at(sums, index[inside], shares[: len(offsets)][inside])
    return sums


def passages(
    text: str, normalised: Normalised, offsets: Sequence[tuple[int, int]], shares: Floats
) -> list[tuple[Evidence, ...]]:
    """For each label (column of shares) the clauses that state it, strongest first, as spans of the text as sent.

    A label that no clause speaks for gets none.
    """
    clauses = split_clauses(normalised.text)
    if not clauses:
        return [() for _ in range(shares.shape[1])]
    found: list[tuple[Evidence, ...]] = []
    for column in clause_shares(clauses, offsets, shares).T:
        order = np.argsort(-column)[:_MOST]
        kept = [i for i in order if column[i] > 0 and column[i] >= _SECOND * column[order[0]]]
        spans = [normalised.original(*clauses[i]) for i in kept]
        found.append(tuple(Evidence(start=start, end=end, text=encodable(text[start:end])) for start, end in spans))
    return found
