"""Data as rows of tokens, for networks that read one after the other or all beside each other, and back again."""

from collections.abc import Sequence
from math import prod

from torch import Tensor

from ppl_vae.errors import DataError, PplVaeError
from ppl_vae.nn.features import DataSpec


class Tokens:
    """The cut of one datum into `count` tokens of `width` numbers each.

    Of images (C, H, W) a token is a patch, of sequences (time, features) a step, of vectors (D,) an element.

    Args:
        spec: the dataset's spec.
        patch: height and width of a patch of an image, which divide its own.

    Raises:
        DataError: x has another number of axes, or columns of mixed kinds.
        PplVaeError: a patch does not divide the image.

    Example:
        >>> import torch
        >>> from ppl_vae.datasets.spec import Spec
        >>> tokens = Tokens(Spec((1, 8, 8), "binary"), patch=(4, 2))
        >>> cut = tokens.cut(torch.zeros(5, 1, 8, 8))
        >>> cut.shape, tokens.join(cut.unsqueeze(1)).shape
        (torch.Size([5, 8, 8]), torch.Size([5, 1, 1, 8, 8]))
    """

    def __init__(self, spec: DataSpec, patch: Sequence[int]) -> None:
        shape = tuple(spec.shape)
        if spec.support == "mixed" or not 1 <= len(shape) <= 3:
            what = "columns of mixed kinds" if spec.support == "mixed" else f"x of shape {shape}"
            raise DataError(
                f"Got {what}, expected images (channels, height, width), sequences (time, features) or vectors: take "
                "encoder=mlp and decoder=mlp."
            )
        self.shape = shape
        if len(shape) < 3:
            self.count, self.width = shape[0], prod(shape[1:])
            self.grid: tuple[int, ...] = ()
            return
        channels, height, width = shape
        if len(patch) != 2 or min(patch) < 1 or height % patch[0] or width % patch[1]:
            raise PplVaeError(
                f"patch: got {list(patch)}, expected a height and a width that divide those of the images, {height} "
                f"and {width}, such as [{_divisor(height)},{_divisor(width)}]"
            )
        self.grid = (height // patch[0], patch[0], width // patch[1], patch[1])
        self.count, self.width = self.grid[0] * self.grid[2], channels * prod(patch)

    def cut(self, x: Tensor) -> Tensor:
        """Data `(n, *shape)` to tokens `(n, count, width)`."""
        if not self.grid:
            return x.reshape(-1, self.count, self.width)
        parts = x.reshape(-1, self.shape[0], *self.grid)
        return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.count, self.width)

    def join(self, tokens: Tensor) -> Tensor:
        """Tokens `(n, k, count, width)` to data `(n, k, *shape)`: the inverse of `cut`, for each of k parameters."""
        if not self.grid:
            return tokens.reshape(*tokens.shape[:2], *self.shape)
        rows, height, columns, width = self.grid
        parts = tokens.reshape(*tokens.shape[:2], rows, columns, self.shape[0], height, width)
        return parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(*tokens.shape[:2], *self.shape)


def _divisor(size: int) -> int:
    """The divisor of a size that is nearest to 4."""
    return min((n for n in range(1, size + 1) if size % n == 0), key=lambda n: abs(n - 4))
