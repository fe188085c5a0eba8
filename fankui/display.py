"""Predictions and summaries as a person reads them in a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from fankui.batch import Summary
from fankui.tags import ScoredLabel, Tags
from fankui.taxonomy import Head, Taxonomy

_COLOURS = {"negative": "red", "neutral": "yellow", "positive": "green"}
_BAR = 24


def _name(head: Head, label_id: str) -> str:
    label = head.labels[head.index(label_id)]
    return f"{label.name.zh} {label.name.en}"


def render_tags(text: str, tags: Tags, taxonomy: Taxonomy) -> RenderableType:
    """One prediction: the text with its evidence underlined, then each head's answer."""
    colour = _COLOURS[tags.sentiment.polarity]
    shown = Text(text if len(text) <= 400 else text[:400] + "…")
    grid = Grid.grid(padding=(0, 2))
    for head in taxonomy.heads:
        value = getattr(tags, head.field)
        items: list[ScoredLabel] = list(value) if isinstance(value, tuple) else [value]
        if head.id == "loyalty" and items[0].label == "none":
            continue
        for item in items:
            for span in getattr(item, "evidence", ()):
                shown.stylize(f"underline {colour}", span.start, span.end)
        answers = Text("、".join(f"{_name(head, item.label)} {item.score:.0%}" for item in items) or "—")
        if head.kind == "ordinal":
            answers.stylize(f"bold {colour}")
        grid.add_row(Text(head.name.zh, style="dim"), answers)
    if tags.needs_review:
        grid.add_row(Text("复核", style="dim"), Text("模型没有把握,请人工复核 / the model is unsure, please review"))
    if tags.note:
        grid.add_row(Text("说明", style="dim"), Text(tags.note))
    return Group(shown, grid, Text())


def _counts(title: str, rows: list[tuple[str, int]], total: int) -> Grid:
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
    grid.add_column("")
    grid.add_column("条数", justify="right")
    grid.add_column("占比", justify="right")
    grid.add_column("")
    largest = max((count for _, count in rows), default=0) or 1
    for name, count in rows:
        grid.add_row(name, f"{count:,}", f"{count / max(1, total):.1%}", "█" * round(_BAR * count / largest))
    return grid


def render_summary(summary: Summary, taxonomy: Taxonomy) -> RenderableType:
    """Grades and causes of a tagged table, and what needs a person."""
    parts: list[RenderableType] = []
    tagged = summary.rows - summary.untaggable
    for head_id in ("sentiment", "cause"):
        head = taxonomy.head(head_id)
        counts = summary.counts.get(head_id, Counter[str]())
        order = head.label_ids if head.kind == "ordinal" else sorted(head.label_ids, key=lambda label: -counts[label])
        rows = [(_name(head, label), counts[label]) for label in order]
        if head_id == "cause":
            rows.append(("没有不满或未说原因 none stated", summary.no_cause))
        parts += [_counts(f"{head.name.zh} {head.name.en}", rows, tagged), Text()]
    lines = [f"共 {summary.rows:,} 条,用时 {summary.seconds:.1f} 秒({summary.rows_per_second:,.0f} 条/秒)"]
    lines.append(f"建议人工复核 {summary.needs_review:,} 条 ({summary.needs_review / max(1, tagged):.1%})")
    if summary.untaggable:
        first = "、".join(str(row) for row in summary.untaggable_rows[:5])
        more = " …" if summary.untaggable > 5 else ""
        lines.append(f"无法分类 {summary.untaggable:,} 条(第 {first}{more} 行,原因见 note 列)")
    if summary.damaged:
        lines.append(f"有无法读出的字符 {summary.damaged:,} 条,原因见 note 列;请检查文件的编码")
    return Group(*parts, Text("\n".join(lines)))


def print_tags(console: Console, text: str, tags: Tags, taxonomy: Taxonomy) -> None:
    """Print one prediction."""
    console.print(render_tags(text, tags, taxonomy))
