"""Handling errors in an agent's draft reply: what had better not be said, where it stands, how to put it instead.

The kinds of error follow the training literature on complaint handling; their wording lives in `replies.yaml`.
Only Chinese is checked.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fankui.errors import FankuiError, describe
from fankui.taxonomy import Bilingual
from fankui.text import encodable, normalise

Severity = Literal["stop", "warn"]
NEVER_SAY = "never_say"

# Characters that mean the same to every rule; one for one, so that positions stay.
_FOLD = str.maketrans({"您": "你", "妳": "你", "咱": "我"})
_SENTENCE_END = re.compile(r"[。!?;]")
_CLAUSE_END = re.compile(r"[,。!?;:]")
_PUNCTUATION = ",。!?;: "
_QUOTED = re.compile(r"“[^“”]{1,60}”|「[^「」]{1,60}」|『[^『』]{1,60}』|\"[^\"]{1,60}\"")
_SURROUNDINGS = 60
"""Characters of a sentence that are looked at on either side of a match: endless sentences must not cost time."""

_NAME = re.compile(r"(?<!\(\?)<(\w+)>")
_UNBOUNDED = re.compile(r"(?<!\\)[*+]|\{\d*,\}")

_SAME_WORDS = 0.72
"""A passage repeats a phrase when it has so much of the phrase's pairs of characters: 8 of 11, 3 of 4."""
_NEGATORS = "不没别未无"
_PERSONS = "你我"


class ReplyRulesError(FankuiError):
    """The file of reply rules is missing, unreadable or inconsistent."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """One passage of a draft that had better not be sent; `end` is exclusive, both count characters as sent.

    `severity` is "stop" for what hurts the customer and "warn" for what may be meant well.
    """

    kind: str
    start: int = Field(ge=0)
    end: int = Field(ge=1)
    text: str
    why: Bilingual
    better: Bilingual
    severity: Severity


class Rule(_Frozen):
    """One way of making an error. A match is dropped when `unless` is found in the same sentence."""

    pattern: str = Field(min_length=1)
    unless: str | None = Field(default=None, min_length=1)
    better: Bilingual


class ErrorKind(_Frozen):
    """A kind of handling error. It is not looked for in a draft that has `unless` anywhere."""

    id: str = Field(pattern=r"^[a-z][a-z_]*$")
    severity: Severity
    name: Bilingual
    why: Bilingual
    unless: str | None = Field(default=None, min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=2)


class RepeatedPhrase(_Frozen):
    """What is said of a draft that repeats a phrase which the causes of its ticket forbid."""

    severity: Severity
    name: Bilingual
    why: Bilingual
    better: Bilingual


class Reported(_Frozen):
    """Patterns for words right before or right after a match that show it is quoted or denied, not meant."""

    before: str = Field(min_length=1)
    after: str = Field(min_length=1)


class RuleBook(_Frozen):
    """The content of a rules file. `<name>` in a pattern stands for the entry of `words`."""

    version: str = Field(min_length=1)
    words: dict[str, str]
    reported: Reported
    never_say: RepeatedPhrase
    kinds: tuple[ErrorKind, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> RuleBook:
        ids = [NEVER_SAY, *(kind.id for kind in self.kinds)]
        twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
        if twice:
            raise ValueError(f"the kind {twice[0]!r} is used twice")
        return self


class _Match(NamedTuple):
    start: int
    end: int
    better: Bilingual


class _Compiler:
    """Patterns of a rule book, with the words that they name put in."""

    def __init__(self, words: dict[str, str]) -> None:
        self._words: dict[str, str] = {}
        for name, pattern in words.items():
            self._words[name] = f"(?:{self._bounded(pattern, f'words.{name}').pattern})"

    def compile(self, pattern: str, where: str) -> re.Pattern[str]:
        """Raises ReplyRulesError naming `where` for a pattern that is broken, unbounded or matches the empty text."""
        compiled = self._bounded(pattern, where)
        if compiled.search(""):
            raise ReplyRulesError(f"{where}: {pattern!r} matches the empty text; make some part of it required.")
        return compiled

    def _bounded(self, pattern: str, where: str) -> re.Pattern[str]:
        if _UNBOUNDED.search(pattern):
            raise ReplyRulesError(f"{where}: {pattern!r} repeats without bound; write {{0,n}} instead of * and +.")
        try:
            return re.compile(self._expand(pattern, where))
        except re.error as error:
            raise ReplyRulesError(f"{where}: {pattern!r} is not a regular expression ({error}).") from error

    def _expand(self, pattern: str, where: str) -> str:
        def put_in(name: re.Match[str]) -> str:
            try:
                return self._words[name[1]]
            except KeyError:
                known = ", ".join(self._words) or "none"
                raise ReplyRulesError(f"{where}: <{name[1]}> is not among the words above it ({known}).") from None

        return _NAME.sub(put_in, pattern)


class _CompiledKind:
    def __init__(self, kind: ErrorKind, compiler: _Compiler) -> None:
        def optional(pattern: str | None, where: str) -> re.Pattern[str] | None:
            return compiler.compile(pattern, where) if pattern else None

        self.kind = kind
        self.unless = optional(kind.unless, f"kinds.{kind.id}.unless")
        self.rules = [
            (
                compiler.compile(rule.pattern, f"kinds.{kind.id}.rules.{number}.pattern"),
                optional(rule.unless, f"kinds.{kind.id}.rules.{number}.unless"),
                rule.better,
            )
            for number, rule in enumerate(kind.rules)
        ]

    def matches(self, read: str) -> Iterator[_Match]:
        if self.unless and self.unless.search(read):
            return
        for pattern, unless, better in self.rules:
            for match in pattern.finditer(read):
                if not (unless and unless.search(_sentence(read, *match.span()))):
                    passage = match[0].rstrip(_PUNCTUATION) or match[0]
                    yield _Match(match.start(), match.start() + len(passage), better)


class ReplyRules:
    """The rules of one book, ready to check drafts. Immutable, hence thread-safe."""

    def __init__(self, book: RuleBook) -> None:
        """Raises ReplyRulesError for a pattern that cannot be used."""
        compiler = _Compiler(book.words)
        self.book = book
        self._before = compiler.compile(f"(?:{book.reported.before})$", "reported.before")
        self._after = compiler.compile(book.reported.after, "reported.after")
        self._kinds = [_CompiledKind(kind, compiler) for kind in book.kinds]

    @classmethod
    def load(cls, path: Path | None = None) -> ReplyRules:
        """Read and validate a rules file, by default the one of the package.

        Raises ReplyRulesError with a sentence that names the fault.
        """
        source = resources.files("fankui") / "replies.yaml" if path is None else path
        try:
            return cls.parse(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ReplyRulesError(f"The reply rules {source} cannot be read: {error}.") from error
        except ReplyRulesError as error:
            raise ReplyRulesError(f"The reply rules {source} are not valid: {error}") from error

    @classmethod
    def parse(cls, source: str) -> ReplyRules:
        """Validate rules given as YAML text. Raises ReplyRulesError."""
        try:
            content = yaml.load(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            return cls(RuleBook.model_validate(content))
        except yaml.YAMLError as error:
            raise ReplyRulesError(f"it is not YAML ({error}).") from error
        except ValidationError as error:
            raise ReplyRulesError(describe(error)) from error

    def check(self, text: str, *, never_say: Sequence[tuple[str, Bilingual]] = ()) -> tuple[Finding, ...]:
        """Findings in a draft, in the order of the text; any string is accepted, an empty one has none.

        never_say: (cause id, phrase) pairs of the ticket's causes; a draft that contains the phrase in nearly the
        same words is a finding of kind "never_say". Passages in quotation marks, and such as the draft itself
        denies, are no findings.
        """
        normalised = normalise(text)
        read = normalised.text.translate(_FOLD)
        quotes = [match.span() for match in _QUOTED.finditer(read) if match.span() != (0, len(read))]
        phrases = self.book.never_say
        findings: list[Finding] = []

        def add(kind: str, severity: Severity, why: Bilingual, matches: Iterable[_Match]) -> None:
            meant = [m for m in matches if not _inside(m, quotes) and not self._reported(read, m)]
            for match in _apart(meant):
                start, end = normalised.original(match.start, match.end)
                passage = encodable(text[start:end])
                findings.append(
                    Finding(
                        kind=kind,
                        start=start,
                        end=end,
                        text=passage,
                        why=why,
                        better=match.better,
                        severity=severity,
                    )
                )

        for compiled in self._kinds:
            kind = compiled.kind
            add(kind.id, kind.severity, kind.why, compiled.matches(read))
        said = _Said(read)
        for cause, phrase in never_say:
            why = Bilingual(
                zh=f"{phrases.why.zh}（{cause}）：{phrase.zh}", en=f"{phrases.why.en} ({cause}): {phrase.en}"
            )
            repeats = (_Match(*span, phrases.better) for span in _repeats(said, phrase.zh))
            add(NEVER_SAY, phrases.severity, why, repeats)
        return tuple(sorted(findings, key=lambda finding: (finding.start, finding.end)))

    def _reported(self, read: str, match: _Match) -> bool:
        before = _SENTENCE_END.split(read[max(match.start - _SURROUNDINGS, 0) : match.start])[-1]
        return bool(self._before.search(before) or self._after.match(read, match.end))


def _sentence(read: str, start: int, end: int) -> str:
    """The sentence around a match, as far as _SURROUNDINGS reaches."""
    before = _SENTENCE_END.split(read[max(start - _SURROUNDINGS, 0) : start])[-1]
    after = _SENTENCE_END.split(read[end : end + _SURROUNDINGS])[0]
    return before + read[start:end] + after


def _inside(match: _Match, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a match lies in one of `spans`, which are in order and apart."""
    index = bisect_right(spans, match.start, key=lambda span: span[0]) - 1
    return index >= 0 and match.end <= spans[index][1]


def _apart(matches: Iterable[_Match]) -> Iterator[_Match]:
    """Matches without those that overlap an earlier or, at the same start, a longer one."""
    reached = 0
    for match in sorted(matches, key=lambda m: (m.start, -m.end)):
        if match.start >= reached:
            yield match
            reached = match.end


class _Said:
    """The words of a draft without blanks and punctuation, and where each pair of characters stands in them."""

    def __init__(self, read: str) -> None:
        self.read = read
        self.places = [i for i, character in enumerate(read) if character.isalnum()]
        self.text = _words_of(read)
        self.where: defaultdict[str, list[int]] = defaultdict(list)
        for position in range(len(self.text) - 1):
            self.where[self.text[position : position + 2]].append(position)


def _words_of(read: str) -> str:
    return "".join(character for character in read if character.isalnum())


def _pairs(text: str) -> Counter[str]:
    return Counter(text[i : i + 2] for i in range(len(text) - 1))


def _repeats(said: _Said, phrase: str) -> Iterator[tuple[int, int]]:
    """Spans of the draft that say `phrase` in nearly the same words, whatever blanks and punctuation they have.

    A passage of another person ("我没说清楚" for "您没说清楚") or with another negation says something else.
    """
    words = _words_of(normalise(phrase).text.translate(_FOLD))
    wanted = _pairs(words)
    if not wanted:
        return
    least = math.ceil(_SAME_WORDS * wanted.total())
    reach = len(words) + max(1, len(words) // 4)
    hits = sorted(position for pair in wanted for position in said.where.get(pair, ()))

    def shared(start: int) -> int:
        return (wanted & _pairs(said.text[start : start + reach])).total()

    reached = 0
    for first, last in zip(hits, hits[least - 1 :], strict=False):
        if first < reached or last > first + reach - 2 or shared(first) < least:
            continue
        # The last of the best starts is the tightest: earlier ones only carry words that stand before the phrase.
        within = hits[bisect_left(hits, first) : bisect_left(hits, first + reach)]
        start = max(within, key=lambda position: (shared(position), position))
        end = hits[bisect_left(hits, start + reach - 1) - 1] + 1
        reached = end
        span = said.places[start], said.places[end] + 1
        if _same_sense(said.read, *span, words):
            yield span


def _same_sense(read: str, start: int, end: int, phrase: str) -> bool:
    """Whether a passage denies as often as the phrase, and of the same persons.

    Both may stand just before the passage, in the same clause.
    """
    passage = _CLAUSE_END.split(read[max(start - 3, 0) : start])[-1] + read[start:end]
    persons = [character for character in phrase if character in _PERSONS]
    named = [character for character in passage if character in _PERSONS]
    negations = [sum(text.count(negator) for negator in _NEGATORS) for text in (passage, phrase)]
    return named[len(named) - len(persons) :] == persons and negations[0] == negations[1]
