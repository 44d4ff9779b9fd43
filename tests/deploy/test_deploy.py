"""What is shipped for deployment names processes and metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"cuttingroom_[a-z_]+")


def documented() -> set[str]:
    text = (ROOT / "docs/reference/metrics.md").read_text()
    named = set(METRIC.findall(text))
    return named | {f"{name}_bucket" for name in named}


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return dict(re.split(r":\s*", line, maxsplit=1) for line in lines if ":" in line)


@pytest.mark.parametrize(
    "path",
    [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.json")],
    ids=lambda path: str(path.relative_to(DEPLOY)),
)
def test_every_metric_named_exists_and_the_file_is_readable(path: Path) -> None:
    text = path.read_text()

    parsed = json.loads(text) if path.suffix == ".json" else list(yaml.safe_load_all(text))

    assert parsed
    assert set(METRIC.findall(text)) <= documented()


@pytest.mark.parametrize("name", sorted(procfile()))
def test_every_process_has_its_place_in_compose(name: str) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]

    assert name in services
    assert " ".join(services[name]["command"]).startswith(procfile()[name].partition(" --slots")[0])
