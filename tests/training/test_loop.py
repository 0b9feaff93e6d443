import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.errors import ConvNovaError
from convnova.models.weights import load_strictly, load_weights, save_weights
from convnova.training.distributed import ALONE
from convnova.training.loop import Interrupted, _Loop, train

SETTINGS = Training(epochs=4, batch_size=8, lr=1e-2, weight_decay=0.1, warmup=0.1)


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


@pytest.fixture(params=[500, 13], ids=["log every step", "log every third step"])
def log_rows(request, monkeypatch):
    monkeypatch.setattr("convnova.training.loop.LOG_ROWS", request.param)


def run(folder: Path, objective=None, settings=SETTINGS, model=None, **options):
    model = model or network()
    history = train(
        model, objective or Regression(), settings, 5, "test", folder / "log.csv", folder / "checkpoints", **options
    )
    return model, history


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class StopIn(Regression):
    """Ask the process to stop, as a scheduler does, in the middle of a step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGUSR1):
        super().__init__()
        self.step, self.number = step, number

    def loss(self, model, batch):
        if batch.rows == f"rows of step {self.step}":
            os.kill(os.getpid(), self.number)
        return super().loss(model, batch)


def assert_same(one: tuple, other: tuple) -> None:
    """Two trainings have the same weights, losses and evaluations, bit for bit."""
    (model, history), (model_again, again) = one, other
    assert torch.equal(weights(model_again), weights(model))
    assert again.evaluations == history.evaluations
    assert [row["loss"] for row in again.rows] == [row["loss"] for row in history.rows]
    assert all(torch.equal(again.best_weights[name], tensor) for name, tensor in history.best_weights.items())


@pytest.mark.parametrize(
    "step, number", [(0, signal.SIGUSR1), (9, signal.SIGTERM), (10, signal.SIGUSR1), (23, signal.SIGINT)]
)
def test_stopped_by_a_signal_and_continued_is_bit_for_bit_the_undisturbed_run(tmp_path, step, number, log_rows, capsys):
    """The step under way when the signal comes is left, and taken again."""
    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"stopped by a signal at step {step} of 40"):
        run(tmp_path / "parts", StopIn(step, number))
    assert_same(run(tmp_path / "parts", workers=3), whole)
    assert f"step-{step:09d}" in continued_from(capsys)


def continued_from(capsys) -> str:
    """What the log says of the checkpoint."""
    return re.search("continuing from (.*)", capsys.readouterr().err).group(1)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_stopped_in_an_evaluation_and_continued_it_is_made_once(tmp_path, epoch, log_rows, capsys):
    class StopInEvaluation(Regression):
        evaluated = 0

        def evaluate(self, model):
            self.evaluated += 1
            if self.evaluated == epoch:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(model)

    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"stopped by a signal at step {10 * epoch} of 40"):
        run(tmp_path / "parts", StopInEvaluation())
    assert_same(run(tmp_path / "parts"), whole)
    assert f"step-{10 * epoch:09d}" in continued_from(capsys)


KILLED = """
import sys, time, pathlib
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import test_loop
class Slow(test_loop.Regression):
    def loss(self, model, batch):
        time.sleep(0.02)
        return super().loss(model, batch)
test_loop.run(pathlib.Path(sys.argv[1]), Slow(), checkpoint_seconds=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_killed_at_any_moment_and_continued_is_bit_for_bit_the_undisturbed_run(tmp_path, share, capsys):
    wait = share * random.random()
    whole = run(tmp_path / "whole")
    script = KILLED.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "parts")])
    while not list((tmp_path / "parts" / "checkpoints").glob("step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert_same(run(tmp_path / "parts", workers=2), whole)
    assert "step-" in continued_from(capsys), wait


def test_a_damaged_checkpoint_is_passed_over_and_the_newest_two_are_kept(tmp_path, capsys):
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", StopIn(18), checkpoint_seconds=0)
    steps = sorted(path.name for path in (tmp_path / "parts" / "checkpoints").iterdir())
    assert steps == ["step-000000017", "step-000000018"]
    state = tmp_path / "parts" / "checkpoints" / "step-000000018" / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    (tmp_path / "parts" / "checkpoints" / ".writing-abc").mkdir()
    continued, _ = run(tmp_path / "parts")
    assert torch.equal(weights(continued), weights(whole))
    told = capsys.readouterr().err
    assert "step-000000018: damaged, passed over" in told and re.search("continuing from .*/step-000000017", told)
    assert not (tmp_path / "parts" / "checkpoints" / ".writing-abc").exists()


def test_a_batch_splits_with_its_positions():
    tokens = torch.arange(5 * 4).view(5, 4)
    at = torch.tensor([0, 3, 4, 11, 12, 19])
    batch = Batch(tokens, tokens.flatten()[at] + 100, 6, at, "rows")
    parts = list(batch.split(2))
    assert [part.tokens.tolist() for part in parts] == [tokens[:2].tolist(), tokens[2:4].tolist(), tokens[4:].tolist()]
    assert [part.target_positions.tolist() for part in parts] == [[0, 3, 4], [3, 4], [3]]
    assert (
        torch.cat([part.tokens.flatten()[part.target_positions] + 100 for part in parts]).tolist()
        == batch.targets.tolist()
    )
    assert torch.cat([part.targets for part in parts]).tolist() == batch.targets.tolist()
    assert [part.targets.tolist() for part in Batch(tokens, torch.arange(5), 5).split(3)] == [[0, 1, 2], [3, 4]]


def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path):
    seen = []

    class Watched(Regression):
        def evaluate(self, model):
            seen.append(weights(model).clone())
            return super().evaluate(model)

    settings = Training(epochs=6, lr=1e-2, patience=2)
    model, history = run(tmp_path, Watched(scores=[0.1, 0.7, 0.3, 0.6, 0.9, 0.9]), settings)
    assert (history.best_epoch, history.best_score, len(history.evaluations)) == (2, 0.7, 4)
    kept = torch.cat([tensor.flatten() for tensor in history.best_weights.values()])
    assert torch.equal(kept, seen[1]) and not torch.equal(kept, weights(model))


@pytest.mark.parametrize("step", [0, 12, 39])
def test_a_loss_that_is_not_finite_stops_and_names_step_and_rows(tmp_path, step, log_rows):
    with pytest.raises(ConvNovaError, match=rf"loss is (nan|inf) at step {step + 1} .*rows of step {step};.*none\)"):
        run(tmp_path, Regression(spoil=step))


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path):
    with pytest.raises(ConvNovaError, match=r"at step 13 .*last good checkpoint: .*step-000000012\)"):
        run(tmp_path, Regression(spoil=12), checkpoint_seconds=0)


def test_a_weight_that_is_not_finite_is_not_kept_in_a_checkpoint(tmp_path):
    class Infinite(Regression):
        def loss(self, model, batch):
            if batch.rows == "rows of step 3":
                model[2].bias.register_hook(lambda gradient: gradient * math.nan)
            return super().loss(model, batch)

    settings = SETTINGS.model_copy(update={"clip": None})
    with pytest.raises(ConvNovaError, match="a weight is not finite after step 4 .*rows of step 3;.*step-000000003"):
        run(tmp_path, Infinite(), settings, checkpoint_seconds=0)


def test_a_training_without_a_finite_score_says_so(tmp_path):
    with pytest.raises(ConvNovaError, match="no epoch had a finite score"):
        run(tmp_path, Regression(scores=[-math.inf] * 4))


def test_of_losses_that_are_looked_at_together_the_first_bad_one_is_named(tmp_path, monkeypatch):
    """As on a GPU, which is not waited for every step."""
    monkeypatch.setattr("convnova.training.loop.LOG_ROWS", 10)
    loop = _Loop(network(), Regression(), SETTINGS, 5, "test", tmp_path / "log.csv", tmp_path, ALONE)
    loop.losses[:] = torch.tensor([1, 2, math.nan, math.inf])
    loop.history.step = 30
    loop._check_losses()
    loop.history.step = 32
    with pytest.raises(ConvNovaError, match="loss is nan at step 31 .*rows of step 30;"):
        loop._check_losses()


def test_weights_of_another_shape_are_refused_with_both_shapes():
    other = nn.Linear(4, 2)
    with pytest.raises(ConvNovaError, match=r"missing nothing, left over nothing, .*expected \(2, 3\), found \(2, 4\)"):
        load_strictly(nn.Linear(3, 2), other.state_dict(), "here")


def test_deterministic_algorithms_alone_where_the_environment_says_so():
    script = "import torch; from convnova.training.devices import load_torch; load_torch(1)"
    script += "; print(torch.are_deterministic_algorithms_enabled())"
    for value, told in (("1", "True"), ("", "False")):
        environment = os.environ | {"CONVNOVA_DETERMINISTIC": value}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == told, done.stderr


def test_precision_is_that_of_training_and_evaluation(tmp_path):
    seen = set()

    class Seen(Regression):
        def loss(self, model, batch):
            seen.add(("loss", model(batch.tokens).dtype))
            return super().loss(model, batch)

        def evaluate(self, model):
            seen.add(("evaluate", model(self.batch(0).tokens).dtype))
            return {"score": 0.0}

    run(tmp_path, Seen(), SETTINGS.model_copy(update={"precision": "bfloat16"}))
    assert seen == {("loss", torch.bfloat16), ("evaluate", torch.bfloat16)}


def test_the_log_has_a_row_a_step_and_one_an_evaluation(tmp_path):
    run(tmp_path)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,split,loss,lr,bases,seconds,bases_per_second,memory_mb,seconds_left"
    assert (len(lines), sum(",valid," in line for line in lines)) == (45, 4)
    last = lines[-2].split(",")
    assert [line.split(",")[-1] for line in lines[-2:]] == ["0", "0"] and float(lines[1].split(",")[-1]) > 0
    assert (last[0], last[2], float(last[4]), last[5]) == ("40", "train", pytest.approx(1e-3), str(40 * 36))


@pytest.mark.parametrize("stopped_at", ["weights.json", "weights.safetensors"])
def test_weights_and_json_of_two_trainings_are_never_taken_together(tmp_path, monkeypatch, stopped_at):
    path, replace = tmp_path / "weights.safetensors", os.replace
    save_weights({"w": torch.zeros(1)}, path, {"training": 1})

    def stopping(source, target):
        if Path(target).name == stopped_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        save_weights({"w": torch.ones(1)}, path, {"training": 2})
    with pytest.raises(ConvNovaError, match="expected weights and a JSON beside them"):
        load_weights(path)


def test_weights_without_their_json_are_refused(tmp_path):
    with pytest.raises(ConvNovaError, match="expected weights and a JSON beside them"):
        load_weights(tmp_path / "weights.safetensors")
