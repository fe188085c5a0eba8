"""New texts for a student to learn from: parts of known ones, and parts of two put together.

A teacher has learnt its training texts by heart, and says little more of them than their labels do. How sure it is,
and between what it wavers, shows on texts that it has never seen (Hinton et al. 2015).
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

_CLAUSE = re.compile(r"[^,。!?;、\n~]+[,。!?;、\n~]*")
_LEAST, _MOST = 4, 240
"""Characters of a new text."""


def fragments(
    texts: Sequence[str], domains: Sequence[str], *, without: Collection[str], seed: int
) -> Iterator[tuple[str, str]]:
    """New texts and their domains, one for each given text that yields any; all texts normalised (`fankui.text`).

    Each has some of a text's clauses, or clauses of two texts of one domain; none is in `without`, none comes twice.
    """
    chance = random.Random(seed)
    clauses = [_CLAUSE.findall(text) for text in texts]
    alike: dict[str, list[int]] = defaultdict(list)
    for position, domain in enumerate(domains):
        alike[domain].append(position)
    seen = {*texts, *without}
    for own, domain in zip(clauses, domains, strict=True):
        other = clauses[chance.choice(alike[domain])]
        made = chance.choice(
            (_stretch(own, chance), _thinned(own, chance), _stretch(own, chance) + _stretch(other, chance))
        )
        text = "".join(made)[:_MOST].strip()
        if len(text) >= _LEAST and text not in seen:
            seen.add(text)
            yield text, domain


def _stretch(clauses: Sequence[str], chance: random.Random) -> list[str]:
    """A third to nine tenths of the clauses, in a row."""
    size = max(1, round(len(clauses) * chance.uniform(0.33, 0.9)))
    first = chance.randint(0, max(0, len(clauses) - size))
    return list(clauses[first : first + size])


def _thinned(clauses: Sequence[str], chance: random.Random) -> list[str]:
    """About seven of ten clauses, in their order."""
    return [clause for clause in clauses if chance.random() < 0.7]
