"""The command line as its user meets it: answers on standard output, sentences and exit codes for what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fankui import Tagger


@pytest.fixture
def fankui(tiny_bundle: Path):  # type: ignore[no-untyped-def]
    """Runs the real program in its own process."""

    def run(*arguments: str | Path, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = os.environ | {"FANKUI_MODEL": str(tiny_bundle), "PYTHONIOENCODING": "utf-8"} | environment
        command = [sys.executable, "-c", "from fankui.cli import main; main()", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, encoding="utf-8", input=text, env=settings, check=False)

    return run


def test_classify_prints_one_json_line_a_text(fankui, tagger: Tagger) -> None:  # type: ignore[no-untyped-def]
    done = fankui("classify", "说好三天到货,十天了还没发", "很好")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["model"] for line in lines] == ["0.0.1", "0.0.1"]
    assert (
        json.loads(fankui("classify", "-", text="很好\n").stdout)["sentiment"]["label"]
        == lines[1]["sentiment"]["label"]
    )


def test_tag_writes_the_table_and_a_summary(fankui, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in.csv").write_bytes("反馈\n送货太慢\n很好\n".encode("gb18030"))
    done = fankui("tag", tmp_path / "in.csv", "-o", tmp_path / "out.xlsx")
    assert done.returncode == 0, done.stderr
    assert "不满原因 Cause of dissatisfaction" in done.stdout and "共 2 条" in done.stdout
    assert "2 / 2" in done.stderr
    assert (tmp_path / "out.xlsx").exists()
    assert fankui("tag", tmp_path / "in.csv", "-o", tmp_path / "out.xlsx").returncode == 2
    quiet = fankui("tag", tmp_path / "in.csv", "-o", tmp_path / "out.xlsx", "--overwrite", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", ""], "Text 1: .*blank"),
        (["classify"], "Missing argument"),
        (["tag", "absent.csv", "-o", "o.csv"], "There is no file absent.csv"),
        (["tag", "pyproject.toml", "-o", "o.csv"], "the ending .toml is unknown"),
        (["tag", "data/examples/feedback.csv", "-o", "o.csv", "--text-column", "反馈"], "Did you mean '反馈内容'"),
        (["tag", "data/examples/feedback.csv", "-o", "absent/o.csv"], "There is no folder"),
        (["tag", "data/examples/feedback.csv", "-o", "o.csv", "--engine", "ray"], "not part of this version"),
        (["tag", "data/examples/feedback.csv", "-o", "o.csv", "--model", "tests"], "There is no model in tests"),
        (["models", "tests"], "There is no model in tests"),
        (["no-such-command"], "No such command"),
    ],
)
def test_a_mistake_gets_a_sentence_and_exit_code_two(fankui, arguments: list[str], message: str) -> None:  # type: ignore[no-untyped-def]
    done = fankui(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip() and re.search(message, done.stderr), done.stderr
    assert not Path("o.csv").exists()


def test_an_unexpected_fault_is_exit_code_one_without_a_traceback(fankui, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = fankui("classify", "好", FANKUI_MODEL="\0" if os.name == "nt" else "x" * 5000)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr and done.stderr.startswith("fankui: ")


def test_help_version_taxonomy_and_models_answer(fankui, tiny_bundle: Path) -> None:  # type: ignore[no-untyped-def]
    assert fankui("--version").stdout.startswith("fankui ")
    shown = fankui("--help").stdout
    assert all(name in shown for name in ("classify", "tag", "models", "taxonomy", "serve", "train"))
    assert "承诺未兑现" in fankui("taxonomy").stdout
    assert json.loads(fankui("taxonomy", "--json").stdout)["version"] == "1"
    assert "0.0.1" not in fankui("models", tiny_bundle).stdout
    assert "bundle" in fankui("models", tiny_bundle.parent).stdout


def test_a_former_model_is_made_current_again(fankui, tiny_bundle: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for version in ("1", "2"):
        shutil.copytree(tiny_bundle, tmp_path / version)
    (tmp_path / "CURRENT").write_text("2\n", encoding="utf-8")
    shown = fankui("models", tmp_path, "--use", "1").stdout.splitlines()
    assert [line[:3] for line in shown] == ["* 1", "  2"]
    (tmp_path / "2" / "model.onnx").write_bytes(b"")
    for version, reason in (("2", "damaged"), ("3", "There is no model")):
        refused = fankui("models", tmp_path, "--use", version)
        assert refused.returncode == 2 and reason in refused.stderr
    assert (tmp_path / "CURRENT").read_text(encoding="utf-8") == "1\n"


def test_classifying_loads_no_table_library_no_web_framework_and_no_torch(tiny_bundle: Path) -> None:
    program = (
        "import sys; from fankui.cli import app\n"
        "try: app(['classify', '很慢'])\n"
        "except SystemExit: pass\n"
        "bad = {'torch', 'transformers', 'datasets', 'polars', 'fastapi', 'xlsxwriter'} & set(sys.modules)\n"
        "print(sorted(bad), file=sys.stderr)"
    )
    settings = os.environ | {"FANKUI_MODEL": str(tiny_bundle)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", env=settings, check=True
    )
    assert done.stderr.strip() == "[]"
