"""What retrieval offers to fit, in words. Light: a gateway reads it, and fits nothing."""

from __future__ import annotations

from collections.abc import Mapping

PAIRS_MIN = 30
GROUPS_MIN = 6

METHODS: Mapping[str, str] = {
    "pairs": (
        f"{PAIRS_MIN} questions or more, each with a passage that holds its answer (JSON lines), "
        f"on {GROUPS_MIN} passages or groups at least: questions are moved towards their passages. "
        "Documents beside them are passages to be told apart."
    ),
    "documents": (
        f"Documents with {PAIRS_MIN} headings or more, no questions: a heading stands in for the "
        "question that its section answers. Weaker than real questions."
    ),
    "supervised": "Pairs where there are JSON lines, else documents.",
}
