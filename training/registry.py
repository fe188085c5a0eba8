"""The models folder: one folder a version, and CURRENT, which names the version in use."""

from __future__ import annotations

import shutil
from pathlib import Path

from fankui.bundle import Bundle, BundleError, make_current


def install(bundle: Path, models: Path) -> Path:
    """Copy a verified bundle to `models/<its version>` and make it the current one; returns the new folder.

    Raises BundleError for a damaged bundle or a version that is already there.
    """
    version = Bundle.load(bundle).manifest.version
    target = models / version
    if target.exists():
        raise BundleError(f"{target} exists already; give the new model another version.")
    models.mkdir(parents=True, exist_ok=True)
    unfinished = models / f".{version}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(bundle, unfinished)
    unfinished.rename(target)
    make_current(models, version)
    return target
