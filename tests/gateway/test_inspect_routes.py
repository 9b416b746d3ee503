"""``POST /v1/inspect/{model}`` on the real trunks: bodies, bad bodies, several files, money."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import pytest
from PIL import Image

pytestmark = pytest.mark.weights

SURFACE, BOARD = "appliance-surface-qc", "lighting-defect-detection"


def post(shop, model=SURFACE, body=b"", kind="image/png", query="", **headers):
    headers = {"content-type": kind} | {k.replace("_", "-"): v for k, v in headers.items()}
    return shop.call("POST", f"/v1/inspect/{model}{query}", "line", content=body, headers=headers)


def refusal(answer):
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def billed(shop):
    return shop.call("GET", "/v1/usage/events?limit=1000", "line").json()


def as_kind(png, kind):
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "tiff"])
def test_an_image_is_judged_whatever_its_format(shop, samples, kind):
    answer = post(shop, body=as_kind(samples["tile-crack"], kind), kind=f"image/{kind}; x=1")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["version"], body["verdict"]) == (SURFACE, "1", "fail")
    assert body["score"] >= body["threshold"]
    assert body["image"] == dict(
        zip(("width", "height"), Image.open(io.BytesIO(samples["tile-crack"])).size, strict=True)
    )
    assert body["usage"] == {
        "unit": "image",
        "units": 1,
        "cost_micros": 1200,
        "currency": "CNY",
    }


def test_headers_of_a_call(shop, samples):
    answer = post(shop, body=samples["tile-good"], x_request_id="line-7.a")
    assert answer.headers["x-request-id"] == "line-7.a"
    assert answer.headers["x-xingyue-model"] == f"{SURFACE}@1"
    assert answer.headers["x-xingyue-cost-micros"] == "1200"
    assert float(answer.headers["x-xingyue-overhead-ms"]) >= 0
    assert answer.headers["x-ratelimit-limit-requests"] == "6000"
    assert int(answer.headers["x-ratelimit-remaining-requests"]) < 6000
    assert answer.headers["x-ratelimit-reset-requests"].endswith("s")


def bomb(width, height):
    """A PNG of a few bytes that claims many pixels."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BAD = {
    "empty": (b"", "image/png", 400, "empty_body", "body"),
    "text as png": (b"hello", "image/png", 415, "unsupported_media_type", "image"),
    "text": (b"hello", "text/plain", 415, "unsupported_media_type", "content-type"),
    "gif": (b"GIF89a", "image/gif", 415, "unsupported_media_type", "content-type"),
    "no type": (b"x", "", 415, "unsupported_media_type", "content-type"),
    "not json": (b"{", "application/json", 400, "invalid_request", "body"),
    "json list": (b"[]", "application/json", 400, "invalid_request", "body"),
    "no place": (b"{}", "application/json", 400, "invalid_request", "image.s3"),
    "no key": (b'{"image":{"s3":"tenant-line"}}', "application/json", 400, "invalid_request",
               "image.s3"),
    "others' bucket": (b'{"image":{"s3":"tenant-other/x"}}', "application/json", 404,
                       "not_found", "image.s3"),
    "half a pair": (b'{"image":{"s3":"\\ud800/x"}}', "application/json", 400,
                    "invalid_request", "body"),
    "bomb": (bomb(60_000, 60_000), "image/png", 413, "payload_too_large", "image"),
    "no boundary": (b"x", "multipart/form-data", 400, "invalid_request", "body"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status", "code", "param"), BAD.values(), ids=BAD.keys())
def test_a_bad_body_is_refused_in_words_and_free(shop, body, kind, status, code, param):
    answer = post(shop, body=body, kind=kind)
    assert refusal(answer) == (status, code, param)
    assert answer.json()["error"]["message"]
    assert billed(shop) == []


def test_a_bomb_names_the_limit_and_a_cut_image_is_400(shop, samples):
    assert "50000000 pixels" in post(shop, body=bomb(60_000, 60_000)).json()["error"]["message"]
    assert post(shop, body=samples["tile-good"][:3000]).status_code == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("threshold=1.01", "threshold"),
        ("threshold=-0.1", "threshold"),
        ("threshold=nan", "threshold"),
        ("threshold=inf", "threshold"),
        ("threshold=x", "threshold"),
        ("heatmap=maybe", "heatmap"),
    ],
)
def test_a_bad_query_names_itself(shop, samples, query, param):
    answer = post(shop, body=samples["tile-good"], query=f"?{query}")
    assert refusal(answer) == (400, "invalid_request", param)


def test_threshold_and_heatmap(shop, samples):
    image = samples["tile-good"]
    plain = post(shop, body=image).json()
    strict = post(shop, body=image, query="?threshold=0").json()
    assert (plain["verdict"], strict["verdict"], strict["threshold"]) == ("pass", "fail", 0)
    assert "heatmap" not in plain
    shown = post(shop, body=image, query="?heatmap=1").json()["heatmap"]
    overlay = Image.open(io.BytesIO(base64.b64decode(shown)))
    assert (overlay.format, overlay.size) == ("PNG", Image.open(io.BytesIO(image)).size)


def parts(shop, model, files, query="", **headers):
    return shop.call("POST", f"/v1/inspect/{model}{query}", "line", files=files, headers=headers)


def test_one_part_is_one_answer_and_several_are_a_list(shop, samples):
    image = ("a.png", samples["tile-crack"], "image/png")
    single = parts(shop, SURFACE, {"image": image})
    assert single.json()["verdict"] == "fail"
    files = [
        ("image", image),
        ("image", ("b.png", b"not an image", "image/png")),
        ("anything", ("c.png", samples["tile-good"], "image/png")),
    ]
    answer = parts(shop, SURFACE, files)
    assert answer.status_code == 200, answer.text
    first, second, third = answer.json()["results"]
    assert (first["verdict"], third["verdict"]) == ("fail", "pass")
    assert second["error"]["code"] == "unsupported_media_type"
    assert answer.json()["usage"]["units"] == 2
    assert answer.headers["x-xingyue-cost-micros"] == "2400"
    assert sum(event["data"]["cost_micros"] for event in billed(shop)) == 3600


def test_a_board_is_compared_with_its_template(shop, samples):
    image = ("i.png", samples["board-open"], "image/png")
    template = ("t.png", samples["board-template"], "image/png")
    answer = parts(shop, BOARD, {"image": image, "template": template})
    assert answer.json()["verdict"] == "fail"
    refused = parts(shop, SURFACE, {"image": image, "template": template})
    assert refusal(refused) == (400, "invalid_request", "template")
    alone = parts(shop, BOARD, {"template": template})
    assert refusal(alone) == (400, "invalid_request", "image")
    field = shop.call("POST", f"/v1/inspect/{BOARD}", "line", files={"x": (None, "words")})
    assert refusal(field) == (400, "invalid_request", "x")


def test_an_image_in_the_callers_own_bucket(shop, samples):
    shop.key("line")
    shop.objects.ensure_bucket("tenant-line")
    shop.objects.put("tenant-line", "shift/1.png", samples["tile-crack"])
    body = json.dumps({"image": {"s3": "tenant-line/shift/1.png"}}).encode()
    answer = post(shop, body=body, kind="application/json; charset=utf-8")
    assert answer.json()["verdict"] == "fail"
    gone = json.dumps({"image": {"s3": "tenant-line/none.png"}}).encode()
    assert refusal(post(shop, body=gone, kind="application/json")) == (
        404,
        "not_found",
        "image.s3",
    )


def test_idempotency_key(shop, samples):
    image = samples["tile-crack"]
    first = post(shop, body=image, idempotency_key="k1")
    again = post(shop, body=image, idempotency_key="k1")
    assert again.content == first.content
    assert again.headers["x-xingyue-replayed"] == "true"
    assert again.headers["x-xingyue-cost-micros"] == "1200"
    other = post(shop, body=image + b" ", idempotency_key="k1")
    assert refusal(other)[:2] == (409, "idempotency_key_reused")
    assert refusal(post(shop, body=image, idempotency_key="a b"))[2] == "Idempotency-Key"
    assert len(billed(shop)) == 1
    # A refused call leaves its key free.
    assert post(shop, body=b"no", idempotency_key="k2").status_code == 415
    assert post(shop, body=image, idempotency_key="k2").status_code == 200


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nothing", 404, "model_not_found"),
        (f"{SURFACE}@9", 404, "model_not_found"),
        ("pharma-embedding", 400, "invalid_request"),
    ],
)
def test_models_that_do_not_inspect(shop, samples, model, status, code):
    assert refusal(post(shop, model, samples["tile-good"])) == (status, code, "model")


def test_a_version_may_be_named_and_a_deadline_given(shop, samples):
    assert post(shop, f"{SURFACE}@1", samples["tile-good"]).status_code == 200
    late = post(shop, body=samples["tile-good"], x_xingyue_timeout_ms="1")
    assert refusal(late)[:2] == (504, "deadline_exceeded")
    wrong = post(shop, body=samples["tile-good"], x_xingyue_timeout_ms="soon")
    assert refusal(wrong) == (400, "invalid_request", "x-xingyue-timeout-ms")
    assert len(billed(shop)) == 1
