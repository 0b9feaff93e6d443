"""Compile every kernel of the fused block as it is launched, for a Hopper GPU that need not be there.

Triton's interpreter accepts more than its compiler does, and knows no limits of shared memory.
"""

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from convnova.models import fused, fused_kernels
from convnova.models.convnova import Config, GatedConvolutionBlock

POINTERS = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}
SHARED_MEMORY = 227 * 1024
"""Bytes that one program may use."""


class Compiled:
    """Stands for a kernel: compiles it for the arguments of a launch, which it does not do."""

    def __init__(self, kernel: triton.JITFunction):
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> "Compiled":
        return self

    def __call__(self, *values, **options) -> None:  # noqa: ANN002, ANN003
        names = self.kernel.arg_names
        tiles = {name: options.pop(name) for name in names if name in options}
        arguments = dict(zip(names, values, strict=False)) | tiles
        tensors = {name: POINTERS[value.dtype] for name, value in arguments.items() if isinstance(value, Tensor)}
        sizes = {name: "i32" for name in names if name in fused_kernels.SIZES}
        types = {name: {**tensors, **sizes}.get(name, "constexpr") for name in names}
        constants = {name: arguments[name] for name in names if types[name] == "constexpr"}
        aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in tensors}
        source = ASTSource(self.kernel, types, constants, aligned)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert compiled.metadata.shared <= SHARED_MEMORY, f"{self.kernel.__name__} {arguments}: too much shared memory"
        print(self.kernel.__name__)


if __name__ == "__main__":
    for name in ("normalise", "convolve_and_gate", "activation_gradients", "input_gradient", "weight_gradient"):
        setattr(fused_kernels, name, Compiled(getattr(fused_kernels, name)))
    for width in fused.FORWARD:
        x, c = (torch.zeros(1, 8, width, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
        after, gate = fused.gated_convolution(GatedConvolutionBlock(Config(width=width), 4), x, c, None)
        (after.sum() + gate.sum()).backward()
