"""Schemathesis, all of its checks on, over a running service that holds something of everything.

`python -m tests.made_up 100` tries a hundred requests an operation, and prints what was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.service import Client, Service, file_id, service
from tests.media_builder import StreamSpec, build, write_mp4
from tests.timelines import a_clip, a_timeline, a_track, of_file

DOCUMENT = Path(__file__).parents[1] / "docs" / "reference" / "openapi.json"
# A stream of events ends when its reader does.
STREAMS = ("listEvents", "listJobEvents")
# Would end the run itself; each is tried by tests of its own.
ENDS_THE_RUN = {
    "deleteTenant": "everything the run uses is the tenant's",
    "updateTenant": "asks for a second factor of whoever goes on asking",
    "logout": "ends the session the run uses",
    "removeMfa": "of the user whose session the run uses",
    "updateApiKey": "the run's own key is among those it may disable",
    "deleteUser": "the run's own user is among those it may delete",
}
QUIET: dict[str, Any] = {
    "anonymous_rate_per_minute": 1_000_000,
    "login_rate_per_minute": 1_000_000,
    "rate_per_minute": 10_000_000,
    "password_memory_kib": 8,
    "password_rounds": 1,
    "answer_floor_ms": 0,
    "source_wait_s": 0.0,
    "epg_wait_s": 0.2,
    "signup": "open",
}
# What a type cannot do, and what a system beyond ours answers, is told as such; 500 and 503 never.
_TOLD = ["2xx", "3xx", "4xx", "501", "502", "504"]
_CHECKS = f"""
[generation]
with-security-parameters = false  # the run has credentials of its own
[checks]
enabled = true
[checks.not_a_server_error]
expected-statuses = {json.dumps(_TOLD)}
[checks.positive_data_acceptance]
enabled = false  # no schema says which code was mailed, or which ids there are
"""
SMALL = {"name": "Small", "video": {"codec": "h264", "height": 48}}
PLACE = {"name": "Field", "pathTemplate": "{uploadId}/{fileName}"}
FILE = {"fileName": "a.mp4", "size": 1000, "contentType": "video/mp4"}


def made(client: Client, path: str, body: Any) -> dict[str, Any]:
    """What a POST made."""
    answer = client.ask("POST", path, body)
    assert answer.status in {201, 202}, answer
    found: dict[str, Any] = answer.body
    return found


def seeded(client: Client, folder: Path) -> dict[str, dict[str, str]]:
    """The ids of something of everything, by the beginning of the paths they belong in."""
    write_mp4(build(StreamSpec(seconds=1)), folder / "a.mp4")
    body = {"type": "local", "name": "Files", "config": {"folder": str(folder)}}
    connector = made(client, "/v1/connectors", body)["id"]
    record = {"view": "news-clip", "values": {"headline": "Fire"}}
    view = {"name": "Own", "fields": [{"name": "speaker"}]}
    project = a_timeline(a_track(a_clip(media=of_file(connector, "a.mp4"))))
    recipe = made(client, "/v1/renditions", SMALL)["id"]
    wanted = {"renditionIds": [recipe], "destination": {"connectorId": connector, "path": "b.mp4"}}
    job = made(client, f"/v1/connectors/{connector}/files/a.mp4/renditions", wanted)["id"]
    hook = made(client, "/v1/webhooks", {"url": "http://127.0.0.1:9/"})["id"]
    sent = made(client, f"/v1/webhooks/{hook}/test", {})["id"]
    place = made(client, "/v1/reporter/destinations", PLACE)["id"]
    upload = made(client, f"/v1/reporter/destinations/{place}/credentials", FILE)["uploadId"]
    metadata = f"/v1/connectors/{connector}/files/a.mp4/metadata"
    return {
        "/v1/connectors/": {"id": connector, "fileId": "a.mp4", "channelId": "ch1"},
        "/v1/jobs/": {"id": job, "name": "b.mp4"},
        "/v1/webhooks/": {"id": hook, "deliveryId": sent},
        "/v1/metadata/": {"id": made(client, metadata, record)["id"]},
        "/v1/metadata-views/": {"id": made(client, "/v1/metadata-views", view)["id"]},
        "/v1/projects/": {"id": made(client, "/v1/projects", project)["id"]},
        "/v1/renditions/": {"id": recipe},
        "/v1/reporter/destinations/": {"id": place, "uploadId": upload},
        "/v1/reporter/tus/": {"id": upload},
        "/v1/users/": {"id": a_user(client, "robin"), "email": "kim@example.com"},
    }


def a_user(client: Client, name: str) -> str:
    """The id of somebody who may look."""
    return str(made(client, "/v1/users", {"email": f"{name}@example.com", "name": name})["id"])


def bearer(running: Service) -> str:
    """A session of the first user."""
    first = running.stack.credentials()
    body = {"email": first.email, "password": first.password}
    answer = running.client.ask("POST", "/v1/auth/token", body)
    return f"Bearer {answer.body['accessToken']}"


def clip_of(operation_id: str) -> dict[str, str]:
    """A clip's fileId is one of its own form."""
    clips = operation_id in {"clipFromStream", "getClip"}
    return {"fileId": file_id(1_643_957_046_000, 1_643_957_106_000, "1")} if clips else {}


def configured(running: Service, places: Mapping[str, Mapping[str, str]]) -> str:
    """The configuration of a run: what lies where, and who asks."""
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    key, session = running.client.api_key, bearer(running)
    blocks = [_CHECKS]
    for path, methods in document["paths"].items():
        known = next((v for k, v in places.items() if path.startswith(k)), {})
        for method, operation in methods.items():
            there = {} if method == "delete" else known
            needs = operation.get("x-scope")
            said = {"Authorization": session} if needs == "session" else {"X-Api-Key": key}
            if told := _told(path, operation, there, said if needs else {}):
                name = json.dumps(operation["operationId"])
                blocks.append(f"[[operations]]\ninclude-operation-id = {name}\n{told}\n")
    return "\n".join(blocks)


def _told(path: str, operation: Any, known: Mapping[str, str], said: Mapping[str, str]) -> str:
    """What an operation is asked with."""
    name = operation["operationId"]
    if name in ENDS_THE_RUN or name in STREAMS:
        return "enabled = false"
    lines = []
    if said:
        lines.append(f"headers = {_inline(said)}")
    ids = {**known, **clip_of(name)} if known else {}
    there = {f"path.{k}": v for k, v in ids.items() if f"{{{k}}}" in path}
    if there:
        lines.append(f"parameters = {_inline(there)}")
    return "\n".join(lines)


def _inline(values: Mapping[str, str]) -> str:
    """An inline table of TOML."""
    pairs = (f"{json.dumps(name)} = {json.dumps(value)}" for name, value in values.items())
    return f"{{ {', '.join(pairs)} }}"


def run(folder: Path, examples: int, *more: str) -> tuple[int, str]:
    """How a run over a service in a folder ended, and what it said."""
    for made_here in (films := folder / "films", folder / "data"):
        made_here.mkdir(parents=True)
    with service(folder / "data", local_folders=(str(films),), **QUIET) as running:
        a_user(running.client, "kim")
        config = folder / "schemathesis.toml"
        config.write_text(configured(running, seeded(running.client, films)), encoding="utf-8")
        tool = Path(sysconfig.get_path("scripts")) / "st"
        argv = [str(tool), "--config-file", str(config), "run", str(DOCUMENT)]
        argv += ["--url", running.stack.url, "--no-color"]
        argv += ["--max-examples", str(examples), "--generation-deterministic"]
        argv += ["--continue-on-failure", *more]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        code, said = run(Path(place), int(sys.argv[1]), *sys.argv[2:])
    print(said)
    sys.exit(code)
