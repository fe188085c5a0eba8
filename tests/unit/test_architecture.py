"""Dependencies point one way: service → fankui ← training."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "fankui": {
        "service",
        "training",
        "torch",
        "transformers",
        "datasets",
        "sklearn",
        "fastapi",
        "starlette",
        "uvicorn",
    },
    "service": {"training", "torch", "transformers", "datasets", "sklearn"},
    "training": {"service"},
}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        found = FORBIDDEN[package] & set(_imported(file))
        assert not found, f"{file.relative_to(ROOT)} imports {', '.join(sorted(found))}"
