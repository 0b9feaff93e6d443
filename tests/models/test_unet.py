import torch
import torch.nn.functional as F
from torch import Tensor

from convnova.models.unet import Backbone, Config


def down_and_up(blocks: list[torch.nn.Module], x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of the same level are the first and the last; what is between them is a level lower."""
    first, *below, last = blocks
    x, c = first(x, c, None)
    pooled = [F.avg_pool1d(branch.mT, 3).mT for branch in (x, c)]
    lower = down_and_up(below, *pooled) if len(below) > 1 else below[0](*pooled, None)
    x, c = (branch + F.interpolate(h.mT, scale_factor=3).mT for branch, h in zip((x, c), lower, strict=True))
    return last(x, c, None)


def test_both_branches_go_down_and_up_again():
    torch.manual_seed(0)
    model, tokens = Backbone(Config(width=8, kernel=3, blocks=5, dilation_base=3)), torch.randint(0, 4, (2, 45))
    x, _ = down_and_up(list(model.blocks), *model.stems(tokens))
    torch.testing.assert_close(model(tokens), model.finish(x), atol=1e-5, rtol=1e-5)
