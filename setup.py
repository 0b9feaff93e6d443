"""A wheel carries, as `convnova/share/`, what the repository has at its top level; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLED = ("Snakefile", "workflow", "config", "slurm", "profiles", "envs/convnova.yaml", "envs/convnova.post-deploy.sh")


class WithBundle(build_py):
    """Copies it beside the package's own files."""

    def run(self) -> None:
        """Called by setuptools."""
        super().run()
        if self.editable_mode:
            return
        for name in BUNDLED:
            target = Path(self.build_lib, "convnova/share", name)
            shutil.rmtree(target, ignore_errors=True)  # of an earlier build
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, target)
            else:
                shutil.copy(name, target)


setup(cmdclass={"build_py": WithBundle})
