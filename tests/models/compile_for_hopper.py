"""Compile every kernel of the fused stem, block and tail as it is launched, for a Hopper GPU that need not be there.

Prints a line a kernel: name, registers a thread and bytes of shared memory. Triton's interpreter accepts more than its
compiler does, and knows no limits of shared memory.
"""

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.tools.tensor_descriptor import TensorDescriptor

from convnova.models.convnova import Backbone, Config, GatedConvolutionBlock
from convnova.models.kernels import hopper, hopper_triton

POINTERS = {torch.uint8: "*u8", torch.int64: "*i64", torch.bfloat16: "*bf16", torch.float32: "*fp32"}
SHARED_MEMORY = 227 * 1024
"""Bytes that one program may use."""


class Compiled:
    """Stands for a kernel: compiles it for the arguments of a launch, which it does not do."""

    def __init__(self, kernel: triton.JITFunction):
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> "Compiled":
        return self

    def __call__(self, *values, **options) -> None:
        names = self.kernel.arg_names
        tiles = {name: options.pop(name) for name in names if name in options}
        arguments = dict(zip(names, values, strict=False)) | tiles
        types = {name: self.type_of(name, value) for name, value in arguments.items()}
        constants = {name: arguments[name] for name in names if types[name] == "constexpr"}
        aligned = {(names.index(name),): [["tt.divisibility", 16]] for name, kind in types.items() if kind[0] == "*"}
        source = ASTSource(self.kernel, types, constants, aligned)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert compiled.metadata.shared <= SHARED_MEMORY, f"{self.kernel.__name__} {arguments}: too much shared memory"
        print(self.kernel.__name__)

    def type_of(self, name: str, value: object) -> str:
        """How Triton's compiler names the type of an argument."""
        if isinstance(value, TensorDescriptor):
            return f"tensordesc<bf16{value.block_shape}>"
        if isinstance(value, Tensor):
            return POINTERS[value.dtype]
        return "i32" if name in {p.name for p in self.kernel.params if p.do_not_specialize} else "constexpr"


if __name__ == "__main__":
    for name, part in list(vars(hopper_triton).items()):
        if isinstance(part, triton.JITFunction) and not name.startswith("_"):
            setattr(hopper_triton, name, Compiled(part))
    for width in hopper.WIDTHS:
        tokens, positions = torch.zeros(1, 8, dtype=torch.uint8), torch.arange(3)
        for ffn in (False, True):
            block = GatedConvolutionBlock(Config(width=width, ffn=ffn), 4)
            for chosen in (None, positions):
                bias = torch.zeros(width, requires_grad=True)
                x, c = (hopper.stem(tokens, torch.zeros(width, 5, 9), bias) for _ in "xc")
                x, c = hopper.gated_convolution(block, x, c, None, chosen, chosen is not None)
                (x.sum() + (0 if c is None else c.sum())).backward()
        for expansion in hopper.TAIL_EXPANSIONS:
            layers = Backbone(Config(width=width, tail_expansion=expansion, blocks=1)).tail
            hopper.tail(layers, torch.zeros(8, width, dtype=torch.bfloat16)).sum().backward()
