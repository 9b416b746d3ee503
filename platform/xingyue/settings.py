"""Every setting of the platform, read once from ``XINGYUE_*`` and passed by constructor."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from xingyue.tracing import TraceTarget


class Settings(BaseSettings):
    """Defaults run the whole platform on one machine, under ``home``."""

    model_config = SettingsConfigDict(env_prefix="XINGYUE_", extra="ignore")

    home: Path = Field(default=Path(".xingyue"), description="Data, logs, weights, demo.env.")
    catalog: Path = Field(default=Path("catalog.yaml"), description="The catalogue file.")

    host: str = Field(default="127.0.0.1", description="Address that the gateway binds.")
    port: int = Field(default=8700, description="Port of the gateway.")
    grpc_port: int = Field(
        default=8701,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol over gRPC, on the same address; 0: none.",
    )

    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL; default: SQLite under home."
    )

    s3_endpoint: str | None = Field(
        default=None, description="host:port of any S3/MinIO; default: the embedded server."
    )
    s3_secure: bool = Field(default=False, description="HTTPS to the S3 endpoint.")
    s3_access_key: str | None = Field(default=None, description="Platform's S3 access key.")
    s3_secret_key: SecretStr | None = Field(default=None, description="Platform's S3 secret key.")
    s3_bucket: str = Field(default="xingyue", description="Bucket of the platform's own objects.")
    s3_port: int = Field(default=8333, description="Port of the embedded S3 server.")

    ray_address: str | None = Field(
        default=None, description="Address of a running Ray cluster; default: start one here."
    )
    ray_dashboard: bool = Field(default=False, description="Start Ray's dashboard.")
    ray_cpus: int | None = Field(default=None, description="CPUs that Ray may plan with.")
    ray_proxies: Literal["EveryNode", "HeadOnly"] = Field(
        default="EveryNode", description="Nodes of the cluster that take calls at the port."
    )
    gateway_replicas: int = Field(default=1, ge=1, description="Gateway processes.")
    haproxy: bool = Field(default=True, description="Ray Serve's HAProxy in front of gateways.")

    admin_key: SecretStr | None = Field(
        default=None, description="Operator's key (xy-...); default: made on first start."
    )
    commercial_only: bool = Field(
        default=False, description="Refuse models whose licence forbids commercial use."
    )
    allow_hub: bool = Field(default=False, description="May fetch weights from hub URLs.")

    body_max_bytes: int = Field(default=32 * 2**20, description="Largest request body, bytes.")
    image_max_pixels: int = Field(default=50_000_000, description="Largest decoded image, pixels.")
    queue_max: int = Field(default=256, description="Calls waiting per trunk before shedding.")
    queue_wait_max_s: float = Field(
        default=0.5,
        gt=0,
        description="Longest wait, by the trunk's pace, that a call is still taken for, seconds; "
        "four batches where those take longer.",
    )
    deadline_s: float = Field(default=30.0, description="Default deadline of a call, seconds.")
    platform_share_percent: int = Field(
        default=30, ge=0, le=100, description="What the platform keeps of a vendor's price."
    )
    lease_micros: int = Field(default=2_000_000, description="Slice of a balance per gateway.")
    lease_ttl_s: float = Field(default=30.0, description="Life of a lease without heartbeat.")
    demo_credit_micros: int = Field(default=100_000_000, description="Demo tenant's credit.")
    tuning_slots: int = Field(default=1, ge=0, description="Fine-tuning jobs at once; 0: none.")
    tuning_threads: int = Field(default=1, ge=1, description="Threads of one fine-tuning job.")
    tuning_cpus: float = Field(default=0.5, ge=0, description="CPUs that Ray plans for tuning.")
    tuning_price_micros_per_s: int = Field(
        default=2_000, ge=0, description="Price of a compute-second of fine-tuning, micros of CNY."
    )
    tuning_jobs_max: int = Field(default=8, ge=1, description="Unfinished jobs per tenant.")
    tuning_data_max_bytes: int = Field(
        default=2 * 2**30, description="Largest training data of one job, bytes."
    )
    tuning_files_max: int = Field(default=20_000, description="Most training files of one job.")
    webhook_private: bool = Field(
        default=True,
        description="Webhooks may lead to private networks (factories' LANs); never to link-local "
        "or metadata addresses, and to this machine only while the gateway binds loopback.",
    )
    webhook_timeout_s: float = Field(
        default=10.0, gt=0, le=60, description="Time for one attempt to deliver a webhook, seconds."
    )
    metrics_port: int | None = Field(
        default=None,
        description="Each gateway process also shows its own metrics on this port, or the next "
        "free one: for more than one gateway, since /metrics is answered by any of them.",
    )
    otel_endpoint: str | None = Field(
        default=None,
        description="OTLP/HTTP collector for traces (http://host:4318); default: no traces.",
    )
    otel_console: bool = Field(
        default=False, description="Traces as lines of JSON on stderr of gateways and replicas."
    )
    otel_sample: float = Field(
        default=1.0, ge=0, le=1, description="Share of the traces begun by the gateway itself."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Log level of all parts."
    )

    @property
    def trace_target(self) -> TraceTarget:
        return TraceTarget(self.otel_endpoint, self.otel_console, self.otel_sample)

    @property
    def s3_folder(self) -> Path:
        """Of the embedded S3 server."""
        return self.home / "s3"

    def resolved(self) -> Settings:
        """The same, with paths absolute and the database URL filled in."""
        home = self.home.resolve()
        url = self.database_url or f"sqlite:///{home / 'data' / 'xingyue.db'}"
        return self.model_copy(
            update={"home": home, "catalog": self.catalog.resolve(), "database_url": url}
        )
