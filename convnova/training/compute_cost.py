"""What a model costs: parameters, operations, receptive field, throughput and memory at a length of sequence.

One process measures one model at one length, since the peak memory of a process never falls.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

from convnova.config.hyperparameters import Training
from convnova.config.schema import Model
from convnova.data.dna import reverse_complement
from convnova.files import write_json
from convnova.log import log
from convnova.models import build_predictor, configure, receptive_field, without_fast_kernels
from convnova.training.devices import limit_to_available_memory, peak_resident
from convnova.training.optimization import AdamW, in_precision, resolve_precision
from convnova.training.provenance import Provenance

BASES, BASES_ON_GPU = 8192, 131_072
"""Bases a step: as many sequences as make that, or one."""
MIN_RUNS, SECONDS, SECONDS_ON_GPU = 3, 10.0, 0.3
"""Runs of a measurement at least, and seconds until no more are added; a GPU's times vary less."""
COUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten.mkldnn_convolution: (
        lambda image, weight, *_, out_shape, **__: conv_flop_count(image, weight, out_shape)
    ),
}
"""Operations by shapes that PyTorch's counter does not know: attention on a CPU, and a convolution by oneDNN."""


def write_cost(name: str, model: Model, length: int, out: Path, fingerprint: str) -> None:
    """Measure one model at one length and write the result as JSON, in the precision that `auto` chooses here.

    The model predicts two classes of random sequences with random weights, neither of which matters to the cost. Its
    head, pooling, frozen part, adapter and strands are those of the config. Where there is too little memory, that is
    the result, beside what was measured before.

    Args:
        name: of the model.
        model: its part of the config.
        length: bases of a sequence.
        out: the JSON.
        fingerprint: hash of model and length.
    """
    provenance, settings = Provenance(fingerprint=fingerprint), dict(model.settings)
    if "length" in type(configure(model.architecture, settings)).__dataclass_fields__:
        settings["length"] = length  # the longest sequence that it can read
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = resolve_precision("auto", device)
    options = model.model_dump(include={"pooling", "head", "frozen"}) | model.training.model_dump(include={"lora"})
    torch.manual_seed(0)
    network = build_predictor(model.architecture, settings, "classes", 2, length, **options).to(device)
    sequences = max(1, (BASES_ON_GPU if device.type == "cuda" else BASES) // length)
    tokens = torch.randint(0, 4, (sequences, length), device=device).to(torch.uint8)
    result = {
        "model": name,
        "title": model.title,
        "length": length,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": precision,
        "receptive_field": receptive_field(model.architecture, settings, "classes"),
        "strands": model.strands,
        **options,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sequences": sequences,
        **measure(network, tokens, precision, model.strands),
        "provenance": provenance.describe(precision),
    }
    write_json(out, result)


def measure(network: nn.Module, tokens: Tensor, precision: str, strands: str = "forward") -> dict[str, Any]:
    """Operations a base, bases a second and peak memory in MB, of prediction and of a training step.

    Operations are the multiplications and additions of matrix products, convolutions and attention in one prediction,
    in the plain form of every layer. Fourier transforms, scans and elementwise functions are not counted.

    Args:
        network: tokens to logits of two classes.
        tokens: (B, L) uint8, on the network's device.
        precision: `float32` or `bfloat16`.
        strands: `both` where a prediction is the mean over a sequence and its reverse complement: two passes. Training
            reads one strand.

    Returns:
        `inference_bases_per_second`, `inference_memory_mb`, the same for `training`, and `flops_per_base`, as far as
        memory sufficed; where it did not, `out_of_memory` is true.
    """
    inputs = [tokens]
    if strands == "both":
        inputs.append(torch.from_numpy(reverse_complement(tokens.cpu().numpy()).copy()).to(tokens.device))
    result: dict[str, Any] = {}
    autocast = in_precision(precision, tokens.device)
    with note_out_of_memory(result, "prediction"), torch.inference_mode(), autocast:
        network.eval()
        seconds, memory = timed(lambda: [network(strand) for strand in inputs], tokens.device)
        result |= {"inference_bases_per_second": tokens.numel() / seconds, "inference_memory_mb": memory}
    with note_out_of_memory(result, "training"):
        optimizer = AdamW(network, Training())
        labels = torch.arange(len(tokens), device=tokens.device) % 2
        network.train()

        def step() -> None:
            with autocast:
                loss = F.cross_entropy(network(tokens).float(), labels)
            loss.backward()
            optimizer.step(1e-4)

        seconds, memory = timed(step, tokens.device)
        result |= {"training_bases_per_second": tokens.numel() / seconds, "training_memory_mb": memory}
    network.zero_grad()
    with note_out_of_memory(result, "counting operations"):
        result["flops_per_base"] = sum(operations(network, strand[:1]) for strand in inputs) / tokens.shape[1]
    return result


@contextmanager
def note_out_of_memory(result: dict[str, Any], what: str) -> Iterator[None]:
    """A block in which a lack of memory is no error: `result["out_of_memory"]` becomes true, and the log says `what`
    it was needed for."""
    try:
        with limit_to_available_memory():
            yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        log(f"{what}: out of memory")
        result["out_of_memory"] = True


def operations(network: nn.Module, tokens: Tensor) -> int:
    """Floating-point operations of one prediction."""
    plain = without_fast_kernels(network).eval()
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        plain(tokens)
    return counter.get_total_flops()


def timed(run: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Time several runs, after one that warms up.

    `torch.utils.benchmark.Timer` would warm up twice before every run, which takes three times as long.

    Args:
        run: what to time.
        device: where it computes.

    Returns:
        The median in seconds, and the peak memory in MB: on a GPU of tensors, on a CPU of the whole process, some
        300 MB of Python and PyTorch included.
    """
    on_gpu = device.type == "cuda"
    wait_for_gpu = torch.cuda.synchronize if on_gpu else lambda: None
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []  # the first run warms up
    while len(seconds) <= MIN_RUNS or sum(seconds[1:]) < (SECONDS_ON_GPU if on_gpu else SECONDS):
        wait_for_gpu()
        started = time.perf_counter()
        run()
        wait_for_gpu()
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:]), (torch.cuda.max_memory_allocated(device) if on_gpu else peak_resident()) / 1e6
