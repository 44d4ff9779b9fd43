"""What a tenant may say to an rclone back end: its own options, less those that reach inwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from schemas.base import Value
from schemas.errors import FieldInvalid

# They read this machine, or wrap another remote that would have to be judged in their place.
NEVER = frozenset(
    "alias archive cache chunker combine compress crypt hasher local memory union".split()  # noqa: SIM905
)
HOSTS = "+hosts"
# These run programs, read files and sockets of this machine, or prove who this machine is.
_INWARD = re.compile(
    r"(_|^)(file|path|command|ccache)$|^(ssh|env_auth|set_env|path_override|key_use_agent|"
    r"use_kerberos|use_msi|use_az|use_emulator|ask_password)$|proxy$|profile$|socket$|^(config|msi)_"
)
_MACHINE = frozenset(
    {"env_auth", "instance_principal_auth", "resource_principal_auth", "workload_identity_auth"}
)
# These say where to connect to, alone or within something longer.
_HOST = re.compile(r"(_|^)(host|hostname|url|endpoint|namenode|auth|address|server)$")
_HOST_WITHIN = re.compile(r"(connection_string|credentials|sas_url)$")
# Sensitive in a log, but no secret: a client may read them back.
_OPEN = re.compile(
    r"(_|^)(host|url|user|username|email|account|account_id|domain|endpoint|namenode|namespace|"
    r"team_drive|root_folder_id|drive_id|client_id|tenant|region|project_number|user_project|"
    r"cloud_name|compartment|root_id|user_id|tenant_id|apple_id|impersonate|access_key_id)$"
)
_KINDS = {"bool": "boolean", "int": "integer", "float64": "number"}


class Option(Value):
    """One option of a back end."""

    name: str = Field(pattern=r"^[a-z0-9_]{1,80}$")
    kind: str
    help: str = ""
    required: bool = False
    secret: bool = False
    advanced: bool = False

    @property
    def names_host(self) -> bool:
        """Whether its value says where to connect to."""
        if self.kind in {"bool", "Tristate"}:
            return False
        return bool(_HOST.search(self.name) or _HOST_WITHIN.search(self.name))

    @property
    def judged(self) -> bool:
        """Whether its value is a host or a URL and nothing else."""
        return self.names_host and not _HOST_WITHIN.search(self.name)

    def form(self) -> dict[str, Any]:
        """What a form shows of it."""
        shown: dict[str, Any] = {"description": self.help}
        if self.secret:
            return {"type": "string", "writeOnly": True, "format": "password"} | shown
        return {"type": _KINDS.get(self.kind, "string")} | shown


class Provider(Value):
    """A back end and the options a tenant may set."""

    name: str
    title: str
    options: tuple[Option, ...]


def providers(told: object, allowed: Iterable[str]) -> dict[str, Provider]:
    """The back ends the operator allows, as this rclone describes them."""
    listed = {entry.partition("+")[0]: entry.endswith(HOSTS) for entry in allowed}
    found = told.get("providers") if isinstance(told, dict) else None
    return {
        one["Name"]: _provider(one, hosts=listed[one["Name"]])
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict) and one.get("Name") in listed and one["Name"] not in NEVER
    }


def _provider(one: Mapping[str, Any], *, hosts: bool) -> Provider:
    told = one.get("Options")
    listed = told if isinstance(told, list) else ()
    known = (_option(option) for option in listed if isinstance(option, dict))
    return Provider(
        name=one["Name"],
        title=str(one.get("Description") or one["Name"])[:200],
        options=tuple(o for o in known if o is not None and (hosts or not o.names_host)),
    )


def _option(told: Mapping[str, Any]) -> Option | None:
    name = str(told.get("Name"))
    if not re.fullmatch(r"[a-z0-9_]{1,80}", name) or _INWARD.search(name):
        return None
    sensitive = bool(told.get("Sensitive")) and not _OPEN.search(name)
    return Option(
        name=name,
        kind=str(told.get("Type")),
        help=str(told.get("Help") or "").strip().partition("\n")[0][:300],
        required=bool(told.get("Required")),
        secret=bool(told.get("IsPassword")) or sensitive,
        advanced=bool(told.get("Advanced")),
    )


def checked(
    provider: Provider, parameters: Mapping[str, Any], secrets: Mapping[str, str]
) -> dict[str, str]:
    """The options as rclone takes them; `FieldInvalid` names the one that may not be set."""
    known = {option.name: option for option in provider.options}
    said = {name: _spelled(value) for name, value in parameters.items()} | dict(secrets)
    for name, value in said.items():
        option = known.get(name)
        if option is None:
            raise _refused(f"{provider.name} has no option {name[:80]!r} that may be set here")
        if option.secret and name in parameters:
            raise _refused(f"{name} is a secret: it belongs in auth/secrets")
        if value in _MACHINE or "\x00" in value:
            raise _refused(f"{name} may not have this value")
    missing = [o.name for o in provider.options if o.required and not said.get(o.name)]
    if missing:
        raise _refused(f"{provider.name} needs {missing[0]}")
    return said


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refused(message: str) -> FieldInvalid:
    return FieldInvalid(message, code="connector_config_invalid")


def hosts_in(provider: Provider, values: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Every host the options name; one that cannot be read is refused."""
    for option in provider.options:
        value = values.get(option.name, "")
        if not option.judged or not value:
            continue
        for text in value.split(","):
            try:
                parts = urlsplit(text if "://" in text else f"//{text}")
                host, port = parts.hostname, parts.port or 443
            except ValueError:
                host, port = None, 0
            if not host or "%" in host:
                raise _refused(f"{option.name} names no host that can be read")
            yield host, port


def forms(found: Mapping[str, Provider]) -> dict[str, Any]:
    """JSON Schemas of every back end's config and auth, the first as `oneOf` of the others."""
    return {
        "config": [_form(p, "parameters", secret=False) for p in found.values()],
        "auth": [_form(p, "secrets", secret=True) for p in found.values()],
    }


def _form(provider: Provider, field: str, *, secret: bool) -> dict[str, Any]:
    options = [o for o in provider.options if o.secret == secret]
    inner: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {o.name: o.form() for o in sorted(options, key=lambda o: o.advanced)},
        "required": [o.name for o in options if o.required],
    }
    backend = {} if secret else {"backend": {"const": provider.name}}
    return {"title": provider.title, "properties": {**backend, field: inner}}
