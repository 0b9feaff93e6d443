"""Where the files of a run lie: their paths say what they are."""

from pathlib import Path
from typing import NamedTuple, Self

from pydantic import PrivateAttr

from convnova.config.hyperparameters import Strict


class Job(NamedTuple):
    """One fine-tuning: what makes one number."""

    suite: str
    task: str
    model: str
    protocol: str
    seed: int

    @property
    def name(self) -> str:
        """What commands, logs and paths call it."""
        return f"{self.suite}/{self.task}/{self.model}/{self.protocol}/seed={self.seed}"

    def folder(self, run: str) -> str:
        """Where its results lie below the run's root; the path says what they are."""
        return f"results/{run}/runs/{self.name}"


class RunFiles(Strict):
    """The files of a run, in its folders `results` and `resources`.

    The two lie in the working directory, or, where a run's files are kept in a storage, wherever copies of them are.
    """

    run: str
    _root: Path = PrivateAttr(Path())

    def below(self, root: Path) -> Self:
        """The same, of a run whose folders `results` and `resources` lie in `root`, not in the working directory."""
        moved = self.model_copy()
        moved._root = root
        return moved

    def place(self, path: str | Path) -> Path:
        """One of the run's paths, which are relative to its root, as a path from here."""
        return self._root / path

    def shown(self, path: str | Path) -> str:
        """The opposite: a path from here as it is written down in results."""
        path = Path(path)
        return str(path.relative_to(self._root) if path.is_relative_to(self._root) else path)

    @property
    def results(self) -> Path:
        """The folder of the run's results."""
        return self.place(f"results/{self.run}")

    def folder(self, job: Job) -> Path:
        """The folder of a fine-tuning's results."""
        return self.place(job.folder(self.run))
