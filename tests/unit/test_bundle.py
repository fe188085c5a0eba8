"""A bundle is loaded only when every file in it is the one that its manifest vouches for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fankui.bundle import CURRENT, MANIFEST, Bundle, BundleError, find_bundle


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def _edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def _damage(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def test_an_untouched_bundle_loads(copy: Path) -> None:
    bundle = Bundle.load(copy)
    assert bundle.manifest.taxonomy_sha256 == bundle.taxonomy.sha256
    assert bundle.size == sum(file.stat().st_size for file in copy.rglob("*.*"))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "taxonomy.yaml"])
def test_one_changed_bit_is_noticed_and_the_file_named(copy: Path, name: str) -> None:
    _damage(copy, name)
    with pytest.raises(BundleError, match=f"damaged: {name}"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "taxonomy.yaml"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        Bundle.load(copy)


def test_a_manifest_that_is_missing_broken_or_of_another_format_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no model in"):
        Bundle.load(tmp_path)
    _edit(copy, lambda m: m.update(format=2))
    with pytest.raises(BundleError, match="format"):
        Bundle.load(copy)
    (copy / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match="not valid"):
        Bundle.load(copy)


def test_a_manifest_cannot_point_outside_its_folder(copy: Path) -> None:
    _edit(copy, lambda m: m["files"].update({"../secret": "0" * 64}))  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match="not in the folder"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda calibration: calibration.pop("cause"),
        lambda calibration: calibration["cause"].update(temperature=[1.0, 2.0]),
        lambda calibration: calibration["cause"].update(bias=[0.5]),
        lambda calibration: calibration["cause"].update(thresholds=[]),
    ],
)
def test_a_calibration_that_does_not_fit_the_heads_is_refused(copy: Path, change: Callable[[Any], object]) -> None:
    _edit(copy, lambda m: change(m["calibration"]))
    with pytest.raises(BundleError, match="calibration for the head 'cause'"):
        Bundle.load(copy)


def test_the_current_version_of_a_models_folder_is_followed(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_bundle, models / "0.0.1")
    (models / CURRENT).write_text("0.0.1\n", encoding="utf-8")
    assert find_bundle(models) == models / "0.0.1"
    monkeypatch.setenv("FANKUI_MODELS", str(models))
    monkeypatch.delenv("FANKUI_MODEL", raising=False)
    assert find_bundle() == models / "0.0.1"
    monkeypatch.setenv("FANKUI_MODEL", str(tiny_bundle))
    assert find_bundle() == tiny_bundle
    monkeypatch.delenv("FANKUI_MODEL")
    monkeypatch.setenv("FANKUI_MODELS", str(tmp_path / "empty"))
    with pytest.raises(BundleError, match="set FANKUI_MODEL"):
        find_bundle()
