"""A training in this process that a signal stops after some steps."""

import itertools
import os
import signal
from collections.abc import Callable

import pytest

from convnova.training.finetune import Supervised
from convnova.training.loop import Interrupted


def stopped(monkeypatch: pytest.MonkeyPatch, steps: int, train: Callable[[], object]) -> None:
    """Run `train` and send this process SIGTERM in the step after `steps`; fail if it does not stop there."""
    loss, calls = Supervised.loss, itertools.count(1)

    def stopping(self, model, batch):
        if next(calls) == steps + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, model, batch)

    with monkeypatch.context() as patched, pytest.raises(Interrupted, match=f"at step {steps} of"):
        patched.setattr(Supervised, "loss", stopping)
        train()
