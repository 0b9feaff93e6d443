"""One version of each package wherever versions stand: in the ranges of the package, the locks, the environments."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {name: (ROOT / name).read_text() for name in ("constraints.txt", "constraints-test.txt")}
TORCH = dict(re.findall(r"^(torch)==([\d.]+)$", (ROOT / "constraints-torch.txt").read_text(), re.MULTILINE))
VERSIONS = {name: dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)) for name, text in LOCKS.items()}


def needed(*lines: str) -> dict[str, Requirement]:
    """Requirements by the name that locks have, without those of other machines and of this package itself."""
    found = {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}
    return {name: need for name, need in found.items() if not need.marker or need.marker.evaluate({"extra": ""})}


@pytest.mark.parametrize("lock, extras", [("constraints.txt", ["slurm"]), ("constraints-test.txt", list(EXTRAS))])
def test_the_locked_versions_are_in_the_ranges_of_the_package(lock, extras):
    lines = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    needs = {name: need for name, need in needed(*lines).items() if name != "convnova"}
    assert len(needs) > 20
    assert all(need.specifier.contains((VERSIONS[lock] | TORCH)[name]) for name, need in needs.items())
    assert all(str(need.specifier) for need in needs.values()), "a range each"


@pytest.mark.parametrize("lock", VERSIONS)
def test_a_lock_has_all_that_its_packages_need(lock):
    """As the packages that are installed here say themselves."""
    locked, checked = VERSIONS[lock] | TORCH, 0
    for name in locked:
        try:
            needs = needed(*(requires(name) or ()))
        except PackageNotFoundError:  # of another system
            continue
        checked += 1
        if name == "torch":  # what its builds for GPUs bring is not locked
            needs = {other: need for other, need in needs.items() if not re.match("nvidia-|cuda-|triton$", other)}
        wrong = [str(need) for other, need in needs.items() if not need.specifier.contains(locked.get(other, "0"))]
        assert wrong == [], name
    assert checked > 80


def test_a_lock_has_a_checksum_for_every_file_and_no_address():
    entries = {lock: re.split(r"\n(?=\w)", text.split("\n", 2)[2].strip()) for lock, text in LOCKS.items()}
    for entry in [entry for of_lock in entries.values() for entry in of_lock]:
        assert re.fullmatch(r"[a-z][\w.-]+==[\w.]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry
        assert not re.match("torch==|nvidia|cuda", entry)
    assert set(entries["constraints.txt"]) <= set(entries["constraints-test.txt"])
    for path in (*LOCKS, "constraints-torch.txt", "envs/lock.sh", "envs/convnova.yaml", "envs/Dockerfile", "Makefile"):
        addresses = re.findall(r"\w+://[^\s\"]+|--(?:extra-)?index\S*|--find-links", (ROOT / path).read_text())
        assert set(addresses) <= {"--extra-index-url", "https://download.pytorch.org/whl/cpu"}, path


def test_environments_and_containers_install_the_locked_versions():
    environment = yaml.safe_load((ROOT / "envs/convnova.yaml").read_text())
    (pins,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    pinned = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in pins)}
    assert pinned.keys() == needed(*PROJECT["dependencies"], *EXTRAS["slurm"]).keys()
    assert pinned.items() <= (VERSIONS["constraints.txt"] | TORCH).items()
    for path in ("envs/Dockerfile", "envs/convnova.def"):
        text = (ROOT / path).read_text()
        assert "--require-hashes --no-deps -r /opt/convnova/constraints.txt" in text
        assert "-r /opt/convnova/constraints-torch.txt" in text and text.count("constraints-torch.txt") >= 2
