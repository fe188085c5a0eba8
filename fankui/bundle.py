"""A model on disk: a folder with a manifest that vouches for every other file in it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fankui.decisions import HeadCalibration
from fankui.errors import FankuiError, describe
from fankui.taxonomy import Taxonomy

MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
TAXONOMY = "taxonomy.yaml"
REQUIRED = (MODEL, TOKENIZER, TAXONOMY)
CURRENT = "CURRENT"
"""The file in a models folder that names the version in use."""


class BundleError(FankuiError):
    """A bundle is missing, damaged, or not of this program's format."""


class Manifest(BaseModel):
    """What a bundle says of itself; every number of the model lives here and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = Field(default=1, ge=1, le=1)
    version: str = Field(min_length=1, pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]*$")
    created: datetime
    git_commit: str | None = None
    files: dict[str, str] = Field(description="File name → SHA-256 of its content.")
    taxonomy_sha256: str = Field(description="Hash of the taxonomy's content, without comments and layout.")
    max_tokens: int = Field(ge=8, description="Window of the model in tokens, with the two special ones.")
    overlap_tokens: int = Field(ge=0, description="Tokens that neighbouring windows of a long text share.")
    pad_id: int = Field(ge=0)
    calibration: dict[str, HeadCalibration]
    review: dict[str, float] = Field(description="`polarity`, `causes`: the least confidence that needs no review.")
    data: dict[str, Any] = Field(default={}, description="What the model was trained on: counts and hashes.")
    metrics: dict[str, Any] = Field(default={}, description="What was measured, on which texts.")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified model folder."""

    path: Path
    manifest: Manifest
    taxonomy: Taxonomy

    @classmethod
    def load(cls, path: Path | str) -> Bundle:
        """Read the manifest and check every file against it.

        Raises BundleError with a sentence that names the file and the remedy.
        """
        folder = Path(path)
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            raise BundleError(f"There is no model in {folder}: {MANIFEST} is missing.") from None
        except OSError as error:
            raise BundleError(f"The model in {folder} cannot be read: {error}.") from error
        except ValidationError as error:
            raise BundleError(f"The {MANIFEST} in {folder} is not valid: {describe(error)}") from error
        for name in (*REQUIRED, *manifest.files):
            if name not in manifest.files:
                raise BundleError(f"The {MANIFEST} in {folder} does not list {name}.")
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise BundleError(f"The {MANIFEST} in {folder} lists {name!r}, which is not in the folder.")
            try:
                found = sha256_of(folder / name)
            except OSError as error:
                raise BundleError(f"The model in {folder} lacks {name}: restore the folder.") from error
            if found != manifest.files[name]:
                raise BundleError(
                    f"The model in {folder} is damaged: {name} has SHA-256 {found[:12]}…, the manifest says "
                    f"{manifest.files[name][:12]}…; restore the folder."
                )
        taxonomy = Taxonomy.load(folder / TAXONOMY)
        if taxonomy.sha256 != manifest.taxonomy_sha256:
            raise BundleError(f"The taxonomy in {folder} is not the one that the model was trained on.")
        for head in taxonomy.heads:
            calibration = manifest.calibration.get(head.id)
            expected = len(head.labels) if head.kind == "multi" else 0
            if (
                calibration is None
                or len(calibration.thresholds) != expected
                or (isinstance(calibration.temperature, tuple) and len(calibration.temperature) != len(head.labels))
                or len(calibration.bias) not in (0, len(head.labels))
                or len(calibration.context) not in (0, len(head.labels))
                or any(len(row) != taxonomy.width for row in calibration.context)
            ):
                raise BundleError(f"The {MANIFEST} in {folder} has no fitting calibration for the head {head.id!r}.")
        return cls(folder, manifest, taxonomy)

    @property
    def size(self) -> int:
        """Bytes of all files of the bundle."""
        return sum((self.path / name).stat().st_size for name in (MANIFEST, *self.manifest.files))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with the hashes of the files that lie in the folder now."""
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    content = manifest.model_copy(update={"files": files}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(content + "\n", encoding="utf-8")


def models_folder() -> Path:
    """`$FANKUI_MODELS`, or the folder `models` beside the package."""
    return Path(os.environ.get("FANKUI_MODELS") or Path(__file__).parents[1] / "models")


def make_current(models: Path, version: str) -> None:
    """Make a version of a models folder the one that is used. Raises BundleError for one that is missing or damaged.

    CURRENT is replaced in one step, so that a reader sees the old or the new version.
    """
    Bundle.load(models / version)
    pointer = models / f".{CURRENT}.partial"
    pointer.write_text(version + "\n", encoding="utf-8")
    pointer.replace(models / CURRENT)


def find_bundle(path: Path | str | None = None) -> Path:
    """The bundle folder to use: the one given, `$FANKUI_MODEL`, or the current one of the models folder.

    A models folder may be given as well; its CURRENT is followed. Raises BundleError when there is none.
    """
    chosen = path or os.environ.get("FANKUI_MODEL")
    folder = Path(chosen) if chosen else models_folder()
    if not (folder / CURRENT).is_file():
        if chosen:
            return folder
        raise BundleError(f"There is no model in {folder}; set FANKUI_MODEL to a model's folder.")
    return folder / (folder / CURRENT).read_text(encoding="utf-8").strip()
