"""The registry finds connectors by looking and refuses incomplete ones by name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.base import AuthModel, ConfigModel, ConnectorEnv
from connectors.registry import IncompleteConnector, Registry
from connectors.sealing import Sealer, new_key
from schemas.connectors import Capability, ConnectorRef
from schemas.errors import AccessDenied, FieldInvalid, Unsupported
from schemas.settings import Settings
from tests.connectors.peer import env_for


class _Config(ConfigModel):
    place: str
    timeout_s: int = 5


class _Auth(AuthModel):
    key: SecretStr | None = None


class _Nothing:
    def __init__(self, auth: _Auth) -> None:
        self.auth = auth

    def check(self, capability: Capability | None = None) -> None:
        """Anything goes."""


def _connect(config: _Config, auth: _Auth, env: ConnectorEnv) -> _Nothing:
    return _Nothing(auth)


def module(**exports: Any) -> ModuleType:
    """A complete connector module, or one with other exports; None leaves one out."""
    made = ModuleType("connectors.made_up")
    complete = {
        "TYPE": "made_up",
        "Config": _Config,
        "Auth": _Auth,
        "IDENTITY": ("place",),
        "connect": _connect,
    }
    for name, value in {**complete, **exports}.items():
        if value is not None:
            setattr(made, name, value)
    return made


def ref(tenant: str = "t1", sealed: str | None = None, **config: Any) -> ConnectorRef:
    """A connector of the made-up type."""
    return ConnectorRef(
        id="c1", tenant_id=tenant, type="made_up", config=config, sealed_auth=sealed
    )


def test_every_connector_of_the_package_is_found() -> None:
    found = {kind.name: kind.capabilities for kind in Registry.discover().types()}

    assert found["local"] == {"lists", "reads", "writes", "temp_credentials"}
    assert found["s3"] == {"lists", "reads", "writes", "temp_credentials"}
    assert found["http"] == {"reads"}
    assert found["hls"] == {"live"}


@pytest.mark.parametrize(
    ("exports", "said"),
    [
        ({"TYPE": None}, "connectors.made_up lacks TYPE"),
        ({"Config": None, "Auth": None}, "lacks Config, Auth"),
        ({"connect": None}, "lacks connect"),
        ({"IDENTITY": ("place", "nowhere")}, "names no Config field: nowhere"),
        ({"Config": dict}, "Config must be a ConfigModel"),
        ({"Auth": _Config}, "Auth must be a AuthModel"),
        ({"connect": lambda config, auth, env: None}, "annotated to return a class"),
        ({"TYPE": "local"}, "two connector modules export TYPE 'local'"),
    ],
)
def test_an_incomplete_connector_is_refused_by_name(exports: dict[str, Any], said: str) -> None:
    with pytest.raises(IncompleteConnector, match=said):
        Registry.discover(module(**exports))


def test_schemas_mark_secrets_as_write_only() -> None:
    schemas = Registry.discover(module()).get("made_up").schemas()

    assert schemas["auth"]["properties"]["key"]["anyOf"][0]["writeOnly"] is True
    assert set(schemas["config"]["properties"]) == {"place", "timeoutS"}


def test_the_fingerprint_names_the_content() -> None:
    registry = Registry.discover(module())

    here = registry.fingerprint(ref(place="here"))

    assert here == registry.fingerprint(ref(place="here", timeoutS=9))
    assert here != registry.fingerprint(ref(place="there"))
    assert here != registry.fingerprint(ref(tenant="t2", place="here"))


def test_an_opened_connector_has_its_secrets() -> None:
    registry, sealer = Registry.discover(module()), Sealer(new_key())
    sealed = sealer.seal_auth("t1", "c1", _Auth(key=SecretStr("s3cret")))
    env = env_for(Settings())

    opened: Any = registry.open(ref(sealed=sealed, place="here"), sealer, env)

    assert opened.auth.key.get_secret_value() == "s3cret"
    with pytest.raises(AccessDenied):
        registry.open(ref(tenant="t2", sealed=sealed, place="here"), sealer, env)


def test_a_wrong_field_is_named_and_its_value_is_not() -> None:
    kind = Registry.discover(module()).get("made_up")

    with pytest.raises(FieldInvalid, match="config/timeoutS") as raised:
        kind.parse_config({"place": "here", "timeoutS": "s3cret"})
    with pytest.raises(FieldInvalid, match="auth/key") as secret:
        kind.parse_auth({"key": ["s3cret"]})

    assert "s3cret" not in f"{raised.value}{secret.value}"


def test_unknown_types_and_capabilities_say_so() -> None:
    registry = Registry.discover()

    with pytest.raises(FieldInvalid, match=r"there are .*hls, http, local"):
        registry.get("gopher")
    with pytest.raises(Unsupported):
        registry.require("http", "writes")
    registry.require("http", "reads")
