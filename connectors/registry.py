"""The connector types there are: found by looking, refused by name where one is incomplete."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import ValidationError

import connectors
from connectors.base import PROTOCOLS, AuthModel, ConfigModel, Connector, ConnectorEnv
from connectors.sealing import Sealer
from schemas.connectors import Capability, ConnectorRef
from schemas.errors import FieldInvalid, Unsupported

# Every other module of the package must be a connector; private names (_x) are a connector's own.
SUPPORT = frozenset(
    {
        *("addresses", "base", "egress", "media_store", "publishing"),
        *("ranged", "receiver", "registry", "sealing"),
    }
)
EXPORTS = ("TYPE", "Config", "Auth", "IDENTITY", "connect")


class IncompleteConnector(Exception):
    """A connector module lacks something; the message names both."""


@dataclass(frozen=True)
class ConnectorType:
    """One connector type as its module declares it."""

    name: str
    config: type[ConfigModel]
    auth: type[AuthModel]
    identity: tuple[str, ...]
    connect: Callable[[Any, Any, ConnectorEnv], Any]
    capabilities: frozenset[Capability]
    describe: Callable[[ConnectorEnv], Mapping[str, Any] | None] | None = None
    admit: Callable[[Any, Any, ConnectorEnv], None] | None = None

    def schemas(self, env: ConnectorEnv | None = None) -> dict[str, Any]:
        """JSON Schemas of what a client sends; secrets are `writeOnly` in them.

        With a world, a type that is several systems in one adds each one's forms, as `anyOf`.
        """
        found = {
            "config": self.config.model_json_schema(by_alias=True),
            "auth": self.auth.model_json_schema(by_alias=True),
        }
        told = self.describe(env) if self.describe and env else None
        return {part: found[part] | _forms(told, part) for part in found}

    def refuse(self, config: ConfigModel, auth: AuthModel, env: ConnectorEnv) -> None:
        """`FieldInvalid` where this service can be asked for no such connector."""
        if self.admit is not None:
            self.admit(config, auth, env)

    def parse_config(self, values: Mapping[str, Any]) -> ConfigModel:
        """The checked config; `FieldInvalid` names the field, never the value."""
        parsed: ConfigModel = _parsed(self.config, values, "config")
        return parsed

    def parse_auth(self, values: Mapping[str, Any]) -> AuthModel:
        """The checked auth; `FieldInvalid` names the field, never the value."""
        parsed: AuthModel = _parsed(self.auth, values, "auth")
        return parsed

    def fingerprint(self, tenant: str, config: Mapping[str, Any]) -> str:
        """Names the content: equal for equal tenant, type and identifying config."""
        values = self.parse_config(config).model_dump(mode="json", by_alias=False)
        identity = {name: values[name] for name in self.identity}
        text = json.dumps([tenant, self.name, identity], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Registry:
    """Connector types by name."""

    def __init__(self, types: Iterable[ConnectorType]) -> None:
        self._types: dict[str, ConnectorType] = {}
        for found in types:
            if found.name in self._types:
                raise IncompleteConnector(f"two connector modules export TYPE {found.name!r}")
            self._types[found.name] = found

    @classmethod
    def discover(cls, *extra: ModuleType) -> Registry:
        """Every connector of this package, and of the modules given besides."""
        names = sorted(info.name for info in pkgutil.iter_modules(connectors.__path__))
        own = [n for n in names if n not in SUPPORT and not n.startswith("_")]
        modules = [importlib.import_module(f"connectors.{name}") for name in own]
        return cls(described(module) for module in (*modules, *extra))

    def types(self) -> tuple[ConnectorType, ...]:
        """Every type, by name."""
        return tuple(self._types[name] for name in sorted(self._types))

    def get(self, name: str) -> ConnectorType:
        """The type of this name, or `FieldInvalid` naming those there are."""
        try:
            return self._types[name]
        except KeyError:
            known = ", ".join(sorted(self._types))
            raise FieldInvalid(
                f"there is no connector type {name[:40]!r}; there are {known}",
                code="connector_type_unknown",
            ) from None

    def capabilities(self, name: str) -> frozenset[Capability]:
        """What connectors of this type can do."""
        return self.get(name).capabilities

    def require(self, name: str, capability: Capability) -> None:
        """`Unsupported` where connectors of this type cannot do it."""
        if capability not in self.capabilities(name):
            raise Unsupported(f"{name} connectors have no capability {capability!r}")

    def fingerprint(self, ref: ConnectorRef) -> str:
        """Names the content of a connector; see `ConnectorType.fingerprint`."""
        return self.get(ref.type).fingerprint(ref.tenant_id, ref.config)

    def open(self, ref: ConnectorRef, sealer: Sealer, env: ConnectorEnv) -> Connector:
        """The connector, ready to use; nothing is contacted yet."""
        kind = self.get(ref.type)
        sealed = ref.sealed_auth
        secrets = sealer.open_auth(ref.tenant_id, ref.id, sealed) if sealed else {}
        opened: Connector = kind.connect(
            kind.parse_config(ref.config), kind.parse_auth(secrets), env
        )
        return opened


def described(module: ModuleType) -> ConnectorType:
    """What a connector module declares; `IncompleteConnector` names what it lacks."""
    name = module.__name__
    missing = [export for export in EXPORTS if not hasattr(module, export)]
    if missing:
        raise IncompleteConnector(f"{name} lacks {', '.join(missing)} (see connectors/base.py)")
    _check_models(module)
    made = get_type_hints(module.connect).get("return")
    if not isinstance(made, type) or not issubclass(made, Connector):
        raise IncompleteConnector(
            f"{name}.connect must be annotated to return a class with `check`"
        )
    return ConnectorType(
        name=module.TYPE,
        config=module.Config,
        auth=module.Auth,
        identity=tuple(module.IDENTITY),
        connect=module.connect,
        capabilities=frozenset(
            c for c, protocol in PROTOCOLS.items() if issubclass(made, protocol)
        ),
        describe=getattr(module, "describe", None),
        admit=getattr(module, "admit", None),
    )


def _forms(told: Mapping[str, Any] | None, part: str) -> dict[str, Any]:
    return {"anyOf": told[part]} if told and told.get(part) else {}


def _check_models(module: ModuleType) -> None:
    name = module.__name__
    for export, base in (("Config", ConfigModel), ("Auth", AuthModel)):
        if not issubclass(getattr(module, export), base):
            raise IncompleteConnector(f"{name}.{export} must be a {base.__name__}")
    unknown = sorted(set(module.IDENTITY) - set(module.Config.model_fields))
    if unknown:
        raise IncompleteConnector(f"{name}.IDENTITY names no Config field: {', '.join(unknown)}")


def _parsed(model: type[Any], values: Mapping[str, Any], part: str) -> Any:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        # Input is left out on purpose: it may be a secret.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "/".join((part, *(str(step) for step in first["loc"])))
        said = first["msg"].removeprefix("Value error, ")
        raise FieldInvalid(f"{where}: {said}", code="connector_config_invalid") from None
