"""What a RayService imports: built here without a cluster, from the environment as there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from xingyue import applications, demo
from xingyue.catalog.loader import load_catalog
from xingyue.errors import InvalidRequest, NotFound
from xingyue.settings import Settings

# Ray warns of its own use of pydantic when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name, value in {
        "HOME": str(tmp_path),
        "CATALOG": str(ROOT / "catalog.yaml"),
        "DATABASE_URL": "postgresql+psycopg://xingyue@127.0.0.1:1/xingyue",
        "S3_ENDPOINT": "127.0.0.1:1",
        "S3_ACCESS_KEY": "platform",
        "S3_SECRET_KEY": "secret",
        "ADMIN_KEY": "xy-" + "a" * 40,
    }.items():
        monkeypatch.setenv(f"XINGYUE_{name}", value)
    return monkeypatch


def test_every_application_of_the_configuration_is_built(cluster, monkeypatch):
    provisioned = []
    monkeypatch.setattr(applications, "provision_operator", provisioned.append)
    settings = Settings()
    for each in applications.serve_config(settings, load_catalog(settings.catalog))["applications"]:
        module, _, name = each["import_path"].partition(":")
        assert module == applications.__name__
        built = getattr(applications, name)(each.get("args", {}))
        assert type(built).__name__ == "Application"
    assert len(provisioned) == 1


def test_an_unknown_trunk_is_refused(cluster):
    with pytest.raises(NotFound, match="no trunk 'x'") as refused:
        applications.trunk({"trunk": "x"})
    assert refused.value.param == "trunk"


@pytest.mark.parametrize(
    ("unset", "param"), [("DATABASE_URL", "database_url"), ("S3_ENDPOINT", "s3_endpoint")]
)
def test_what_would_be_one_nodes_own_is_refused(cluster, unset, param):
    cluster.delenv(f"XINGYUE_{unset}")
    with pytest.raises(InvalidRequest) as refused:
        applications.trunk({"trunk": "boards"})
    assert refused.value.param == param
    assert f"XINGYUE_{unset}" in refused.value.message


def test_a_cluster_gets_an_operator_and_no_demo(tmp_path, monkeypatch):
    monkeypatch.delenv("XINGYUE_ADMIN_KEY", raising=False)
    settings = Settings(_env_file=None, home=tmp_path, admin_key="xy-" + "b" * 40)
    (tmp_path / "data").mkdir()
    for _ in range(2):
        demo.provision_operator(settings)
    engine = create_engine(settings.resolved().database_url)
    with engine.connect() as connection:
        tenants = connection.execute(text("select id from tenants")).scalars().all()
        keys = connection.execute(text("select tenant_id from api_keys")).scalars().all()
    engine.dispose()
    assert tenants == ["operator"]
    assert keys == ["operator"]
    assert not (tmp_path / "demo.env").exists()
    with pytest.raises(InvalidRequest, match="XINGYUE_ADMIN_KEY"):
        demo.provision_operator(Settings(_env_file=None, home=tmp_path))
