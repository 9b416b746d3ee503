"""The routes before the framework's answer as those would."""

from __future__ import annotations

from typing import Any

import pytest

MODEL = "appliance-surface-qc"


def _ask(world: Any, query: str) -> Any:
    return world.call(
        "POST",
        f"/v1/inspect/{MODEL}{query}",
        "acme",
        content=b"0.2",
        headers={"content-type": "image/png"},
    )


@pytest.mark.parametrize("query", ["", "?heatmap=1", "?heatmap=True&threshold=0.1", "?other=1"])
def test_queries_are_read(world: Any, query: str) -> None:
    answer = _ask(world, query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ratelimit-limit-requests"]
    assert answer.headers["x-xingyue-model"] == f"{MODEL}@1"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?heatmap=maybe", "heatmap"),
        ("?threshold=high", "threshold"),
        ("?threshold=", "threshold"),
        ("?threshold=2", "threshold"),
        ("?threshold=nan", "threshold"),
    ],
)
def test_a_wrong_query_is_named(world: Any, query: str, param: str) -> None:
    answer = _ask(world, query)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_keys_are_asked_for_as_everywhere(world: Any) -> None:
    for path in (f"/v1/inspect/{MODEL}", "/v1/embeddings"):
        answer = world.client.post(path, content=b"x")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", [f"/v1/inspect/{MODEL}", "/v1/embeddings"])
def test_another_method_is_told_which_are_taken(world: Any, path: str) -> None:
    answer = world.call("GET", path, "acme")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, POST"


def test_the_api_page_still_knows_them(world: Any) -> None:
    paths = world.client.get("/openapi.json").json()["paths"]
    assert "post" in paths["/v1/inspect/{model}"]
    assert "post" in paths["/v1/embeddings"]
