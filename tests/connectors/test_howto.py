"""The documents about connectors are true: the example runs, the tables name every field."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from connectors.registry import ConnectorType, Registry, described

DOCS = Path(__file__).parents[2] / "docs"
HOWTO = (DOCS / "howto" / "write-a-connector.md").read_text()
REFERENCE = (DOCS / "reference" / "connectors.md").read_text()


def _blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", HOWTO, re.DOTALL | re.MULTILINE)


def _module(name: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / f"{name.rpartition('.')[2]}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, made)
    spec.loader.exec_module(made)
    return made


def test_the_example_connector_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector_text, test_text = _blocks()
    connector = _module("connectors.json_index", connector_text, tmp_path, monkeypatch)
    test = _module("howto.test_json_index", test_text, tmp_path, monkeypatch)
    with_example = Registry.discover(connector)
    monkeypatch.setattr(Registry, "discover", lambda: with_example)

    test.test_a_listed_file_is_found_and_read(tmp_path)

    assert described(connector).capabilities == {"lists", "reads"}
    assert len([line for line in connector_text.splitlines() if line.strip()]) < 100


PLUGIN = """
import importlib.util, sys
from connectors.registry import Registry

def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made

found = Registry.discover(module("connectors.json_index", "{connector}"))
Registry.discover = lambda: found
module("tests.connectors.test_json_index", "{test}")
"""


def test_the_example_passes_the_conformance_suite(tmp_path: Path) -> None:
    connector, test = tmp_path / "json_index.py", tmp_path / "test_json_index.py"
    for path, text in zip((connector, test), _blocks(), strict=True):
        path.write_text(text)
    (tmp_path / "howto_plugin.py").write_text(PLUGIN.format(connector=connector, test=test))
    suite = "tests/conformance/connectors/test_conformance.py"
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "howto_plugin", "-rs", suite]
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(DOCS.parent)))}

    done = subprocess.run(
        [*argv, "-k", "json_index", "-p", "no:cacheprovider", "-p", "no:schemathesis"],
        cwd=DOCS.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert passed is not None
    assert int(passed[1]) >= 25


@pytest.mark.parametrize("kind", Registry.discover().types(), ids=lambda kind: kind.name)
def test_the_reference_names_every_field_and_capability(kind: ConnectorType) -> None:
    section = REFERENCE.partition(f"\n## {kind.name}\n")[2].partition("\n## ")[0]
    row = re.search(rf"^\| `{kind.name}` \|.*\| (.*) \|$", REFERENCE, re.MULTILINE)

    fields = [
        f"`{part}.{field}`"
        for part, schema in kind.schemas().items()
        for field in schema.get("properties", {})
    ]

    assert row is not None
    assert set(row[1].split(", ")) == set(kind.capabilities)
    assert [field for field in fields if field not in section] == []
