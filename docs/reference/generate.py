"""Writes the pages beside this file from the code that they describe: ``make docs``.

A test fails where a page and the code drift apart.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from xingyue import errors
from xingyue.catalog import spec
from xingyue.gateway.errors import STATUS, status_of
from xingyue.ledger.rules import ClaimVerdict, Refusal
from xingyue.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_MADE = "<!-- Made by docs/reference/generate.py; edit the code instead. -->\n\n"
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.XingyueError) and name[0] != "_"
}
_CONFLICTS = (
    ClaimVerdict.KEY_REUSED.value,
    ClaimVerdict.IN_PROGRESS.value,
    "idempotency_response_unavailable",
)


def settings_page() -> str:
    """Every setting, its environment variable and its default."""
    rows = [
        f"| `XINGYUE_{name.upper()}` | {_cell(_type(field.annotation))} | {_default(field)} "
        f"| {_cell(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            f"{_MADE}# Settings",
            "",
            "Read once, at start, from the environment. The defaults run all on one machine.",
            "",
            "| variable | type | default | what |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def errors_page() -> str:
    """Every class with its status, and every code that some place of the code gives."""
    lines = [
        f"{_MADE}# Errors",
        "",
        'Every error is `{"error": {"message", "type", "param", "code"}}`. `code` is stable; the',
        "message is for people and names the remedy; `param` is the field at fault. Nothing but",
        "2xx is billed. 429 and 503 carry `Retry-After`.",
        "",
        "| status | type | code unless told otherwise | class |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {status} | `{kind_name}` | `{kind.code}` | `{kind.__name__}` |"
        for kind, status, kind_name in STATUS
    ]
    lines += ["", "## Codes of their own", "", "| code | status | what it says |", "|---|---|---|"]
    lines += [
        f"| `{code}` | {status} | {_cell(words)} |" for code, (status, words) in codes().items()
    ]
    return "\n".join([*lines, ""])


def catalogue_page() -> str:
    """Every field of ``catalog.yaml``."""
    parts = [
        spec.Catalog, spec.WeightSpec, spec.PackageSource, spec.HubSource, spec.BuildSource,
        spec.PathSource, spec.TrunkSpec, spec.Autoscaling, spec.EntrySpec, spec.HeadSpec,
        spec.PriceSpec, spec.Licences, spec.Card,
    ]  # fmt: skip
    lines = [f"{_MADE}# catalog.yaml", "", inspect.cleandoc(spec.__doc__ or ""), ""]
    for part in parts:
        lines += [f"## {part.__name__}", ""]
        if part.__doc__ and part.__doc__ != BaseModel.__doc__:
            lines += [inspect.cleandoc(part.__doc__), ""]
        lines += ["| field | type | default | what |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | {_cell(_type(field.annotation))} | {_default(field)} "
            f"| {_cell(field.description or '')} |"
            for name, field in part.model_fields.items()
        ]
        lines.append("")
    return "\n".join(lines)


PAGES = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "catalogue.md": catalogue_page,
}


def codes() -> dict[str, tuple[int, str]]:
    """Code -> status and words, of those that are not simply their class's own."""
    trees = {path: ast.parse(path.read_text()) for path in _sources()}
    constants = _constants(trees.values())
    found = dict.fromkeys(_CONFLICTS, (409, "See `param`: the key was used, or is in use."))
    found |= {each.value: (500, "The usage was not recorded.") for each in Refusal}
    found["method_not_allowed"] = (405, "The path does not take this method; see `Allow`.")
    for path, tree in sorted(trees.items()):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            kind = _KINDS.get(_name(call.func))
            code = next((each.value for each in call.keywords if each.arg == "code"), None)
            if kind is None or code is None or not call.args:
                continue
            names = [code.value] if isinstance(code, ast.Constant) else constants.get(_name(code))
            if names is None and _name(code) not in ("code", "value"):
                raise ValueError(f"{path}:{call.lineno}: whose code is {ast.unparse(code)}?")
            for name in names or ():
                words = _words(call.args[0])
                said = words if words != "…" else "The message tells."
                found.setdefault(name, (status_of(kind(""))[0], said))
    return dict(sorted(found.items()))


def _constants(trees: Iterable[ast.Module]) -> dict[str, list[str]]:
    """Names at the top of modules -> the texts that they hold, alone or as a dict's values."""
    found: dict[str, list[str]] = {}
    for node in (node for tree in trees for node in tree.body):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        held = value.values if isinstance(value, ast.Dict) else [value]
        texts = [each.value for each in held if isinstance(each, ast.Constant)]
        if texts and all(isinstance(text, str) for text in texts):
            found |= {target.id: texts for target in targets if isinstance(target, ast.Name)}
    return found


def _sources() -> Iterator[Path]:
    for folder in ("platform", "models", "adapters"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _name(node: ast.expr) -> str:
    """Of a name, an attribute, or what is looked up in one."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return getattr(node, "id", getattr(node, "attr", ""))


def _words(node: ast.expr) -> str:
    """A message with its values as `{name}`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + (_name(node.value) or "…") + "}"
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    return "…"


def _type(annotation: object) -> str:
    """As one would say it: without modules and without what only validates."""
    origin, given = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(given[0])
    if origin in (Union, UnionType):
        return " | ".join(_type(each) for each in given)
    if origin is Literal:
        return " | ".join(f"`{each}`" for each in given)
    if annotation is Ellipsis:
        return "..."
    if annotation is type(None):
        return "None"
    name = getattr(origin or annotation, "__name__", str(annotation))
    return f"{name}[{', '.join(_type(each) for each in given)}]" if given else name


def _default(field: object) -> str:
    default = getattr(field, "default", PydanticUndefined)
    if getattr(field, "default_factory", None) is not None:
        return "empty"
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        return "its own"
    return "none" if default is None else f"`{getattr(default, 'value', default)}`"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    for name, make in PAGES.items():
        (HERE / name).write_text(make())
        print(HERE / name)


if __name__ == "__main__":
    main()
