"""Steps of training: gradients over micro-batches, memory, dropout, the optimizer and its rate."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from test_loop import SETTINGS, Regression, network, run, weights
from torch import nn

from convnova.config.hyperparameters import Training
from convnova.training.optimization import AdamW, learning_rate, sequences_at_once


def test_micro_batches_give_the_gradient_and_the_logged_loss_of_the_whole_batch(tmp_path):
    (whole, history), (parts, history_of_parts) = (
        run(tmp_path / str(size), settings=SETTINGS.model_copy(update={"micro_batch": size}), model=network(dropout=0))
        for size in (None, 5)
    )
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-5, rtol=1e-5)
    logged = [[row["loss"] for row in each.rows] for each in (history, history_of_parts)]
    assert logged[1] == pytest.approx(logged[0], rel=1e-4)


def test_dropout_is_another_one_each_step_and_the_same_again(tmp_path):
    class Drawing(Regression):
        def __init__(self):
            super().__init__()
            self.drawn = []

        def loss(self, model, batch):
            self.drawn.append(torch.rand(()).item())
            return super().loss(model, batch)

    first, second = Drawing(), Drawing()
    run(tmp_path / "first", first)
    run(tmp_path / "second", second)
    assert len(set(first.drawn)) == len(first.drawn) == 40 and first.drawn == second.drawn


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(), MemoryError(), RuntimeError("could not create a primitive")], ids=repr
)
def test_after_running_out_of_memory_nothing_of_the_failed_try_is_left_and_no_more_is_tried(tmp_path, error):
    class Cramped(Regression):
        tries = 0

        def loss(self, model, batch):
            if len(batch.tokens) == 2:  # the second micro-batch of 5, 5 and 2: the first has left its gradient
                self.tries += 1
                raise error
            return super().loss(model, batch)

    settings, cramped = SETTINGS.model_copy(update={"micro_batch": 5}), Cramped()
    model, _ = run(tmp_path / "cramped", cramped, settings, network(dropout=0))
    thirds = SETTINGS.model_copy(update={"micro_batch": 3})
    expected, _ = run(tmp_path / "thirds", settings=thirds, model=network(dropout=0))
    assert cramped.tries == 1 and torch.equal(weights(model), weights(expected))


SMALL_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.training.loop import Trainer

torch.set_num_threads(1)

class Wide:
    steps_per_epoch = 2
    def batch(self, step):
        random = torch.Generator().manual_seed(step)
        return Batch(torch.rand(8, 4, generator=random), torch.rand(8, generator=random), 8)
    def loss(self, model, batch):
        wide = model(batch.tokens).repeat(1, int(sys.argv[2])).square()
        return (wide[:, :10].mean(1) - batch.targets).square().sum()
    def evaluate(self, model):
        return {"score": 0.0}

torch.manual_seed(0)
model, settings = nn.Linear(4, 1), Training(epochs=1, lr=0.1, warmup=0, precision="float32")
size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[3]),) * 2)
Trainer(model, Wide(), settings, 1, "test", Path(sys.argv[1])).run()
print(*[repr(float(value)) for value in model.weight.flatten()])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")
def test_a_batch_too_large_for_memory_is_split_with_the_same_result(tmp_path):
    """Eight sequences of 24 MB an activation in 600 MB; then one sequence that is itself too large."""

    def under(megabytes: int, wide: int) -> subprocess.CompletedProcess:
        words = [sys.executable, "-c", SMALL_MEMORY, str(tmp_path), str(wide), str(megabytes * 1_000_000)]
        return subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})

    free, tight = under(0, 6_000_000), under(600, 6_000_000)
    assert "out of memory: from here on at most" in tight.stderr, tight.stderr
    numbers = [[float(word) for word in done.stdout.split()] for done in (free, tight)]
    assert len(numbers[0]) == 4 and numbers[1] == pytest.approx(numbers[0], rel=1e-4)
    hopeless = under(600, 60_000_000)
    assert hopeless.returncode == 1 and "one sequence of 4 bases does not fit into memory" in hopeless.stderr


def test_one_step_is_pytorchs_own_adamw(tmp_path):
    settings = Training(epochs=1, lr=0.01, weight_decay=0.1, warmup=0, clip=0.5, final_lr=1, precision="float32")
    ours, _ = run(tmp_path, settings=settings, model=network(dropout=0))
    expected, task = network(dropout=0), Regression()
    decayed, plain = ([expected[0].weight, expected[2].weight], [expected[0].bias, expected[2].bias])
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for step in range(10):
        optimizer.zero_grad()
        batch = task.batch(step)
        F.mse_loss(expected(batch.tokens)[:, 0], batch.targets).backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 0.5)
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(expected), atol=1e-6, rtol=1e-5)


def test_learning_rate_rises_then_falls_to_its_share():
    settings = Training(lr=0.5, final_lr=0.1, warmup=0.1)
    rates = [learning_rate(step, 101, settings) for step in range(101)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(0.5)
    assert rates[55] == pytest.approx((0.5 + 0.05) / 2)
    assert rates[100] == pytest.approx(0.05)


def test_the_released_schedule_is_timms():
    """Rates of timm 0.9.16: `CosineLRScheduler(t_initial=250, lr_min=1e-4, warmup_lr_init=1e-6, warmup_t=2.5)`."""
    settings = Training(lr=1e-3, final_lr=0.1, warmup=0.01, schedule="released")
    rates = {
        0: 1e-06,
        1: 0.0004006,
        2: 0.0008002,
        3: 0.00099968026,
        100: 0.00068905765,
        125: 0.00055,
        249: 0.00010003553,
    }
    assert [learning_rate(step, 250, settings) for step in rates] == pytest.approx(list(rates.values()), rel=1e-7)


@pytest.mark.parametrize("decayed, bias_after", [(None, 1.0), ("kernels", 1.0), ("all", 0.99)])
def test_biases_and_norms_are_decayed_as_released_only(decayed, bias_after):
    """With gradients of zero a step multiplies what is decayed by 1 - 0.1 x 0.1."""
    model = nn.Sequential(nn.Conv1d(2, 3, 5), nn.LayerNorm(3), nn.Linear(3, 1, bias=False).requires_grad_(False))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    AdamW(model, Training(weight_decay=0.1, decayed=decayed)).step(0.1)
    after = {name: float(p.detach().mean()) for name, p in model.named_parameters()}
    others = dict.fromkeys(("0.bias", "1.weight", "1.bias"), bias_after)
    assert after == pytest.approx({"0.weight": 0.99, **others, "2.weight": 1.0})


@pytest.mark.parametrize(
    "count, length, at_once", [(8, 512, 8), (15, 512, 15), (16, 512, 8), (64, 500, 16), (100, 500, 15), (64, 14_000, 1)]
)
def test_large_batches_go_in_equal_parts_on_a_cpu(count, length, at_once):
    tokens = torch.empty(count, length)
    assert sequences_at_once(Training(), tokens, torch.device("cpu")) == at_once
    assert sequences_at_once(Training(micro_batch=3), tokens, torch.device("cpu")) == min(count, 3)
    assert sequences_at_once(Training(), tokens, torch.device("cuda")) == count


@pytest.mark.parametrize("count, length, at_once", [(23, 512, 23), (24, 512, 12), (64, 500, 22), (64, 14_000, 1)])
def test_in_bfloat16_the_parts_are_half_as_large_again(count, length, at_once):
    tokens = torch.empty(count, length)
    assert sequences_at_once(Training(), tokens, torch.device("cpu"), "bfloat16") == at_once
