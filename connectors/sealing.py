"""Secrets at rest: sealed with what they belong to bound in, masked wherever they are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import BaseModel, SecretBytes, SecretStr

from schemas.errors import AccessDenied, InvalidCommand

MASK = "***"
AUTH_FIELD = "auth"


class Sealer:
    """Seals with the first key of the ring, opens with any; a sealed text moved to another
    tenant, resource or field does not open there."""

    def __init__(self, keys: SecretStr | str) -> None:
        text = keys.get_secret_value() if isinstance(keys, SecretStr) else keys
        keys_given = [_fernet(key) for key in text.split(",") if key.strip()]
        if not keys_given:
            raise InvalidCommand("the key ring is empty: secrets cannot be sealed")
        self._ring = MultiFernet(keys_given)

    def __repr__(self) -> str:
        return "Sealer(***)"

    def seal(self, tenant: str, resource: str, field: str, plaintext: str) -> str:
        """The plaintext as a token that opens only with the same tenant, resource and field."""
        bound = json.dumps({"t": tenant, "r": resource, "f": field, "v": plaintext})
        return self._ring.encrypt(bound.encode()).decode()

    def open(self, tenant: str, resource: str, field: str, token: str) -> SecretStr:
        """What was sealed; `AccessDenied` for a foreign, damaged or lost-key token."""
        try:
            bound = json.loads(self._ring.decrypt(token.encode()))
        except (InvalidToken, ValueError):
            raise AccessDenied(
                f"the secret {field!r} of {resource} does not open: is its key in the key ring?",
                code="secret_unreadable",
            ) from None
        if (bound["t"], bound["r"], bound["f"]) != (tenant, resource, field):
            raise AccessDenied(
                f"the secret {field!r} was sealed for something else than {resource}",
                code="secret_unreadable",
            )
        return SecretStr(bound["v"])

    def rotate(self, token: str) -> str:
        """The same secret sealed with the first key of the ring."""
        try:
            return self._ring.rotate(token.encode()).decode()
        except InvalidToken:
            raise AccessDenied(
                "a secret does not open with any key of the ring", code="secret_unreadable"
            ) from None

    def seal_auth(self, tenant: str, connector_id: str, auth: BaseModel) -> str:
        """A connector's whole `Auth` as one token."""
        return self.seal(tenant, connector_id, AUTH_FIELD, json.dumps(revealed(auth)))

    def open_auth(self, tenant: str, connector_id: str, token: str) -> dict[str, Any]:
        """The values of a sealed `Auth`; they are secrets: validate them into the model at once."""
        opened = self.open(tenant, connector_id, AUTH_FIELD, token).get_secret_value()
        values: dict[str, Any] = json.loads(opened)
        return values


def new_key() -> SecretStr:
    """A fresh key for a key ring."""
    return SecretStr(Fernet.generate_key().decode())


def _fernet(key: str) -> Fernet:
    try:
        return Fernet(key.strip().encode())
    except ValueError:
        raise InvalidCommand(
            "a key of the key ring is not 32 url-safe base64-encoded bytes"
        ) from None


def revealed(model: BaseModel) -> dict[str, Any]:
    """The model's values with its secrets in the clear: for sealing and nothing else."""
    return {name: _plain(getattr(model, name)) for name in type(model).model_fields}


def _plain(value: Any) -> Any:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case BaseModel():
            return revealed(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """The names of the model's secret fields, in both spellings."""
    return frozenset(
        spelling
        for name, field in model.model_fields.items()
        if _is_secret(field.annotation)
        for spelling in (name, field.alias or name)
    )


def _is_secret(annotation: Any) -> bool:
    if annotation in (SecretStr, SecretBytes):
        return True
    return any(_is_secret(part) for part in get_args(annotation))


def masked(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a client may see them: a secret that is set shows as `***`."""
    secrets = secret_fields(model)
    return {k: MASK if k in secrets and v is not None else v for k, v in values.items()}


def merged(
    model: type[BaseModel], held: Mapping[str, Any], patch: Mapping[str, Any]
) -> dict[str, Any]:
    """A JSON merge patch on held values: null removes; an omitted or masked secret is kept."""
    secrets = secret_fields(model)
    kept = {k: v for k, v in patch.items() if not (k in secrets and v == MASK)}
    result = {**held, **kept}
    return {k: v for k, v in result.items() if k not in kept or v is not None}
