"""Compose and Kubernetes: valid by their schemas, and true to the settings and the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from xingyue.applications import serve_config
from xingyue.catalog.loader import load_catalog
from xingyue.serving import environment
from xingyue.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBE = DEPLOY / "kuberay"
KUBERNETES = "1.31"
SETTINGS = {f"XINGYUE_{name.upper()}" for name in Settings.model_fields}
SECRET = re.compile(r"password|secret|key", re.IGNORECASE)


def _documents() -> list[dict[str, Any]]:
    files = yaml.safe_load((KUBE / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in KUBE.glob("*.yaml")} == {*files, "kustomization.yaml"}
    return [each for name in files for each in yaml.safe_load_all((KUBE / name).read_text())]


DOCUMENTS = _documents()
OF_KIND = {(each["kind"], each["metadata"]["name"]): each for each in DOCUMENTS}
RAY_SERVICE = OF_KIND["RayService", "xingyue"]["spec"]
CONFIG: dict[str, str] = OF_KIND["ConfigMap", "xingyue-settings"]["data"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Group(_Known):
    rayStartParams: dict[str, str]  # noqa: N815
    template: dict[str, Any]


class _Worker(_Group):
    groupName: str  # noqa: N815
    replicas: int
    minReplicas: int  # noqa: N815
    maxReplicas: int  # noqa: N815


class _Cluster(_Known):
    """Of ``ray.io/v1``, what is used here: an unknown field is a slip of the pen."""

    rayVersion: str  # noqa: N815
    enableInTreeAutoscaling: bool  # noqa: N815
    autoscalerOptions: dict[str, int]  # noqa: N815
    headGroupSpec: _Group  # noqa: N815
    workerGroupSpecs: list[_Worker]  # noqa: N815


class _RayService(_Known):
    excludeHeadPodFromServeSvc: bool  # noqa: N815
    serveConfigV2: str  # noqa: N815
    rayClusterConfig: _Cluster  # noqa: N815


CLUSTER = _RayService.model_validate(RAY_SERVICE).rayClusterConfig
GROUPS: list[_Group] = [CLUSTER.headGroupSpec, *CLUSTER.workerGroupSpecs]
POD_TEMPLATES = [group.template for group in GROUPS]


def _containers() -> Iterator[dict[str, Any]]:
    for template in POD_TEMPLATES:
        yield from template["spec"]["containers"]


CONTAINERS = list(_containers())


@pytest.mark.parametrize("document", DOCUMENTS, ids=[f"{kind} {name}" for kind, name in OF_KIND])
def test_a_manifest_is_valid(document):
    if document["apiVersion"] in ("ray.io/v1", "monitoring.coreos.com/v1"):
        # Kinds of operators. Their pods are Kubernetes' own, and are checked as such below.
        assert document["kind"] in ("RayService", "ServiceMonitor")
        return
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("template", POD_TEMPLATES, ids=["head", "cpu", "gpu"])
def test_rays_pods_are_valid(template):
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "x"}}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_ray_of_the_cluster_is_the_lock_s():
    assert CLUSTER.rayVersion == version("ray")
    assert f"ray=={version('ray')}" in (ROOT / "requirements.lock").read_text()


def _settings_of(variables: dict[str, str]) -> Settings:
    fields = {
        name.removeprefix("XINGYUE_").lower(): value
        for name, value in variables.items()
        if name.startswith("XINGYUE_")
    }
    return Settings(_env_file=None, **fields)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_serve_configuration_is_the_catalogue_s():
    # Here, not above: Ray warns of its own use of pydantic when it is imported.
    from ray.serve.schema import ServeDeploySchema

    written = yaml.safe_load(RAY_SERVICE["serveConfigV2"])
    ServeDeploySchema.model_validate(written)
    made = serve_config(_settings_of(CONFIG), load_catalog(ROOT / "catalog.yaml"))
    assert written == made, "run: python -m xingyue.applications"


@pytest.mark.parametrize(
    "variables",
    [CONFIG, *({env["name"]: "1" for env in each["env"]} for each in CONTAINERS),
     COMPOSE["services"]["platform"]["environment"]],
    ids=["ConfigMap", "head", "cpu", "gpu", "compose"],
)  # fmt: skip
def test_every_variable_is_a_setting(variables):
    ours = {name for name in variables if name.startswith("XINGYUE_")}
    assert ours
    assert ours <= SETTINGS, ours - SETTINGS


def test_the_config_map_has_rays_switches():
    """On one machine the code sets them before Ray starts; on a cluster nobody else would."""
    wanted = {*environment.FIXED, "RAY_SERVE_ENABLE_HA_PROXY"}
    assert wanted == {name for name in CONFIG if name.startswith("RAY_")}
    assert all(isinstance(value, str) for value in CONFIG.values())


def test_no_secret_stands_in_a_file():
    for name, value in CONFIG.items():
        assert not SECRET.search(name), f"{name}={value} belongs into the Secret"
    for container in [*CONTAINERS, *_stateful_containers()]:
        for variable in container["env"]:
            if SECRET.search(variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], variable
            elif "value" in variable:
                assert not re.search(r"://[^:$]+:[^$]", variable["value"]), variable
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value), f"{name}: {variable}"
    for line in (DEPLOY / "env.example").read_text().splitlines():
        assert line.startswith("#") or line.endswith("="), line
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


def _stateful_containers() -> list[dict[str, Any]]:
    return OF_KIND["StatefulSet", "xingyue-postgres"]["spec"]["template"]["spec"]["containers"]


def test_what_is_referred_to_is_there():
    """Secrets' keys are the ones that the deployment page makes; the rest is in these files."""
    page = (ROOT / "docs" / "operations" / "deployment.md").read_text()
    for container in [*CONTAINERS, *_stateful_containers()]:
        for source in container.get("envFrom", ()):
            assert ("ConfigMap", source["configMapRef"]["name"]) in OF_KIND
        for variable in container["env"]:
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == "xingyue-secrets"
                assert f"--from-literal={reference['key']}=" in page
            # Kubernetes fills $(NAME) in from variables that stand before it.
            for name in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
                before = [each["name"] for each in container["env"]]
                assert before.index(name) < before.index(variable["name"])
    for template in POD_TEMPLATES:
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for container in template["spec"]["containers"]:
            assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
        (key,) = volumes["signing-key"]["secret"]["items"]
        assert f"--from-file={key['key']}=" in page


def test_selectors_find_their_pods():
    ray_labels = [template["metadata"]["labels"] for template in POD_TEMPLATES]
    stateful = OF_KIND["StatefulSet", "xingyue-postgres"]["spec"]
    postgres = [stateful["template"]["metadata"]["labels"]]
    selectors = {
        "metrics": (OF_KIND["Service", "xingyue-metrics"]["spec"]["selector"], ray_labels),
        "database": (OF_KIND["Service", "xingyue-postgres"]["spec"]["selector"], postgres),
        "stateful set": (stateful["selector"]["matchLabels"], postgres),
        "ray": (_policy("xingyue-ray"), ray_labels),
        "postgres": (_policy("xingyue-postgres"), postgres),
    }
    for what, (selector, found) in selectors.items():
        for labels in found:
            assert selector.items() <= labels.items(), what
    monitor = OF_KIND["ServiceMonitor", "xingyue"]["spec"]
    service = OF_KIND["Service", "xingyue-metrics"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    # Alerts and dashboard say job="xingyue": the value of the label that the monitor names.
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "xingyue"


def _policy(name: str) -> dict[str, str]:
    return OF_KIND["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"]


def test_ports_agree():
    settings = _settings_of(CONFIG)
    for container in CONTAINERS:
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        # By this name KubeRay finds the port that it probes and sends calls to.
        assert ports["serve"] == settings.port
        assert ports.get("metrics", settings.metrics_port) == settings.metrics_port
    metrics = OF_KIND["Service", "xingyue-metrics"]["spec"]["ports"]
    monitored = [each["port"] for each in OF_KIND["ServiceMonitor", "xingyue"]["spec"]["endpoints"]]
    assert monitored == [each["name"] for each in metrics]
    wanted = range(settings.gateway_replicas)
    assert [each["port"] for each in metrics] == [settings.metrics_port + each for each in wanted]
    database = OF_KIND["Service", "xingyue-postgres"]
    assert f"@{database['metadata']['name']}:{database['spec']['ports'][0]['port']}/" in str(
        CONTAINERS[0]["env"]
    )


def test_nobody_is_root():
    for template in [
        *POD_TEMPLATES,
        OF_KIND["StatefulSet", "xingyue-postgres"]["spec"]["template"],
    ]:
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)


def test_the_workers_hold_what_the_catalogue_asks_for():
    """CPUs that Serve sets aside at least, for every trunk, the gateways and fine-tuning."""
    catalog, settings = load_catalog(ROOT / "catalog.yaml"), _settings_of(CONFIG)
    used = {entry.trunk for entry in catalog.models if entry.trunk}
    asked = sum(
        catalog.trunks[name].num_cpus * catalog.trunks[name].autoscaling.min_replicas
        for name in used
    )
    asked += 0.5 * settings.gateway_replicas + settings.tuning_cpus
    cpu = CLUSTER.workerGroupSpecs[0]
    cpus = float(cpu.template["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert cpu.minReplicas * cpus >= asked
    gpus = [
        group.template["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", "0")
        for group in CLUSTER.workerGroupSpecs
    ]
    assert gpus == ["0", "1"]


def test_compose_is_valid_by_its_specification():
    found = compose_spec.PyCompose.from_yaml((DEPLOY / "compose.yaml").read_text())
    found.validate()
    assert set(found.service_names()) == {"platform", "postgres", "s3", "prometheus", "grafana"}


def test_the_compose_specification_does_refuse():
    with pytest.raises(ValueError):
        compose_spec.PyCompose.from_yaml("services: {a: {image: x, ports: [no-port]}}")


def test_compose_is_whole():
    services, volumes = COMPOSE["services"], COMPOSE["volumes"]
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in volumes or (DEPLOY / source).exists(), f"{name}: {source}"
        for other in service.get("depends_on", {}):
            assert "healthcheck" in services[other]
    build = services["platform"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    assert services["s3"]["image"] == services["platform"]["image"]
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert asked == given


def test_the_image_copies_what_is_there():
    text = (DEPLOY / "Dockerfile").read_text()
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed
