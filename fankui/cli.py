"""`fankui …`: parses, calls, prints. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from fankui.errors import FankuiError

OTHERS = {
    "config": ("Print the service's settings and where each comes from.", None),
    "db": ("The ticket store: upgrade, purge.", None),
    "keys": ("API keys: make, list, revoke.", None),
    "serve": ("Serve the model over HTTP.", None),
    "train": ("Train a model: raw feedback and labels in, a verified bundle out.", "train"),
}
"""Commands of other packages: what help says of them without importing them, and the extra that they need."""


class _Commands(TyperGroup):
    """The commands here, and those that other packages register under `fankui.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, without importing the packages behind them."""
        return [*super().list_commands(ctx), *sorted(entry.name for entry in entry_points(group="fankui.commands"))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name. A missing extra is reported with how to install it."""
        for entry in entry_points(group="fankui.commands"):
            if entry.name == cmd_name:
                try:
                    loaded = entry.load()
                except ImportError as error:
                    _, extra = OTHERS.get(cmd_name, ("", None))
                    if extra is None:
                        raise
                    raise FankuiError(
                        f"`fankui {cmd_name}` needs packages that are not installed ({error.name}): "
                        f"pip install 'fankui[{extra}]'"
                    ) from error
                command = typer.main.get_command(loaded)
                command.name = cmd_name
                return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Help without importing the packages behind other commands."""
        rows = [
            (name, OTHERS[name][0] if name in OTHERS else self.get_command(ctx, name).get_short_help_str(90))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    cls=_Commands,
    help="反馈 Fankui: tags Chinese customer feedback by cause and satisfaction.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ModelOption = Annotated[Path | None, typer.Option("--model", help="A model's folder; the current one if not given.")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="Threads for the model; 0: all cores.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fankui {version('fankui')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """反馈 Fankui: tags Chinese customer feedback by cause and satisfaction."""


def _read_stdin() -> str:
    content = sys.stdin.buffer.read()
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return content.decode("gb18030", "replace").strip()


@app.command()
def classify(
    texts: Annotated[list[str], typer.Argument(help="The feedback; `-` reads one text from standard input.")],
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a text, also in a terminal.")] = False,
    threads: ThreadsOption = 0,
) -> None:
    """Tag texts given on the command line, with evidence."""
    from fankui.engine import Tagger
    from fankui.tags import Tags

    texts = [_read_stdin() if text == "-" else text for text in texts]
    tagger = Tagger.load(model, threads=threads)
    answers: list[tuple[str, Tags]] = []
    for number, (text, answer) in enumerate(zip(texts, tagger.tag(texts), strict=True), 1):
        if not isinstance(answer, Tags):
            raise FankuiError(f"Text {number}: {answer.note}.")
        answers.append((text, answer))
    for text, answer in answers:
        if as_json or not sys.stdout.isatty():
            typer.echo(answer.model_dump_json())
        else:
            from rich.console import Console

            from fankui.display import print_tags

            print_tags(Console(), text, answer, tagger.bundle.taxonomy)


@app.command()
def tag(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="CSV, TSV, XLSX, JSONL or Parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV, TSV, XLSX, JSONL or Parquet.")],
    text_column: Annotated[str | None, typer.Option(help="The column with the feedback; found if not given.")] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Where to run.")] = "local",
    model: ModelOption = None,
    threads: ThreadsOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run of the same files.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Tag every row of a table: rows out are rows in, in order, with the tags beside them."""
    from fankui.batch import tag_table
    from fankui.engine import Tagger
    from fankui.progress import show_progress

    if engine == "ray":
        raise FankuiError("--engine ray is not part of this version; leave it out to run on this machine.")
    tagger = Tagger.load(model, threads=threads)
    try:
        with show_progress(quiet=quiet) as on_progress:
            summary = tag_table(
                source, output, tagger,
                text_column=text_column, resume=resume, overwrite=overwrite, on_progress=on_progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"已中断,进度已保存。Interrupted; continue with: fankui tag {source} -o {output} --resume", err=True)
        raise typer.Exit(130) from None
    if not quiet:
        from rich.console import Console

        from fankui.display import render_summary

        Console().print(render_summary(summary, tagger.bundle.taxonomy))
        typer.echo(f"→ {output}")


@app.command()
def models(
    folder: Annotated[Path | None, typer.Argument(help="A models folder; the installed one if not given.")] = None,
    use: Annotated[
        str | None, typer.Option(help="Make this version the current one, for instance to roll back.")
    ] = None,
) -> None:
    """List the models at hand; the current one is marked."""
    from fankui.bundle import CURRENT, MANIFEST, Bundle, make_current, models_folder

    folder = folder or models_folder()
    if use:
        make_current(folder, use)
    pointer = folder / CURRENT
    current = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None
    found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if not found:
        raise FankuiError(f"There is no model in {folder}.")
    for path in found:
        bundle = Bundle.load(path)
        scores = bundle.manifest.metrics.get("dev") or bundle.manifest.metrics.get("tickets_dev") or {}
        named = ("cause.micro_f1", "polarity.accuracy", "sentiment.qwk", "request.accuracy")
        numbers = "  ".join(f"{name} {scores[name]:.3f}" for name in named if name in scores)
        mark = "*" if path.name == current else " "
        size = f"{bundle.size / 1e6:.0f} MB"
        typer.echo(f"{mark} {path.name}  {bundle.manifest.created:%Y-%m-%d}  {size}  {numbers}")


@app.command()
def taxonomy(
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that is known of each label.")] = False,
) -> None:
    """Show the heads and labels that the model knows."""
    from fankui.bundle import Bundle, find_bundle

    loaded = Bundle.load(find_bundle(model)).taxonomy
    if as_json:
        typer.echo(json.dumps(loaded.model_dump(), ensure_ascii=False, indent=1))
        return
    for head in loaded.heads:
        typer.echo(f"{head.id}  {head.name.zh} {head.name.en}")
        for label in head.labels:
            typer.echo(f"    {label.id:28}{label.name.zh}:{label.definition.zh}")


def main() -> None:
    """Run the program: 0 done, 2 bad input or usage, 130 interrupted, 1 anything else; no traceback."""
    try:
        app()
    except FankuiError as error:
        typer.echo(f"fankui: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("FANKUI_DEBUG"):
            raise
        typer.echo(f"fankui: unexpected {type(error).__name__}: {error} (FANKUI_DEBUG=1 shows more)", err=True)
        sys.exit(1)
