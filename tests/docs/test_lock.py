"""The lock file has every requirement of pyproject.toml, with hashes and torch's CPU build, and the page of licences lists its packages."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([A-Za-z0-9][\w.-]*)==(\S+)", LOCK, re.M))


def test_every_requirement_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    wanted = project["dependencies"] + [text for extra in (*extras.split(), "docs") for text in project["optional-dependencies"][extra]]
    for text in wanted:
        requirement = Requirement(text)
        version = LOCKED.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock; run: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{text}: {version} is locked; run: make lock"


def test_every_package_has_hashes_and_torch_is_for_cpus():
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.M)[1:]
    assert len(blocks) == len(LOCKED)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert LOCKED["torch"].endswith("+cpu")
    assert "://" not in LOCK


def test_the_page_of_licences_lists_the_locked_packages():
    listed = re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "docs" / "licences.md").read_text(), re.M)
    assert {name for name, _ in listed} - {"package"} == set(LOCKED), "run: python tools/licences.py"
