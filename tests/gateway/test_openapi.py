"""The API page: complete, true, and readable without internet."""

from __future__ import annotations

import re

import pytest

from xingyue.gateway.application import ROUTERS, build_app


@pytest.fixture(scope="module")
def document():
    return build_app(lambda: None, body_max_bytes=1).openapi()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_there_and_422_is_nowhere(document):
    routes = {
        f"{method} {route.path_format}"
        for router in ROUTERS
        for route in router.routes
        if route.include_in_schema
        for method in route.methods
    }
    assert routes == {name for name, _ in operations(document)}
    assert "422" not in str(document)
    assert "ValidationError" not in str(document)


def test_every_reference_leads_somewhere(document):
    for pointer in set(re.findall(r"'#/([^']+)'", str(document))):
        place = document
        for part in pointer.split("/"):
            place = place[part]


def test_every_fault_is_the_envelope_and_every_answer_has_its_id(document):
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                assert "x-request-id" in answer["headers"], name
            elif name not in ("GET /readyz", "GET /v2/health/ready"):
                prefix = "open-inference-" if " /v2" in name else ""
                assert answer == {"$ref": f"#/components/responses/{prefix}{status}"}
    for name, answer in document["components"]["responses"].items():
        schema = answer["content"]["application/json"]["schema"]
        kind = "InferError" if name.startswith("open-inference-") else "Error"
        assert schema == {"$ref": f"#/components/schemas/{kind}"}
    assert "retry-after" in document["components"]["responses"]["429"]["headers"]


def test_all_but_health_needs_a_key(document):
    for name, operation in operations(document):
        open_ = operation["tags"] == ["health"]
        assert (operation.get("security") is None) is open_, name
        assert ("401" in operation["responses"]) is not open_, name
        assert ("Needs a key with the scope" in operation.get("description", "")) is not open_


CALLS = [
    "POST /v1/inspect/{model}",
    "POST /v1/chat/completions",
    "POST /v1/embeddings",
    "POST /v2/models/{model}/infer",
    "POST /v2/models/{model}/versions/{version}/infer",
    "POST /v1/vector_stores/{store_id}/search",
]


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_cost_tell_bodies_headers_and_statuses(document, name):
    operation = dict(operations(document))[name]
    assert operation["requestBody"]["content"]
    wanted = {"400", "401", "403", "404", "409", "413", "429", "503", "504"}
    assert wanted <= operation["responses"].keys()
    headers = operation["responses"]["200"]["headers"]
    assert {"x-xingyue-model", "x-xingyue-cost-micros", "x-xingyue-overhead-ms"} <= headers.keys()
    names = [parameter["name"] for parameter in operation["parameters"]]
    assert "Idempotency-Key" in names


def test_inspect_takes_images_parts_and_json(document):
    content = document["paths"]["/v1/inspect/{model}"]["post"]["requestBody"]["content"]
    kinds = {"image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"}
    assert kinds | {"multipart/form-data", "application/json"} <= content.keys()
    assert "415" in document["paths"]["/v1/inspect/{model}"]["post"]["responses"]


def test_tags_are_told_in_words(document):
    told = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for _, operation in operations(document) for tag in operation["tags"]} == told


def test_the_page_loads_nothing_from_elsewhere(world):
    page = world.client.get("/docs")
    assert "https://" not in page.text
    for place in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        asset = world.client.get(place)
        assert asset.status_code == 200, place
        assert len(asset.content) > 1000
