"""The READMEs: their figures are those of the JSON files, their pictures and commands are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READMES = [
    ROOT / "README.md",
    ROOT / "client/README.md",
    ROOT / "benchmarks/README.md",
    ROOT / "benchmarks/nano.md",
    ROOT / "worldmodel/pretrained/nano/README.md",
    ROOT / "worldmodel/pretrained/nano/HISTORY.md",
    ROOT / "worldmodel/minecraft/README.md",
    ROOT / "worldmodel/games/luanti/README.md",
]


def test_figures_come_from_the_files_that_measured_them():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/write_tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_and_links_are_there(readme):
    text = readme.read_text()
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    for target in targets:
        assert (readme.parent / target).exists(), target


def test_the_first_page_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_every_script_is_named_and_every_name_is_a_script():
    named = set(re.findall(r"scripts/(\w+\.py)", "".join(readme.read_text() for readme in READMES)))
    assert named <= {path.name for path in (ROOT / "scripts").glob("*.py")}


@pytest.mark.parametrize("command", ["play", "replay", "import", "sessions", "bench", "doctor", "web"])
def test_every_command_explains_itself(command):
    done = subprocess.run(
        [sys.executable, "-m", "client.cli", command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "usage: worldmodel" in done.stdout
