from __future__ import annotations

import hashlib
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import yaml

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_benchmarks import appliance, bodies, catalogue, light_head
from xingyue_benchmarks.scenario import (
    BOUNDARY,
    FOLDER,
    Scenario,
    choose_peers,
    load_scenario,
    scenarios,
)
from xingyue_models.surface_inspection import heads

SHIPPED = scenarios("all")


def _document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "one",
        "title": "One",
        "model": "bench-noop",
        "path": "/v1/inspect/bench-noop",
        "content_type": "image/png",
        "bodies": {"kind": "filler", "bytes": 8},
        "peers": ["engine"],
        **changes,
    }


@pytest.mark.parametrize("scenario", SHIPPED, ids=[each.name for each in SHIPPED])
def test_a_shipped_scenario_has_its_model_and_its_trunk(scenario: Scenario, tmp_path: Path) -> None:
    composed = catalogue.write_catalogue(scenario, tmp_path / "catalog.yaml")
    (called,) = (entry for entry in composed.models if entry.id == scenario.model)
    assert {entry.id for entry in composed.models} == {called.id, *called.parts.values()}
    assert set(composed.trunks) == {entry.trunk for entry in composed.models} - {None}


def test_names_choose_in_their_order() -> None:
    assert [each.name for each in scenarios("noop, image")] == ["noop", "image"]


FORM = f"multipart/form-data; boundary={BOUNDARY}"
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("a typo", {"modle": "x"}, "modle"),
    ("no such body", {"bodies": {"kind": "video"}}, "bodies"),
    ("raw cannot read filler", {"peers": ["raw"]}, "decodes images"),
    ("nor can a server", {"peers": ["engine", "mlserver"]}, "mlserver decodes images"),
    ("no such peer", {"peers": ["triton"]}, "peers"),
    ("a gateway of texts", {"peers": ["litellm"]}, "kind texts alone"),
    ("files in one part", {"bodies": {"kind": "appliance", "files": 2}}, "boundary="),
    (
        "files for a server of one",
        {"bodies": {"kind": "appliance", "files": 2}, "content_type": FORM, "peers": ["litserve"]},
        "one image a request",
    ),
    ("filler is not streamed", {"stream": True}, "questions"),
    ("no connection", {"closed": [0]}, "1 to 800"),
    ("both rates", {"open": [{"share": 0.5, "rate_rps": 10}]}, "either share or rate_rps"),
    ("a setting of someone else", {"settings": {"PATH": "/"}}, "XINGYUE_"),
]


@pytest.mark.parametrize(("changes", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_wrong_scenario_is_refused_by_field(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(_document(**changes)))
    with pytest.raises(InvalidRequest, match=said):
        load_scenario(path)


def test_peers_are_chosen_in_the_scenarios_order() -> None:
    (image, noop) = scenarios("image,noop")
    assert choose_peers(image, ("litserve", "raw")).peers == ("raw", "litserve")
    assert choose_peers(noop, ("litserve", "raw")).peers == ()


def test_questions_name_the_store_and_ask_for_a_stream(tmp_path: Path) -> None:
    (docqa,) = scenarios("docqa")
    asked = [yaml.safe_load(body.data) for body in bodies.make(docqa, tmp_path, "vs_1")]
    assert all(each["stream"] and each["vector_store_ids"] == ["vs_1"] for each in asked)
    assert len({each["messages"][0]["content"] for each in asked}) == 4


def test_several_files_are_one_body_and_as_many_items(tmp_path: Path) -> None:
    (batch,) = scenarios("batch")
    first, second, *_ = bodies.make(batch, tmp_path)
    assert len(first.files) == len(first.items(None)) == 8
    assert first.files[1:] == second.files[:7]
    head = f"Content-Type: {batch.content_type}\r\n\r\n".encode()
    parts = message_from_bytes(head + first.data).get_payload()
    assert [part.get_payload(decode=True) for part in parts] == list(first.files)  # type: ignore[union-attr]


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="noop"):
        load_scenario(FOLDER / "nothing.yaml")


def test_a_trunk_can_be_changed_for_a_try(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(_document(trunks={"noop": {"max_batch": 3}}))
    composed = catalogue.write_catalogue(scenario, tmp_path / "catalog.yaml")
    assert composed.trunks["noop"].max_batch == 3
    strange = Scenario.model_validate(_document(trunks={"boards": {"max_batch": 3}}))
    with pytest.raises(InvalidRequest, match="boards"):
        catalogue.write_catalogue(strange, tmp_path / "catalog.yaml")


def test_the_light_head_is_what_its_script_writes() -> None:
    head = light_head.network()
    assert (light_head.FOLDER / "head.onnx").read_bytes() == head
    manifest = (light_head.FOLDER / "manifest.json").read_bytes()
    assert manifest == light_head.manifest(head)
    own = yaml.safe_load(catalogue.OWN.read_text())
    assert own["models"][0]["head"]["sha256"] == hashlib.sha256(manifest).hexdigest()


def test_the_light_head_is_one_that_the_family_takes() -> None:
    manifest = yaml.safe_load((light_head.FOLDER / "manifest.json").read_text())
    head = heads.load(HeadFiles(light_head.FOLDER, manifest))
    assert head.spec.geometry.side == light_head.SIDE
    assert set(head.taps) == {"f32", "embedding"}


def test_pictures_follow_from_their_seed() -> None:
    assert appliance.jpeg(3, 160, 120, 90) == appliance.jpeg(3, 160, 120, 90)
    assert appliance.jpeg(3, 160, 120, 90) != appliance.jpeg(4, 160, 120, 90)


def test_bodies_are_what_the_routes_take(tmp_path: Path) -> None:
    texts = {"kind": "texts", "texts": ["one", "二"]}
    scenario = Scenario.model_validate(_document(bodies=texts))
    found = bodies.make(scenario, tmp_path)
    assert yaml.safe_load(found[1].data) == {"model": "bench-noop", "input": "二"}
    (item,) = found[1].items(None)
    assert item.params == {"input": "二"}
    assert [Path(name).read_bytes() for name in bodies.write(found, tmp_path)] == [
        body.data for body in found
    ]
