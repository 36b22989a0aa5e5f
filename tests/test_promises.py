"""What README and SECURITY say is tested, is: every test and folder that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEFINED = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("document", ["README.md", "SECURITY.md"])
def test_every_test_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    promised = text[text.index("how it is tested" if document == "README.md" else "How it is tested") :]
    named = re.findall(r"`(tests/[\w/.]+|test_\w+(?:\.py)?)`", promised)
    assert len(named) > 10
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [
        name for name in named if not (name in DEFINED or name in files or ("/" in name and (ROOT / name).exists()))
    ]
    assert missing == []
