"""What is offered to fit, in words. Light: a gateway reads it, and fits nothing."""

from __future__ import annotations

from collections.abc import Mapping

NAME = "language-model"
_WORDS = (
    '20 chats or more as JSON lines, {"messages": [{"role", "content"}, ...]}, the last '
    "message the assistant's: a LoRA adapter that answers as they do. group keeps lines together "
    "that must not be on both sides of the split."
)
METHODS: Mapping[str, str] = {"lora": _WORDS, "supervised": f"The same as lora. {_WORDS}"}
