"""What an operator sets: read from the environment by the composition roots, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, SecretStr

from schemas.base import Value

PREFIX = "CUTTINGROOM_"


class Settings(Value):
    """Every setting, its environment name being CUTTINGROOM_ and the field in capitals."""

    data_dir: str = "data"
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    catalog_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL; SQLite in data_dir where absent"
    )
    media_store: str = Field(
        default="", description="a folder, or s3://bucket/prefix?endpoint=...; data_dir/media else"
    )
    media_store_key_id: str | None = Field(
        default=None, description="access key of an s3:// media store; boto3's own chain else"
    )
    media_store_secret: SecretStr | None = None
    local_folders: tuple[str, ...] = Field(
        default=(), description="folders that `local` connectors may name, or lie below"
    )
    rclone_socket: str | None = Field(
        default=None,
        description="unix socket at which `rclone rcd` listens for connectors",
    )
    rclone_backends: tuple[str, ...] = Field(
        default=(),
        description="back ends `rclone` connectors may use; `name+hosts` may be sent to any host",
    )
    public_url: str = "http://127.0.0.1:8080"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    allow_cidrs: tuple[str, ...] = ()
    secret_keys: SecretStr = Field(
        default=SecretStr(""), description="comma-separated key ring; the first seals"
    )
    ffmpeg: str | None = None
    allow_unjailed: bool = False
    work_dir: str | None = None
    max_clip_ms: int = 6 * 3600 * 1000
    max_future_ms: int = 24 * 3600 * 1000
    queue_cap: int = 100_000
    rate_per_minute: int = Field(
        default=300_000, ge=1, description="requests a credential may make of one gateway process"
    )
    anonymous_rate_per_minute: int = Field(
        default=600, ge=1, description="refused or open requests an address may make"
    )
    login_rate_per_minute: int = Field(
        default=30, ge=1, description="log-ins, recoveries and sign-ups an address may try"
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="addresses or networks whose X-Forwarded-For is believed"
    )
    signup: Literal["open", "invite", "off"] = "invite"
    access_token_s: int = Field(default=600, ge=60, le=900)
    session_days: int = Field(default=30, ge=1, le=365)
    refresh_grace_s: int = Field(default=10, ge=0, le=60)
    lock_after: int = Field(default=10, ge=3, le=100, description="wrong passwords in a row")
    lock_s: int = Field(default=900, ge=1, le=86_400)
    answer_floor_ms: int = Field(
        default=500, ge=0, le=5000, description="a refused log-in is never answered sooner"
    )
    password_memory_kib: int = Field(default=65_536, ge=8, description="of one argon2id hash")
    password_rounds: int = Field(default=3, ge=1)
    tenant_grace_days: int = Field(
        default=7, ge=0, le=365, description="from asking for a tenant's deletion until it happens"
    )
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp://user:password@host:587 (STARTTLS) or smtps://…"
    )
    mail_from: str = "cuttingroom@localhost"
    fetch_connections: int = Field(default=6, ge=1, le=32)
    localize_connections: int = Field(
        default=8, ge=1, le=64, description="at most so many to one file at a time"
    )
    localize_max_bytes: int = Field(default=200 * 2**30, ge=1, description="of one file")
    localized_quota_bytes: int = Field(
        default=1024 * 2**30,
        ge=0,
        description="of all localized files; what was used least recently is removed past that",
    )
    thumbnails_quota_bytes: int = Field(
        default=20 * 2**30,
        ge=0,
        description="of all posters and sprites; those looked at least recently are removed",
    )
    upload_credentials_s: int = Field(
        default=3600, ge=1, le=3600, description="how long credentials of an upload work"
    )
    upload_hours: int = Field(
        default=48, ge=1, le=168, description="how long an upload may go on, credentials renewed"
    )
    uploads_open: int = Field(
        default=1000, ge=1, description="uploads a tenant may have under way at once"
    )
    epg_wait_s: float = Field(
        default=6.0, ge=0, le=30, description="a request's wait for a guide that is not held"
    )
    source_wait_s: float = Field(
        default=3.0, ge=0, le=30, description="a request's wait for a file nobody has looked at"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_dir: str | None = None
    worker_metrics_port: int | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """The settings an environment spells; unknown CUTTINGROOM_ names are refused."""
        given = {k[len(PREFIX) :].lower(): v for k, v in env.items() if k.startswith(PREFIX)}
        values: dict[str, object] = {k: _spelled(k, v) for k, v in given.items()}
        return cls.model_validate(values)

    def to_env(self) -> dict[str, str]:
        """The environment that spells these settings; it holds secrets."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {PREFIX + k.upper(): _written(v) for k, v in given.items() if v is not None}


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def _spelled(name: str, text: str) -> object:
    if name in {"allow_cidrs", "local_folders", "rclone_backends", "trusted_proxies"}:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text
