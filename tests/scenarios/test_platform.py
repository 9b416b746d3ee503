"""What a manufacturer and an operator do, against the real thing."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(600)]

INSPECT = "/v1/inspect/appliance-surface-qc"


def _inspect(
    platform: Any, image: bytes, media_type: str = "image/png", **headers: str
) -> httpx.Response:
    return httpx.post(
        platform.url + INSPECT,
        content=image,
        headers=platform.headers() | {"content-type": media_type} | headers,
        timeout=60,
    )


@pytest.mark.parametrize(("name", "verdict"), [("tile-crack", "fail"), ("tile-good", "pass")])
def test_a_tile_gets_its_verdict_and_its_bill(platform: Any, name: str, verdict: str) -> None:
    before = len(platform.events())
    answer = _inspect(platform, platform.sample(name))
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdict"] == verdict
    assert answer.headers["x-xingyue-model"] == "appliance-surface-qc@1"
    assert answer.headers["x-xingyue-cost-micros"] == "1200"
    assert len(platform.events()) == before + 1


def test_a_board_is_compared_with_its_template(platform: Any) -> None:
    names = {"image": "board-open", "template": "board-template"}
    files = {
        part: (f"{name}.png", platform.sample(name), "image/png") for part, name in names.items()
    }
    answer = httpx.post(
        f"{platform.url}/v1/inspect/lighting-defect-detection",
        headers=platform.headers(),
        files=files,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["verdict"] == "fail"


BAD = [
    ("empty", b"", "image/png", 400),
    ("not an image", b"hello", "image/png", 415),
    ("wrong type", b"{}", "text/plain", 415),
    ("not json", b"{", "application/json", 400),
    ("someone else's bucket", b'{"image":{"s3":"tenant-other/a.png"}}', "application/json", 404),
]


@pytest.mark.parametrize(
    ("body", "kind", "status"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_is_refused_in_words_and_free(
    platform: Any, body: bytes, kind: str, status: int
) -> None:
    before = len(platform.events())
    answer = _inspect(platform, body, kind)
    assert answer.status_code in {status, 400}, answer.text
    fault = answer.json()["error"]
    assert fault["message"]
    assert fault["code"]
    assert len(platform.events()) == before


def test_truncated_image(platform: Any) -> None:
    assert _inspect(platform, platform.sample("tile-good")[:2000]).status_code == 400


def test_keys_and_unknown_models(platform: Any) -> None:
    nobody = httpx.post(platform.url + INSPECT, content=b"x", timeout=30)
    assert nobody.status_code == 401
    unknown = httpx.post(
        f"{platform.url}/v1/inspect/nothing", headers=platform.headers(), content=b"x", timeout=30
    )
    assert unknown.status_code == 404
    scope = httpx.get(f"{platform.url}/admin/v1/tenants", headers=platform.headers(), timeout=30)
    assert scope.status_code == 403


def test_a_retry_with_the_same_key_is_the_first_answer_and_free(platform: Any) -> None:
    key = {"idempotency-key": uuid.uuid4().hex}
    image = platform.sample("tile-crack")
    first = _inspect(platform, image, **key)
    before = len(platform.events())
    again = _inspect(platform, image, **key)
    assert again.content == first.content
    assert again.headers["x-xingyue-replayed"] == "true"
    assert len(platform.events()) == before
    assert _inspect(platform, image + b" ", **key).status_code == 409


def test_embeddings_cross_languages(platform: Any) -> None:
    answer = httpx.post(
        f"{platform.url}/v1/embeddings",
        headers=platform.headers(),
        json={
            "model": "pharma-embedding",
            "input": ["清洁验证的目的", "the purpose of cleaning validation", "足球比赛"],
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    same, english, other = (row["embedding"] for row in answer.json()["data"])

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(same, same) == pytest.approx(1, abs=1e-3)
    assert dot(same, english) > dot(same, other)
