"""AWS Elemental MediaPackage, version 1 and 2: live channels, their past by time-shifted playlists.

A range is asked for as the service documents it: `start` and `end` in epoch seconds, as parameters
of version 1 and within `aws.manifestsettings` of version 2. Where a bucket is given, a range that
is over is harvested into it first, and read from there.
"""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors._mediapackage_api import (
    LIMITS,
    V1,
    V2,
    Api,
    Endpoint,
    Place,
    translated,
)
from connectors.base import (
    AuthModel,
    Channel,
    ConfigModel,
    ConnectorEnv,
    Control,
    Entry,
    OnBytes,
    Page,
    Query,
    key_parts,
    paged,
)
from connectors.egress import Body, redacted
from schemas.connectors import Capability
from schemas.errors import (
    CorruptMedia,
    FieldInvalid,
    NotYetAvailable,
    OutsideWindow,
    SourceNotFound,
    SourceUnavailable,
)
from schemas.media import ByteRange
from schemas.times import TimeRange

if TYPE_CHECKING:
    from connectors.egress import Downloaded

TYPE = "mediapackage"
IDENTITY = ("version", "region", "channel_group", "endpoint")
MAX_PLAYLIST_BYTES = 20 * 1024 * 1024
# Segments beside a range belong to it too; the service lists whole ones.
BESIDE_MS = 15_000
LONGEST_S = 24 * 3600
ASK_AGAIN_MS = 5000
ROLE_LASTS_S = 3600
_NAME = r"^[A-Za-z0-9_-]{1,256}$"
_BUCKET = r"^[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9]$"
_URI = re.compile(r'(?<=URI=")[^"\r\n]+(?=")')
_SHIFT = ("start", "end", "aws.manifestsettings")


class Harvest(ConfigModel):
    """The bucket harvested media goes to, and is read from with the connector's own keys."""

    bucket: str = Field(pattern=_BUCKET)
    prefix: str = Field(default="", max_length=512)
    role_arn: str | None = Field(
        default=None, min_length=20, max_length=2048, description="version 1 writes as this role"
    )
    endpoint: str | None = Field(default=None, max_length=512, description="Amazon where absent")

    @field_validator("prefix")
    @classmethod
    def _a_folder(cls, prefix: str) -> str:
        plain = prefix.strip("/")
        try:
            return "/".join(key_parts(plain)) if plain else ""
        except FieldInvalid as error:
            raise ValueError(error.message) from None

    @field_validator("endpoint")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        return _checked_origin(url)


class Config(ConfigModel):
    """Whose channels: a region, and of version 2 a channel group."""

    version: Literal["v1", "v2"] = "v2"
    region: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    channel_group: str | None = Field(default=None, pattern=_NAME)
    cdn_origin: str | None = Field(
        default=None,
        max_length=512,
        description="scheme, host and port playlists are read from in place of the service's own",
    )
    sign: bool = Field(
        default=False, description="sign what is read of version 2, as its endpoint policy may want"
    )
    harvest: Harvest | None = None
    endpoint: str | None = Field(default=None, max_length=512, description="Amazon where absent")
    sts_endpoint: str | None = Field(default=None, max_length=512)

    @field_validator("cdn_origin", "endpoint", "sts_endpoint")
    @classmethod
    def _an_origin(cls, url: str | None) -> str | None:
        return _checked_origin(url)

    @model_validator(mode="after")
    def _goes_together(self) -> Config:
        if (self.version == "v2") != (self.channel_group is not None):
            raise ValueError("channelGroup goes with version v2")
        if self.sign and self.version == "v1":
            raise ValueError("what version 1 serves is not signed")
        if self.version == "v1" and self.harvest and not self.harvest.role_arn:
            raise ValueError("version 1 harvests with a roleArn")
        return self


class Auth(AuthModel):
    """A key pair, or keys that may take on a role; and what a CDN proves itself with."""

    access_key_id: str = Field(min_length=1, max_length=128)
    secret_access_key: SecretStr
    session_token: SecretStr | None = None
    role_arn: str | None = Field(default=None, min_length=20, max_length=2048)
    external_id: SecretStr | None = None
    cdn_identifier: SecretStr | None = Field(
        default=None, description="the header value CDN authorization compares"
    )

    @field_validator("cdn_identifier")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"[\x21-\x7e]{8,256}", value.get_secret_value(), re.ASCII):
            raise ValueError("a CDN identifier has 8 to 256 printable characters")
        return value


def _checked_origin(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an http or https URL with a host is needed")
    if parts.username is not None or parts.query or parts.path not in {"", "/"}:
        raise ValueError("an origin is scheme, host and port alone")
    return url.rstrip("/")


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> MediaPackage:
    """The channels, with the tenant's own keys and no others; nobody is asked yet."""
    return MediaPackage(config, auth, env)


class MediaPackage:
    """Channels of an account, or of a channel group."""

    def __init__(
        self, config: Config, auth: Auth, env: ConnectorEnv, api: Api | None = None
    ) -> None:
        self._config, self._env = config, env
        self._keys = Keys(config, auth, env)
        self._cdn = auth.cdn_identifier
        self._api_made = api
        self._known: dict[str, Endpoint] = {}
        self._origins: set[tuple[str, str, int]] | None = None
        self._lock = threading.RLock()

    def check(self, capability: Capability | None = None) -> None:
        """Channels may be listed; to cut from them, the first has a playlist that can be read."""
        channels = self._api.channels()
        if capability != "live" or not channels:
            return
        url = self._endpoint(channels[0].id).url
        body = self.fetch(url, max_bytes=MAX_PLAYLIST_BYTES)
        if not body.data.removeprefix(b"\xef\xbb\xbf").startswith(b"#EXTM3U"):
            raise CorruptMedia(f"{redacted(url)} is not an HLS playlist")

    def query(self, query: Query) -> Page:
        """The channels."""
        if query.path:
            raise SourceNotFound("channels have no folders")
        return paged(
            (Entry(file_id=c.id, name=c.name, kind="channel") for c in self.channels()), query
        )

    def channels(self) -> tuple[Channel, ...]:
        """The channels there are."""
        return tuple(self._api.channels())

    def playlist_url(self, channel_id: str) -> str:
        """The live playlist of a channel."""
        return self._endpoint(channel_id).url

    def playlist_within(self, channel_id: str, wanted: TimeRange) -> str:
        """A playlist of this range alone; the live one where the endpoint keeps no past."""
        endpoint, now_ms = self._endpoint(channel_id), self._env.clock()
        if not endpoint.window_s or not endpoint.dated:
            return endpoint.url
        since_ms = now_ms - endpoint.window_s * 1000
        if wanted.start_ms < since_ms:
            raise OutsideWindow(
                f"the range starts at {wanted.start_ms}; the endpoint keeps {since_ms} to {now_ms}",
                held=(since_ms, now_ms),
            )
        span = _beside(wanted, since_ms, now_ms)
        over_ms = now_ms - endpoint.delay_s * 1000
        if self._config.harvest is not None and span.end_ms <= over_ms:
            return self._harvested(endpoint, span, self._config.harvest)
        return _shifted(endpoint.url, span, self._config.version)

    def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        control: Control | None = None,
    ) -> Body:
        """A playlist, key or init section; what a time-shifted playlist names is shifted alike."""
        try:
            body = self._env.egress.get_bytes(
                url,
                max_bytes=max_bytes,
                headers=self._headers(url),
                byte_range=byte_range,
                control=control,
            )
        except SourceNotFound:
            if _shift_of(url):
                raise OutsideWindow(
                    "the endpoint no longer keeps the range, or never had it", held=None
                ) from None
            raise
        return body.model_copy(update={"data": _children_shifted(body.data, url)})

    def download(
        self,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Downloaded:
        """A segment into a file."""
        return self._env.egress.download(
            url,
            path,
            max_bytes=max_bytes,
            headers=self._headers(url),
            byte_range=byte_range,
            on_bytes=on_bytes,
            control=control,
        )

    @property
    def _api(self) -> Api:
        with self._lock:
            if self._api_made is None:
                client = self._keys.client(f"mediapackage{self._suffix}", self._config.endpoint)
                group = self._config.channel_group
                self._api_made = V1(client) if group is None else V2(client, group)
            return self._api_made

    @property
    def _suffix(self) -> str:
        return "v2" if self._config.version == "v2" else ""

    def _endpoint(self, channel_id: str) -> Endpoint:
        """The endpoint to cut a channel from: unencrypted, dated, with the longest memory."""
        if not re.fullmatch(_NAME, channel_id):
            raise SourceNotFound(f"there is no channel {channel_id[:64]!r}")
        with self._lock:
            if channel_id not in self._known:
                found = self._api.endpoints(channel_id)
                if not found:
                    raise SourceNotFound(f"channel {channel_id[:64]!r} has no HLS endpoint")
                best = max(found, key=lambda e: (not e.encrypted, e.dated, e.window_s))
                url = _moved(best.url, self._config.cdn_origin)
                self._known[channel_id] = best.model_copy(update={"url": url})
            return self._known[channel_id]

    def _harvested(self, endpoint: Endpoint, span: TimeRange, harvest: Harvest) -> str:
        """The harvested playlist of a range, once its job is done."""
        words = f"{self._config.region} {endpoint.id} {span.start_ms} {span.end_ms}"
        name = f"cuttingroom-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
        key = "/".join(filter(None, [harvest.prefix, name]))
        match self._api.harvested(endpoint, name):
            case "done":
                file = "index" if self._config.version == "v1" else endpoint.manifest
                return f"{self._bucket(harvest)}/{quote(key)}/{quote(file)}.m3u8"
            case "failed":
                raise SourceUnavailable("the harvest job failed")
            case "absent":
                place = Place(bucket=harvest.bucket, key=key, role_arn=harvest.role_arn)
                self._api.harvest(endpoint, name, span, place)
        again_ms = self._env.clock() + ASK_AGAIN_MS
        raise NotYetAvailable("the range is being harvested", retry_at_ms=again_ms)

    def _bucket(self, harvest: Harvest) -> str:
        if harvest.endpoint is not None:
            return f"{harvest.endpoint}/{harvest.bucket}"
        return f"https://{harvest.bucket}.s3.{self._config.region}.amazonaws.com"

    def _headers(self, url: str) -> dict[str, str]:
        """What proves who asks: to the bucket, and to the endpoints themselves, to nobody else."""
        harvest = self._config.harvest
        if harvest is not None and url.startswith(f"{self._bucket(harvest)}/"):
            return self._keys.signed("s3", url)
        if (self._cdn is None and not self._config.sign) or not self._is_own(url):
            return {}
        headers = self._keys.signed("mediapackagev2", url) if self._config.sign else {}
        if self._cdn is not None:
            name = f"X-MediaPackage{self._suffix.upper()}-CDNIdentifier"
            headers[name] = self._cdn.get_secret_value()
        return headers

    def _is_own(self, url: str) -> bool:
        """Whether an address is at one of the channels' own origins."""
        with self._lock:
            if self._config.cdn_origin is not None:
                return _origin(url) == _origin(self._config.cdn_origin)
            if self._origins is None:
                self._origins = {
                    _origin(endpoint.url)
                    for channel in self._api.channels()
                    for endpoint in self._api.endpoints(channel.id)
                }
            return _origin(url) in self._origins


class Keys:
    """The tenant's keys, or those of the role they may take on; what is signed with them."""

    def __init__(self, config: Config, auth: Auth, env: ConnectorEnv) -> None:
        self._config, self._auth, self._env = config, auth, env
        self._role: tuple[dict[str, Any], int] | None = None
        self._lock = threading.Lock()

    def client(self, service: str, endpoint: str | None) -> Any:
        """A client of a service, with the keys that are good now."""
        return self._client(service, endpoint, self._current())

    def signed(self, service: str, url: str) -> dict[str, str]:
        """The headers of a signed GET."""
        from connectors._s3_client import signed_headers  # slow to import

        return signed_headers(service, self._config.region, self._current(), url)

    def _current(self) -> dict[str, Any]:
        own = _keys(
            self._auth.access_key_id,
            self._auth.secret_access_key.get_secret_value(),
            self._auth.session_token.get_secret_value() if self._auth.session_token else None,
        )
        if self._auth.role_arn is None:
            return own
        with self._lock:
            now_ms = self._env.clock()
            if self._role is None or self._role[1] <= now_ms:
                self._role = self._taken_on(own), now_ms + (ROLE_LASTS_S - 300) * 1000
            return self._role[0]

    def _taken_on(self, own: dict[str, Any]) -> dict[str, Any]:
        outside = self._auth.external_id
        more = {"ExternalId": outside.get_secret_value()} if outside else {}
        with translated("the role"):
            client = self._client("sts", self._config.sts_endpoint, own)
            found = client.assume_role(
                RoleArn=self._auth.role_arn,
                RoleSessionName="cuttingroom",
                DurationSeconds=ROLE_LASTS_S,
                **more,
            )["Credentials"]
            return _keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def _client(self, service: str, endpoint: str | None, keys: dict[str, Any]) -> Any:
        from connectors._s3_client import new_service_client  # slow to import

        return new_service_client(
            service,
            self._env.egress.judge,
            LIMITS,
            endpoint=endpoint,
            region=self._config.region,
            keys=keys,
        )


def _keys(key_id: str, secret: str, token: str | None) -> dict[str, Any]:
    return {
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret,
        "aws_session_token": token,
    }


def _beside(wanted: TimeRange, since_ms: int, now_ms: int) -> TimeRange:
    """The range with its neighbours, within what is kept and what one playlist may list."""
    start_s = max((min(wanted.start_ms, now_ms) - BESIDE_MS) // 1000, since_ms // 1000 + 1)
    end_s = -(-(wanted.end_ms + BESIDE_MS) // 1000)
    return TimeRange(start_ms=start_s * 1000, end_ms=min(end_s, start_s + LONGEST_S) * 1000)


def _shifted(url: str, span: TimeRange, version: str) -> str:
    """The address of a playlist, asking for a span; other parameters stay."""
    start, end = span.start_ms // 1000, span.end_ms // 1000
    if version == "v1":
        return _with(url, [("start", str(start)), ("end", str(end))])
    return _with(url, [("aws.manifestsettings", f"start:{start};end:{end}")])


def _with(url: str, more: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] not in _SHIFT]
    return urlunsplit(parts._replace(query=urlencode([*kept, *more])))


def _shift_of(url: str) -> list[tuple[str, str]]:
    """What an address asks for of time."""
    return [pair for pair in parse_qsl(urlsplit(url).query) if pair[0] in _SHIFT]


def _children_shifted(data: bytes, url: str) -> bytes:
    """A multivariant playlist, its own playlists asked for the same time where they name none."""
    shift = _shift_of(url)
    if not shift or b"#EXT-X-STREAM-INF" not in data:
        return data

    def asked(uri: str) -> str:
        elsewhere = "://" in uri and _origin(uri) != _origin(url)
        return uri if elsewhere or _shift_of(uri) else _with(uri, shift)

    lines = data.decode("utf-8", "replace").splitlines()
    shifted = (
        _URI.sub(lambda found: asked(found[0]), line)
        if line.startswith("#EXT-X-MEDIA:")
        else line
        if line.startswith("#")
        else asked(line)
        for line in lines
        if line.strip()
    )
    return "\n".join([*shifted, ""]).encode()


def _moved(url: str, origin: str | None) -> str:
    """The same path and query at another origin."""
    if origin is None:
        return url
    base = urlsplit(origin)
    return urlunsplit(urlsplit(url)._replace(scheme=base.scheme, netloc=base.netloc))


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", "", 0
    return parts.scheme, (parts.hostname or "").lower(), port
