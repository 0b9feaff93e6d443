import math
import os
import random
import re
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.errors import ConvNovaError
from convnova.training.checkpoint import load_state, save_state
from convnova.training.loop import Interrupted, Trainer
from convnova.training.optimization import AdamW
from convnova.training.provenance import Provenance

SETTINGS = Training(epochs=4, batch_size=8, lr=1e-2, weight_decay=0.1, warmup=0.1, precision="float32")
IN_BFLOAT16 = SETTINGS.changed({"precision": "bfloat16"})
AVERAGED = SETTINGS.changed({"average_epochs": 0.4})


class Regression:
    """Guess a linear function of three numbers, with dropout; made from `step` alone."""

    steps_per_epoch = 10

    def __init__(self, spoil: int | None = None, scores: list[float] | None = None):
        self.spoil, self.scores = spoil, scores

    def batch(self, step: int) -> Batch:
        random = np.random.default_rng(step)
        inputs = random.normal(size=(12, 3)).astype(np.float32)
        if step == self.spoil:
            inputs[5] = math.inf
        targets = torch.from_numpy(inputs @ np.array([1, -2, 3], np.float32))
        return Batch(torch.from_numpy(inputs), targets, len(targets), rows=f"rows of step {step}")

    def loss(self, model, batch):
        return F.mse_loss(model(batch.tokens)[:, 0], batch.targets, reduction="sum")

    def evaluate(self, model):
        if self.scores:
            return {"score": self.scores.pop(0)}
        with torch.no_grad():
            loss = Regression.loss(self, model, self.batch(10_000)).item()
        return {"score": -loss, "loss": loss}


def network(dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Dropout(dropout), nn.Linear(16, 1))


def normed() -> nn.Module:
    """One with running statistics, which change as a step reads."""
    return nn.Sequential(*network(), nn.BatchNorm1d(1))


@pytest.fixture(
    params=[(SETTINGS, 500), (IN_BFLOAT16, 13), (AVERAGED, 500)],
    ids=["float32", "bfloat16, log every third step", "averaged"],
)
def settings(request, monkeypatch):
    monkeypatch.setattr("convnova.training.loop.LOG_ROWS", request.param[1])
    return request.param[0]


def run(folder: Path, objective=None, settings=SETTINGS, model=None, **options):
    model = model or network()
    return model, Trainer(model, objective or Regression(), settings, 5, "test", folder, **options).run()


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class StopIn(Regression):
    """Ask the process to stop, as a scheduler does, in the middle of a step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGUSR1):
        super().__init__()
        self.step, self.number = step, number

    def loss(self, model, batch):
        loss = super().loss(model, batch)
        if batch.rows == f"rows of step {self.step}":
            os.kill(os.getpid(), self.number)
        return loss


def assert_same(first: tuple, second: tuple) -> None:
    """Two trainings have the same weights, losses and evaluations, bit for bit."""
    (model, history), (model_again, again) = first, second
    assert torch.equal(weights(model_again), weights(model))
    assert again.evaluations == history.evaluations
    assert [row["loss"] for row in again.rows] == [row["loss"] for row in history.rows]
    assert all(torch.equal(again.best_weights[name], tensor) for name, tensor in history.best_weights.items())
    assert all(torch.equal(*pair) for pair in zip(model.buffers(), model_again.buffers(), strict=True))


@pytest.mark.parametrize(
    "step, number", [(0, signal.SIGUSR1), (9, signal.SIGTERM), (10, signal.SIGUSR1), (23, signal.SIGINT)]
)
def test_stopped_by_a_signal_and_continued_is_bit_for_bit_the_undisturbed_run(tmp_path, step, number, settings, capsys):
    """The step under way when the signal comes is left, and taken again."""
    whole = run(tmp_path / "whole", settings=settings, model=normed())
    with pytest.raises(Interrupted, match=f"stopped by a signal at step {step} of 40"):
        run(tmp_path / "parts", StopIn(step, number), settings, normed())
    assert_same(run(tmp_path / "parts", settings=settings, model=normed()), whole)
    assert re.search(f"continuing from .*step-{step:09d}", capsys.readouterr().err)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_stopped_in_an_evaluation_and_continued_it_is_made_once(tmp_path, epoch, settings, capsys):
    class StopInEvaluation(Regression):
        evaluated = 0

        def evaluate(self, model):
            self.evaluated += 1
            if self.evaluated == epoch:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(model)

    whole = run(tmp_path / "whole", settings=settings)
    with pytest.raises(Interrupted, match=f"stopped by a signal at step {10 * epoch} of 40"):
        run(tmp_path / "parts", StopInEvaluation(), settings)
    assert_same(run(tmp_path / "parts", settings=settings), whole)
    assert re.search(f"continuing from .*step-{10 * epoch:09d}", capsys.readouterr().err)


def test_a_damaged_checkpoint_is_passed_over_and_the_newest_two_are_kept(tmp_path, capsys):
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", StopIn(18), checkpoint_seconds=0)
    steps = sorted(path.name for path in (tmp_path / "parts" / "checkpoints").iterdir())
    assert steps == ["step-000000017", "step-000000018"]
    state = tmp_path / "parts" / "checkpoints" / "step-000000018" / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    (tmp_path / "parts" / "checkpoints" / ".writing-abc").mkdir()
    continued, _ = run(tmp_path / "parts")
    assert torch.equal(weights(continued), weights(whole))
    messages = capsys.readouterr().err
    assert "step-000000018: damaged" in messages and re.search("continuing from .*/step-000000017", messages)
    assert not (tmp_path / "parts" / "checkpoints" / ".writing-abc").exists()


def test_threads_and_seconds_of_all_attempts_are_known_and_other_threads_are_said(tmp_path, capsys, monkeypatch):
    attempts = ((2, 7), (2, 18), (1, None))
    for threads, stop in attempts:
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        with pytest.raises(Interrupted) if stop else nullcontext():
            began = time.monotonic()
            model = network()
            trainer = Trainer(model, StopIn(stop) if stop else Regression(), SETTINGS, 5, "test", tmp_path)
            trainer.run()
        messages = capsys.readouterr().err
        assert ("continuing with 1 threads a training with 2: the result may differ" in messages) == (threads == 1)
        assert 0 < trainer.history.attempts[-1]["seconds"] <= time.monotonic() - began
    history = trainer.history
    assert [attempt["threads"] for attempt in history.attempts] == [2, 2, 1]
    assert sum(attempt["seconds"] for attempt in history.attempts) == pytest.approx(history.seconds)
    record = Provenance(started=time.time() - 100).describe(history.precision, history.attempts)
    assert record["seconds"] == pytest.approx(100 + sum(part["seconds"] for part in history.attempts[:2]), abs=0.5)
    assert [attempt["threads"] for attempt in record["attempts"]] == [2, 2, 1]


@pytest.mark.parametrize("file", ["state.pt", "weights.safetensors"])
def test_every_bit_that_flips_in_a_checkpoint_is_noticed(tmp_path, file):
    with pytest.raises(Interrupted):
        run(tmp_path, StopIn(18), checkpoint_seconds=0)
    model = network()
    optimizer = AdamW(model, SETTINGS)
    older, newer = sorted((tmp_path / "checkpoints").iterdir())
    whole, draw = (newer / file).read_bytes(), random.Random(1)
    assert load_state(newer.parent, model, optimizer)["step"] == 18
    for _ in range(200):
        content, place = bytearray(whole), draw.randrange(len(whole))
        content[place] ^= 1 << draw.randrange(8)
        (newer / file).write_bytes(content)
        assert load_state(newer.parent, model, optimizer)["step"] == 17
    (older / file).unlink()
    assert load_state(newer.parent, model, optimizer) is None


def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path):
    seen = []

    class Watched(Regression):
        def evaluate(self, model):
            seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return super().evaluate(model)

    settings = SETTINGS.changed({"epochs": 6, "patience": 2})
    model, history = run(tmp_path, Watched(scores=[0.1, 0.7, 0.3, 0.6, 0.9, 0.9]), settings)
    assert (history.best_epoch, history.best_score, len(history.evaluations)) == (2, 0.7, 4)
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in history.best_weights.items())
    assert not torch.equal(history.best_weights["0.weight"], model[0].weight)


@pytest.mark.parametrize(
    "step, seconds, checkpoint", [(0, 300, "none"), (12, 300, "none"), (39, 300, "none"), (12, 0, ".*step-000000012")]
)
def test_a_loss_that_is_not_finite_names_step_rows_and_the_last_good_checkpoint(
    tmp_path, step, seconds, checkpoint, settings
):
    expected = rf"loss is (nan|inf) at step {step + 1} .*rows of step {step};.*checkpoint: {checkpoint}\)"
    with pytest.raises(ConvNovaError, match=expected):
        run(tmp_path, Regression(spoil=step), settings, checkpoint_seconds=seconds)


def test_a_weight_that_is_not_finite_is_not_kept_in_a_checkpoint(tmp_path):
    class Infinite(Regression):
        def loss(self, model, batch):
            if batch.rows == "rows of step 3":
                model[2].bias.register_hook(lambda gradient: gradient * math.nan)
            return super().loss(model, batch)

    settings = SETTINGS.changed({"clip": None})
    with pytest.raises(ConvNovaError, match="a weight is not finite after step 4 .*rows of step 3;.*step-000000003"):
        run(tmp_path, Infinite(), settings, checkpoint_seconds=0)


def test_every_epoch_trains_with_dropout_also_within_a_parallel_model(tmp_path):
    """As `DistributedDataParallel` is one, whose own flag stays as it is when the model inside is evaluated."""
    seen = []

    class Noted(Regression):
        def loss(self, model, batch):
            seen.append(model[0].training)
            return super().loss(model, batch)

    trainer = Trainer(network(), Noted(), SETTINGS, 5, "test", tmp_path)
    trainer.parallel_model = nn.Sequential(trainer.model)
    trainer.run()
    assert seen == [True] * 40


def test_checkpoints_that_are_damaged_do_not_push_out_new_ones(tmp_path):
    model = network()
    optimizer = AdamW(model, SETTINGS)
    for step in (100, 200):
        save_state(tmp_path, step, model, optimizer, {})
        (tmp_path / f"step-{step:09d}" / "state.pt").write_bytes(b"")
    assert load_state(tmp_path, model, optimizer) is None
    for step in (50, 60, 150):
        save_state(tmp_path, step, model, optimizer, {"step": step})
        assert load_state(tmp_path, model, optimizer) == {"step": step}


def test_a_training_without_a_finite_score_says_so(tmp_path):
    with pytest.raises(ConvNovaError, match="no epoch had a finite score"):
        run(tmp_path, Regression(scores=[-math.inf] * 4))


def test_of_losses_that_are_looked_at_together_the_first_bad_one_is_named(tmp_path, monkeypatch):
    """As on a GPU, which is not waited for every step."""
    monkeypatch.setattr("convnova.training.loop.LOG_ROWS", 10)
    trainer = Trainer(network(), Regression(), SETTINGS, 5, "test", tmp_path)
    trainer.losses[:] = torch.tensor([1, 2, math.nan, math.inf])
    trainer.history.step = 30
    trainer._check_losses()
    trainer.history.step = 32
    with pytest.raises(ConvNovaError, match="loss is nan at step 31 .*rows of step 30;"):
        trainer._check_losses()


@pytest.fixture
def native(monkeypatch):
    """Say whether this processor computes bfloat16."""

    def processor(avx512: bool, amx: bool = False) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)

    return processor


@pytest.mark.parametrize(
    "precision, processor, dtype",
    [("bfloat16", (False,), torch.bfloat16), ("float32", (True,), torch.float32), ("auto", (True,), torch.bfloat16),
     ("auto", (False, True), torch.bfloat16), ("auto", (False,), torch.float32)],
)  # fmt: skip
def test_precision_is_that_of_training_and_evaluation(precision, processor, dtype, native, tmp_path):
    seen = set()

    class Seen(Regression):
        def loss(self, model, batch):
            seen.add(("loss", model(batch.tokens).dtype))
            return super().loss(model, batch)

        def evaluate(self, model):
            seen.add(("evaluate", model(self.batch(0).tokens).dtype))
            return {"score": 0.0}

    native(*processor)
    history = run(tmp_path, Seen(), SETTINGS.changed({"precision": precision}))[1]
    assert seen == {("loss", dtype), ("evaluate", dtype)} and history.precision == str(dtype).removeprefix("torch.")


def test_a_training_goes_on_in_the_precision_it_began_in(native, tmp_path):
    native(True)
    automatic, whole = SETTINGS.changed({"precision": "auto"}), run(tmp_path / "whole", settings=IN_BFLOAT16)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", StopIn(12), automatic)
    native(False)
    assert_same(run(tmp_path / "parts", settings=automatic), whole)


def test_the_log_has_a_row_a_step_and_one_an_evaluation(tmp_path):
    run(tmp_path, checkpoint_seconds=0)
    text = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").unlink()
    run(tmp_path)  # from the checkpoint after the last step, in a job that has lost the log
    assert (tmp_path / "log.csv").read_text() == text
    lines = text.splitlines()
    assert lines[0] == "step,epoch,split,loss,lr,bases,seconds,bases_per_second,memory_mb,seconds_left"
    assert (len(lines), sum(",valid," in line for line in lines)) == (45, 4)
    last = lines[-2].split(",")
    assert [line.split(",")[-1] for line in lines[-2:]] == ["0", "0"] and float(lines[1].split(",")[-1]) > 0
    assert (last[0], last[2], float(last[4]), last[5]) == ("40", "train", pytest.approx(1e-3), str(40 * 36))
