"""What the repository has beside the package, and a wheel within it: the catalogue, the workflow, the profiles."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
BUNDLE = PACKAGE / "share" if (PACKAGE / "share").is_dir() else PACKAGE.parent
"""The folder that that holds them: see `setup.py`."""
BUNDLED = ("config", "profiles", "slurm", "workflow")


def bundled(name: str | Path) -> Path:
    """A path as it is, or, of what is not in the working directory, that of the package's own file.

    >>> bundled("mine.yaml"), bundled("config/sources.yaml").is_file()
    (PosixPath('mine.yaml'), True)
    """
    is_here = Path(name).exists() or Path(name).parts[:1] not in [(folder,) for folder in BUNDLED]
    return Path(name) if is_here or not (BUNDLE / name).exists() else BUNDLE / name
