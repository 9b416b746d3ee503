"""Dashboard, alerts, scrape configuration and ``xingyue top``: they name what the code exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

from xingyue import metrics
from xingyue.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "xingyue.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
NAME = re.compile(r"\b(?:xingyue|nv_inference)_\w+")


def _exported() -> dict[str, set[str]]:
    """Name as on the page -> labels."""
    found: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        collector = next(
            each for each, names in REGISTRY._collector_to_names.items() if family.name in names
        )
        labels = set(getattr(collector, "_labelnames", ()))
        if family.type == "histogram":
            found |= {f"{family.name}_{end}": labels for end in ("sum", "count")}
            found[f"{family.name}_bucket"] = labels | {"le"}
        else:
            found[f"{family.name}_total" if family.type == "counter" else family.name] = labels
    for field in metrics._HELP:
        found[f"nv_inference_{field}"] = {"model", "version"}
    return found


EXPORTED = _exported()


def _expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "1m")
    for rule in RULES:
        yield f"alert {rule['alert']}", rule["expr"]


EXPRESSIONS = list(_expressions())


@pytest.mark.parametrize(("where", "text"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_an_expression_is_promql_over_what_is_exported(where, text):
    promql_parser.parse(text)
    names = set(NAME.findall(text)) - {"xingyue"}
    names = {name for name in names if f'"{name}"' not in text}
    assert names <= set(EXPORTED), f"{where}: {names - set(EXPORTED)}"
    # Every label that selects or groups is one that some series of the expression has.
    known = set().union(*(EXPORTED[name] for name in names)) | {"job"}
    used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text))
    used |= {
        label.strip()
        for group in re.findall(r"\bby \(([^)]*)\)", text)
        for label in group.split(",")
    }
    assert used <= known, f"{where}: {used - known}"


def test_values_that_alerts_select_are_ones_that_the_code_gives():
    code = "\n".join(path.read_text() for path in (ROOT / "platform").rglob("*.py"))
    for rule in RULES:
        for label, value in re.findall(r'\b(code|outcome)="(\w+)"', rule["expr"]):
            assert f'"{value}"' in code, f"{rule['alert']}: no {label} {value!r}"


def test_what_the_view_in_the_terminal_reads_is_exported():
    source = (ROOT / "platform" / "xingyue" / "cli" / "scrape.py").read_text()
    exported = set(EXPORTED) | {name.rsplit("_", 1)[0] for name in EXPORTED}
    names = set(re.findall(r'"(xingyue_\w+)"', source))
    names |= {f"nv_inference_{field}" for field in re.findall(r'(?<![.])grown\("(\w+)"\)', source)}
    assert names
    assert names <= exported, names - exported


def test_rules_are_whole():
    """As Prometheus asks: unique names, a duration, a severity, a summary; each has a remedy."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    remedies = (ROOT / "docs" / "operations" / "alerts.md").read_text()
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert f"## {rule['alert']}" in remedies, f"docs/operations/alerts.md lacks {rule['alert']}"


def test_every_series_of_ours_is_on_the_dashboard():
    shown = " ".join(text for _, text in EXPRESSIONS)
    unseen = {
        re.sub(r"_(sum|count|bucket|total)$", "", name)
        for name in EXPORTED
        if name.startswith("xingyue_") and name not in shown
    } - {re.sub(r"_(sum|count|bucket|total)$", "", name) for name in NAME.findall(shown)}
    assert not unseen


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_and_prometheus_find_each_other_and_the_platform():
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    )["datasources"][0]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    assert source["uid"] == DASHBOARD["templating"]["list"][0]["current"]["value"]
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    (job,) = scrape["scrape_configs"]
    port = compose["platform"]["environment"]["XINGYUE_METRICS_PORT"]
    assert job["job_name"] == "xingyue"
    replicas = Settings(_env_file=None).gateway_replicas
    assert job["static_configs"][0]["targets"] == [
        f"platform:{int(port) + each}" for each in range(replicas)
    ]
    mounts = compose["prometheus"]["volumes"] + compose["grafana"]["volumes"]
    inside = [mount.split(":")[1] for mount in mounts]
    assert set(scrape["rule_files"]) <= set(inside)
    for mount in mounts:
        if mount.startswith("./"):
            assert (DEPLOY / mount.split(":")[0]).exists(), mount
