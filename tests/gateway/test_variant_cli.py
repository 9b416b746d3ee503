"""``xingyue variant``, against a gateway that listens."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from xingyue.cli import access
from xingyue.cli.variant import variant
from xingyue_client import ApiError, Xingyue

ID = "vendor.drum"


@pytest.fixture
def run(listen, monkeypatch):
    world = listen()
    world.fit("vendor", "drum", shift=0.0)
    world.fit("vendor", "drum", shift=0.1)
    client = Xingyue(world.url, world.key("vendor"))
    monkeypatch.setattr(access, "caller", lambda: client)

    def invoke(*arguments):
        result = CliRunner().invoke(variant, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_a_variants_life(run):
    assert "version 1" in run("show", ID)
    assert "listed, ¥0.003 / 2" in run("publish", ID, "--price", "0.003", "--per", "2")
    assert "20 % version 2" in run("rollout", ID, "2", "--percent", "20", "--calls-min", "50")
    assert "verdict" not in run("show", ID)
    assert run("rollback", ID).strip().endswith("version 1")
    assert run("rollout", ID, "2").strip().endswith("version 2")
    assert run("rollback", ID, "--version", "1").strip().endswith("version 1")
    run("alias", ID, "line-3", "2")
    assert "2030-01-01" in run("retire", ID, "2030-01-01", "--successor", "vendor.next")
    assert "until" not in run("retire", ID)
    assert "private" in run("publish", ID, "--private")
    shown = json.loads(run("show", ID, "--json"))
    assert shown["aliases"] == {"line-3": "2"}
    assert [event["action"] for event in shown["events"]][:2] == ["publish", "retire"]
    assert json.loads(run("list", "--json"))[0]["id"] == ID
    assert ID in run("list")


def test_what_was_never_listed_can_be_deleted(run):
    assert "gone" in run("delete", ID)
    assert json.loads(run("list", "--json")) == []


def test_a_refusal_is_the_platforms_own_words(run):
    with pytest.raises(ApiError) as caught:
        run("rollout", ID, "9")
    assert caught.value.code == "version_not_found"
