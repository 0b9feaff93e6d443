"""How long a training takes on this machine, from a few of its steps on made-up sequences."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convnova.config.hyperparameters import Pretraining, Training
from convnova.config.schema import Task
from convnova.data.batches import LabelledSequences
from convnova.data.windows import Segment, Windows
from convnova.evaluation.predict import predict
from convnova.models import build_backbone, build_predictor, new_model
from convnova.models.heads import MaskedLanguageModel
from convnova.training.finetune import Supervised, padding_of
from convnova.training.loop import Trainer
from convnova.training.optimization import CPU_BASES, in_precision
from convnova.training.pretrain import MaskedLanguage

STEPS, SEQUENCES, BASES = 2, 64, 2 * CPU_BASES
"""Steps that are timed, after one that warms up; on a CPU each of so many bases at most, of a batch that has more; and
sequences that are predicted at most."""


@dataclass(frozen=True)
class Seconds:
    """What a training on this machine takes: of a processor on a CPU, of wall time on a GPU.

    Attributes:
        step: seconds of a step.
        row: seconds to predict a sequence or to evaluate a window.
    """

    step: float
    row: float


def probe_finetuning(
    network: Mapping[str, Any], task: Task, settings: Training, strands: str, lengths: np.ndarray
) -> Seconds:
    """Time some steps of a fine-tuning, and predictions.

    Args:
        network: the arguments of `models.build_predictor`.
        task: its kind and metric.
        settings: of the training, decided for its protocol (`Training.of_protocol`).
        strands: which strands predictions are the mean over.
        lengths: bases of the task's training sequences, or of some, int64 (n,).
    """
    settings, times = _smaller_batch(settings, network["length"])
    count, random = min(SEQUENCES, max(2, BASES // network["length"])), np.random.default_rng(0)
    size = max(count, (STEPS + 1) * settings.batch_size)
    lengths = random.choice(lengths, size)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, network["length"]))])
    columns = network["length"] // task.bin_size if task.bin_size else network["outputs"]
    shape = {"per_base": int(offsets[-1]), "classes": size}.get(task.kind, (size, columns))
    dtypes = {"per_base": np.int8, "multilabel": np.uint8, "classes": np.int64, "regression": np.float64}
    labels = random.integers(0, 2, shape).astype(dtypes[task.kind])
    tokens = random.integers(0, 4, offsets[-1], np.uint8)
    rows = LabelledSequences(tokens, offsets, labels, task.kind, np.arange(size), network["length"])
    some = LabelledSequences(tokens, offsets, labels, task.kind, np.arange(count), network["length"])
    model = new_model(lambda: build_predictor(**network), 1, settings.checkpointing)
    padding = padding_of(model, settings, rows)
    objective = Supervised(task, settings, 1, {"train": rows, "valid": some, "test": some}, padding, strands)

    def evaluate() -> None:
        predict(model, some, padding, objective.evaluation_batch, strands, objective.numbers)

    return _probe(model, objective, settings, evaluate, count, times)


def probe_pretraining(architecture: str, model_settings: dict[str, Any], settings: Pretraining) -> Seconds:
    """Time some steps of a pretraining, and its evaluation.

    Args:
        architecture: name of a module of `convnova.models`.
        model_settings: fields of its `Config`.
        settings: of the pretraining.
    """
    settings, times = _smaller_batch(settings, settings.length)
    count = (STEPS + 1) * settings.batch_size
    tokens = np.random.default_rng(0).integers(0, 4, count * settings.length, np.uint8)
    windows = Windows({"made up": tokens}, [Segment("made up", 0, count, settings.length)], settings.length)
    some = Windows({"made up": tokens}, [Segment("made up", 0, settings.batch_size, settings.length)], settings.length)
    model = new_model(
        lambda: MaskedLanguageModel(build_backbone(architecture, model_settings)), 1, settings.checkpointing
    )
    objective = MaskedLanguage(settings.changed({"windows": None}), windows, some)
    return _probe(model, objective, settings, lambda: objective.evaluate(model), settings.batch_size, times)


def _smaller_batch(settings: Any, length: int) -> tuple[Any, float]:
    """Settings with a batch of few bases, and how often the whole batch has it: a CPU takes parts one by one."""
    size = settings.batch_size if torch.cuda.is_available() else min(settings.batch_size, max(1, BASES // length))
    return settings.changed({"batch_size": size}), settings.batch_size / size


def _probe(
    model: nn.Module, objective: Any, settings: Training, evaluate: Callable[[], Any], rows: int, times: float
) -> Seconds:
    """Time steps, each a part of a whole one that has it so many times, and `evaluate`, which reads so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, objective, settings, 1, "probe", Path(folder))

        def step(number: int) -> None:
            batch = objective.batch(number).to(trainer.device)
            trainer.step(batch, batch.tokens.numel())

        steps = [_seconds(trainer.device, step, number) for number in range(STEPS + 1)]
        model.eval()
        with torch.inference_mode(), in_precision(trainer.history.precision, trainer.device):
            evaluations = [_seconds(trainer.device, evaluate) for _ in range(2)]
    return Seconds(times * min(steps[1:]), min(evaluations) / rows)  # the first of each warms up


def _seconds(device: torch.device, run: Callable[..., Any], *arguments: Any) -> float:
    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time  # other work on the machine counts in the first alone
    if on_gpu:
        torch.cuda.synchronize()
    started = clock()
    run(*arguments)
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - started
