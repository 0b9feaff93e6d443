import math

import pytest
import torch
from test_loop import AVERAGED, SETTINGS, Regression, network, run, weights
from torch import nn

from convnova.models import build_backbone
from convnova.training.average import exchange, update_average


def copy_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_the_average_is_a_mean_first_and_forgets_later():
    """Against the weights of all steps summed up, each with its share."""
    memory, steps = 4.0, 30
    forget = 1 - math.exp(-1 / memory)  # 0.22: the mean of all until step 4
    values = torch.randn(steps, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model, average = nn.Linear(5, 1).double(), {}
    for step, value in enumerate(values, 1):
        nn.utils.vector_to_parameters(value, model.parameters())
        update_average(average, model, step, memory)
    shares = [1 / 4] * 4 + [forget] * (steps - 4)
    expected = sum(
        value * (share if at >= 4 else 1 / 4) * math.prod(1 - later for later in shares[max(at + 1, 4) :])
        for at, (value, share) in enumerate(zip(values, shares, strict=True))
    )
    found = torch.cat([average["weight"].flatten(), average["bias"]])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_statistics_of_batch_norm_are_averaged_and_its_count_is_kept():
    model, average, means = nn.BatchNorm1d(2), {}, []
    for step in (1, 2):
        model(torch.randn(8, 2))
        means.append(model.running_mean.clone())
        update_average(average, model, step, 10)
    torch.testing.assert_close(average["running_mean"], (means[0] + means[1]) / 2)
    assert average["num_batches_tracked"] == 2


def test_what_is_exchanged_twice_is_as_it_was():
    model = nn.Linear(3, 2)
    own, average = copy_of(model), {name: tensor + 1 for name, tensor in copy_of(model).items()}
    exchange(model, average)
    assert torch.equal(model.weight, own["weight"] + 1) and torch.equal(average["bias"], own["bias"])
    exchange(model, average)
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    exchange(model, {})
    assert torch.equal(model.weight, own["weight"])


def test_a_tensor_of_several_names_is_exchanged_once():
    """HyenaDNA's kernels have one sine layer in three places."""
    model, average = build_backbone("hyenadna", {"width": 8, "layers": 1, "length": 64}), {}
    update_average(average, model, 1, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    own = copy_of(model)
    update_average(average, model, 2, 10)
    exchange(model, average)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, own[name] - 0.5)
    exchange(model, average)
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_after_an_error_in_the_evaluation_the_model_has_its_own_weights(tmp_path):
    class Failing(Regression):
        def evaluate(self, model):
            raise KeyError

    plain, averaged = network(), network()
    for model, settings in ((plain, SETTINGS), (averaged, AVERAGED)):
        with pytest.raises(KeyError):
            run(tmp_path / str(settings.average_epochs), Failing(), settings, model)
    assert torch.equal(weights(averaged), weights(plain))


def test_averaging_changes_what_is_scored_and_kept_and_not_the_training(tmp_path):
    scored = []

    class Noted(Regression):
        def evaluate(self, model):
            scored.append(copy_of(model))
            return super().evaluate(model)

    plain, history = run(tmp_path / "plain", settings=SETTINGS)
    model, with_average = run(tmp_path / "averaged", Noted(), AVERAGED)
    assert torch.equal(weights(model), weights(plain))
    assert [row["loss"] for row in with_average.rows if row["split"] == "train"] == [
        row["loss"] for row in history.rows if row["split"] == "train"
    ]
    best = scored[with_average.best_epoch - 1]
    assert all(torch.equal(tensor, best[name]) for name, tensor in with_average.best_weights.items())
    assert not torch.equal(best["0.weight"], history.best_weights["0.weight"])
