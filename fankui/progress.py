"""Progress of long work: a bar in a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told (rows done, rows in all), and shows it on standard error."""
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        shown = -1

        def report_line(done: int, total: int) -> None:
            nonlocal shown
            tenth = 10 * done // max(1, total)
            if tenth > shown:
                shown = tenth
                typer.echo(f"{done:,} / {total:,}", err=True)

        yield report_line


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, speed="")

        def report(done: int, total: int) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, completed=done, total=total, speed=f"{speed:,.0f} 条/秒" if speed else "")

        yield report
