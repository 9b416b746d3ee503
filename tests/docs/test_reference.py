"""Generated pages say what the code says; links and paths in the documentation lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from xingyue import errors

ROOT = Path(__file__).parents[2]
PAGES = ("settings.md", "errors.md", "catalogue.md")


@pytest.fixture(scope="module")
def generate():
    path = ROOT / "docs" / "reference" / "generate.py"
    made = importlib.util.spec_from_file_location("generate_reference", path)
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_the_code_says(generate, name):
    kept = (ROOT / "docs" / "reference" / name).read_text()
    assert kept == generate.PAGES[name](), f"docs/reference/{name} is old: run make docs"


def test_every_class_and_code_of_errors_is_documented():
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.XingyueError):
            assert kind.__name__.startswith("_") or f"`{kind.code}`" in page


DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_paths_that_the_readme_names_exist():
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    named = set(re.findall(r"`([A-Za-z_.][\w.-]*(?:/[\w.-]+)*/?)`", text))
    paths = {name for name in named if "/" in name or name.endswith((".yaml", ".toml", ".py"))}
    # Made at run time, ignored by git; and names of media types.
    paths = {name for name in paths if not name.startswith((".xingyue", "image/", "text/"))}
    assert paths, "the README names no path"
    missing = [name for name in sorted(paths) if not (ROOT / name).exists()]
    assert not missing


def test_the_readmes_shell_blocks_name_real_commands():
    """Those with curl run for real in tests/scenarios; here, the rest is looked up."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in "\n".join(blocks).splitlines():
        if made := re.match(r"make ([\w-]+)", line):
            assert made[1] in targets, line
