"""docs/operations.md names every setting with its default, every scope and every command."""

from __future__ import annotations

import re
from pathlib import Path

from service.auth import SCOPES
from service.settings import Settings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table_with_its_default_and_meaning() -> None:
    rows = dict(re.findall(r"^\| `FANKUI_(\w+)` (\|.*\|)$", DOCUMENT, re.MULTILINE))
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description in rows[name.upper()]
        if field.default not in (None, ()):
            value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert f"`{value}`" in rows[name.upper()]


def test_every_scope_is_explained() -> None:
    for scope in SCOPES:
        assert f"| `{scope}` |" in DOCUMENT
