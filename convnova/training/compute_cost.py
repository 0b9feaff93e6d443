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

from convnova.config.run import RunConfig
from convnova.data.dna import reverse_complement
from convnova.files import write_json
from convnova.log import log
from convnova.models import build_predictor, configure, receptive_field, without_fast_kernels
from convnova.training.devices import no_more_than_available, peak_resident
from convnova.training.optimization import AdamW, parameter_groups
from convnova.training.provenance import describe

BASES, BASES_ON_GPU = 8192, 131_072
"""Bases a step: as many sequences as make that, or one."""
FEWEST, SECONDS, SECONDS_ON_GPU = 3, 10.0, 0.3
"""Repeats of a measurement, and how long it goes on beyond them; a GPU's vary less."""
LONG = 30.0
"""Seconds of a run in which whatever happens but once, as in the first one, makes no difference."""


def write_cost(config: RunConfig, model: str, length: int, out: Path) -> None:
    """Measure one model at one length, and write what came of it as JSON: in float32 on a CPU, in bfloat16 on a GPU.

    The model predicts two classes of random sequences, with random weights: neither matters to what it costs. It has
    the head, the pooling and the frozen part that the config gives it, and predicts from as many strands. Where memory
    ends, that is the result, beside what was measured until there.
    """
    started, about = time.time(), config.models[model]
    settings = at_length(about.architecture, dict(about.settings), length)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, Any] = {"model": model, "title": about.title, "length": length, "device": device_name(device)}
    found["threads"] = torch.get_num_threads()
    found["precision"] = "bfloat16" if device.type == "cuda" else "float32"
    found["receptive_field"] = receptive_field(about.architecture, settings, "classes")
    torch.manual_seed(0)
    options = about.model_dump(include={"pooling", "head", "frozen"})
    found |= {"strands": about.strands, **options}
    network = build_predictor(about.architecture, settings, "classes", 2, length, **options).to(device)
    found["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    sequences = max(1, (BASES_ON_GPU if device.type == "cuda" else BASES) // length)
    tokens = torch.randint(0, 4, (sequences, length), device=device).to(torch.uint8)
    found["sequences"] = len(tokens)
    found |= measure(network, tokens, about.strands)
    write_json(out, {**found, "provenance": describe(started, {}, config.fingerprint(about, length))})


def at_length(architecture: str, settings: dict[str, Any], length: int) -> dict[str, Any]:
    """The settings, with the longest sequence of a model that has one in them set to `length`."""
    fields = type(configure(architecture, settings)).__dataclass_fields__
    return settings | ({"length": length} if "length" in fields else {})


def measure(network: nn.Module, tokens: Tensor, strands: str = "forward") -> dict[str, Any]:
    """Operations a base, bases a second and peak memory in MB, of prediction and of a training step.

    Operations are the products and sums of matrix products, convolutions and attention that one prediction asks for,
    two each, in the plain form of every layer; Fourier transforms, scans and all that is elementwise are not counted.

    Args:
        strands: `both` where a prediction is the mean over a sequence and its reverse complement, which is two passes;
            training reads one.

    Returns:
        What there was memory for; where there was too little for some of it, `out_of_memory` besides.
    """
    sides = [tokens]
    if strands == "both":
        sides.append(torch.from_numpy(reverse_complement(tokens.cpu().numpy()).copy()).to(tokens.device))
    found: dict[str, Any] = {}
    with where_memory_ends(found, "prediction"):
        network.eval()
        with torch.inference_mode():
            seconds, memory = timed(lambda: [predicted(network, side) for side in sides], tokens.device)
        found |= {"inference_bases_per_second": tokens.numel() / seconds, "inference_memory_mb": memory}
    with where_memory_ends(found, "training"):
        seconds, memory = timed(training_step(network, tokens), tokens.device)
        found |= {"training_bases_per_second": tokens.numel() / seconds, "training_memory_mb": memory}
    network.zero_grad()
    with where_memory_ends(found, "counting operations"):
        found["flops_per_base"] = sum(operations(network, side[:1]) for side in sides) / tokens.shape[1]
    return found


@contextmanager
def where_memory_ends(found: dict[str, Any], what: str) -> Iterator[None]:
    """Within the block a lack of memory is no error: `found` says `out_of_memory`."""
    try:
        with no_more_than_available():
            yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        log(f"{what}: out of memory")
        found["out_of_memory"] = True


def predicted(network: nn.Module, tokens: Tensor) -> Tensor:
    """Logits, in the precision of the device."""
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.is_cuda):
        return network(tokens)


def attention_on_cpu(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """Operations of attention over heads of these shapes."""
    return sdpa_flop_count(query, key, value)


def convolution_on_cpu(image: torch.Size, weight: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
    """Operations of a convolution by oneDNN."""
    return conv_flop_count(image, weight, out_shape)


COUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_on_cpu,
    torch.ops.aten.mkldnn_convolution: convolution_on_cpu,
}
"""What PyTorch's counter leaves out."""


def operations(network: nn.Module, tokens: Tensor) -> int:
    """Floating-point operations of one prediction."""
    plain = without_fast_kernels(network).eval()
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        plain(tokens)
    return counter.get_total_flops()


def training_step(network: nn.Module, tokens: Tensor) -> Callable[[], None]:
    """A step of AdamW on all sequences at once."""
    optimizer = AdamW(parameter_groups(network, 0.1), betas=(0.9, 0.999))
    labels = torch.arange(len(tokens), device=tokens.device) % 2

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        F.cross_entropy(predicted(network, tokens).float(), labels).backward()
        optimizer.step(1e-4)

    return step


def timed(run: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """The median of the seconds of several runs and the peak memory in MB. The first one warms up, and counts only if
    it is `LONG`.

    On a GPU the memory of tensors, on a CPU that of the whole process, with some 300 MB of Python and PyTorch.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first, times = seconds_of(run, device), []
    if first > LONG:
        times.append(first)
    while len(times) < FEWEST or sum(times) < (SECONDS_ON_GPU if device.type == "cuda" else SECONDS):
        times.append(seconds_of(run, device))
    return median(times), peak_memory(device) / 1e6


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Of one run."""
    synchronise(device)
    began = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: of tensors on a GPU since it was last reset, of this process on a CPU since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident()


def device_name(device: torch.device) -> str:
    """`cpu`, or what the GPU calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
