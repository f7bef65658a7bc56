"""Everything in the documentation that can be run is run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mqttlite.testing import Broker

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TIMEOUT = 60

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def _blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, match in enumerate(_BLOCK.finditer(text), 1):
            yield f"{page.relative_to(ROOT)}:{number}", match[1]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


BLOCKS = list(_blocks())


@pytest.mark.parametrize("code", [code for _, code in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_code_in_the_documentation(code: str) -> None:
    with Broker() as broker:
        result = _run("-c", code.replace("mqtt://localhost", broker.url))
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path) -> None:
    result = _run(str(example))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["quickstart", "consumer", "service", "bare_core"])
def test_example_with_a_url(name: str) -> None:
    with Broker() as broker:
        result = _run(f"examples/{name}.py", broker.url)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_quickstart_fails_if_something_does_not_happen() -> None:
    with Broker() as broker:
        url = broker.url
    assert _run("examples/quickstart.py", url).returncode != 0


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_commands_of_the_readme_are_the_ones_that_are_run() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second, *_ = re.findall(r"^```sh\n(.*?)\n```", readme, re.MULTILINE | re.DOTALL)
    assert "\n" not in first
    assert "\n" not in second
    assert first.endswith("examples/quickstart.py")
    assert second in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
