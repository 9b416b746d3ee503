"""Every code of a finding is in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import xingyue_adapters.datasets

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "architecture" / "06-datasets.md").read_text(encoding="utf-8")
_NOTE = re.compile(
    r'note\(\s*"(?:error|warning|info)"[^"]*(?:"(?:error|warning)"[^"]*)*"([a-z_]+)"'
)
_CODE = re.compile(r'code="([a-z_]+)"|, code, |\(\w+, "([a-z_]+)", "')


def test_codes_are_documented() -> None:
    folder = Path(xingyue_adapters.datasets.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    found = set(_NOTE.findall(source))
    found |= {code for match in _CODE.finditer(source) for code in match.groups() if code}
    assert {"bad_zip", "split_leakage", "too_few_masks", "empty_box"} <= found
    assert len(found) > 25
    missing = {code for code in found if f"`{code}`" not in PAGE}
    assert not missing
