"""A codebook: K vectors that follow, by moving averages, what is assigned to them."""

import torch
from torch import Tensor, nn

from ppl_vae.distributions.codes import check_levels
from ppl_vae.errors import ArgumentError
from ppl_vae.nn.mlp import check_sizes

LEAST = 1e-12
"""Below this share a code keeps sum and share as they are: both would go to zero, and their ratio with them."""


class Codebook(nn.Module):
    r"""K vectors, $e_k = m_k / N_k$, moved by what a batch assigns to them and by no gradient.

    With n_k the share of all positions of a batch that take code k, and s_k the sum of what is quantized there, divided
    by the number of all positions,

    $$N_k \leftarrow \gamma N_k + (1 - \gamma)\, n_k, \qquad m_k \leftarrow \gamma m_k + (1 - \gamma)\, s_k.$$

    A code whose N_k falls below `restart` / K is dead: it becomes one of the batch's h, drawn at random, with
    N_k = 1 / K. All are at first, so that the first batch makes them. N and m are means over data: of a batch in
    shares, they are the means of what its shares give.

    Args:
        codes: K.
        dim: size of e.
        decay: γ.
        restart: share of 1 / K below which a code is replaced; 0 replaces none, and begins with normal draws.

    Raises:
        ArgumentError: fewer than two codes; a decay or restart outside [0, 1).

    References:
        van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning,
            https://arxiv.org/abs/1711.00937, appendix A.1
        Razavi, van den Oord and Vinyals (2019), Generating Diverse High-Fidelity Images with VQ-VAE-2,
            https://arxiv.org/abs/1906.00446

    Example:
        >>> book = Codebook(2, 1, decay=0.5, restart=0.0)
        >>> _ = book.share.fill_(0.5), book.total.copy_(torch.tensor([[0.0], [0.5]]))
        >>> book.update(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]))
        >>> book.table
        tensor([[0.0000],
                [1.6667]])
    """

    share: Tensor
    total: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99, restart: float = 0.1) -> None:
        super().__init__()
        check_sizes(dim=dim)
        (self.codes,) = check_levels([codes])
        for name, value in {"decay": decay, "restart": restart}.items():
            if not 0 <= value < 1:
                raise ArgumentError(f"Got {name}={value}, expected a number in [0, 1).")
        self.dim, self.decay, self.restart = dim, decay, restart
        self.register_buffer("share", torch.full((codes,), 0.0 if restart else 1 / codes))
        self.register_buffer("total", torch.randn(codes, dim) * (1.0 if restart else 1 / codes))

    @property
    def table(self) -> Tensor:
        """All vectors, `(codes, dim)`."""
        share = self.share[:, None]
        return self.total / torch.where(share > 0, share, torch.ones_like(share))

    def forward(self, z: Tensor) -> Tensor:
        """Numbers `(...)` to their vectors `(..., dim)`."""
        return self.table[z.long()]

    @torch.no_grad()
    def update(self, h: Tensor, z: Tensor) -> None:
        """Move the vectors by what was quantized.

        Args:
            h: `(..., dim)`.
            z: the numbers that it took, `(...)`.
        """
        h = h.detach().to(self.total.dtype).expand(*z.shape, self.dim).reshape(-1, self.dim)
        taken = (z.reshape(-1, 1) == torch.arange(self.codes, device=z.device)).to(h.dtype)
        share = self.decay * self.share + (1 - self.decay) * taken.mean(0)
        total = self.decay * self.total + (1 - self.decay) * (taken.mT @ h) / len(h)
        if self.restart:
            fresh = h[torch.randint(len(h), (self.codes,), device=h.device)] / self.codes
            stays = share >= self.restart / self.codes
            share = torch.where(stays, share, torch.full_like(share, 1 / self.codes))
            total = torch.where(stays[:, None], total, fresh)
        else:
            moves = share > LEAST
            share = torch.where(moves, share, self.share)
            total = torch.where(moves[:, None], total, self.total)
        self.share.copy_(share)
        self.total.copy_(total)

    @torch.no_grad()
    def perplexity(self, z: Tensor) -> Tensor:
        r"""$\exp(-\sum_k n_k \log n_k)$ with n_k the share of code k among z: how many codes are in use, 1 to K."""
        taken = (z.reshape(-1, 1) == torch.arange(self.codes, device=z.device)).to(self.total.dtype).mean(0)
        return torch.special.entr(taken).sum().exp()

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.codes}, {self.dim}, decay={self.decay}, restart={self.restart}"
