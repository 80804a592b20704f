"""Little shapes, with every combination of shape, size, angle and place: five known factors."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor

from ppl_vae.datasets.arrays import from_arrays
from ppl_vae.datasets.dataset import Dataset
from ppl_vae.datasets.keywords import source
from ppl_vae.datasets.preparation import Basics, Binarization, Scale, Standardize
from ppl_vae.datasets.synthetic import at_least_one
from ppl_vae.errors import DataError

SHAPES = ("square", "ellipse", "triangle")


@source
def sprites(
    *,
    size: int = 32,
    scales: int = 3,
    angles: int = 8,
    places: int = 8,
    binarization: Binarization = "none",
    scaling: Scale = "unit",
    standardization: Standardize = "none",
    validation: float = 0.1,
    test: float = 0.1,
    **how: Unpack[Basics],
) -> Dataset:
    """Draw all 3 · scales · angles · places² sprites, ``(1, size, size)``, in grey with smooth edges.

    Their factors are shape, scale, angle, x and y; the label is the shape. Angles go through a quarter turn, in
    which no two pictures of the same shape are alike.

    Args:
        size: side of a picture in pixels.
        scales: how many sizes of a sprite.
        angles: how many angles.
        places: how many places in each direction.
        binarization: ``none``, ``static`` (one draw for ever), ``dynamic`` (a draw per visit) or ``threshold``.
        scaling: ``unit`` or ``none``, see `Pixels`.
        standardization: ``none`` or ``zscore``; only without binarization.
        validation: fraction or number of data.
        test: fraction or number of data.
        how: see `Basics`.

    Raises:
        DataError: for numbers below 1, or pictures too small to see a sprite in.

    References:
        Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites dataset,
            https://github.com/deepmind/dsprites-dataset/

    Example:
        >>> sprites(size=16, places=2).spec.factor_sizes
        (3, 3, 8, 2, 2)
    """
    at_least_one(scales=scales, angles=angles, places=places)
    if size < 8:
        raise DataError(f"Got size={size}, expected at least 8 pixels.")
    grid = torch.cartesian_prod(*map(torch.arange, (len(SHAPES), scales, angles, places, places)))
    return from_arrays(
        torch.cat([render(part, size, scales, angles, places) for part in grid.split(1024)]),
        validation,
        test,
        labels=grid[:, 0],
        factors=dict(zip(("shape", "scale", "angle", "x", "y"), grid.T, strict=True)),
        levels=256,
        binarization=binarization,
        scaling=scaling,
        standardization=standardization,
        name="sprites",
        class_names=SHAPES,
        **how,
    )


def render(factors: Tensor, size: int, scales: int, angles: int, places: int) -> Tensor:
    """Draw sprites of the factors ``(data, 5)``, uint8 ``(data, 1, size, size)``.

    A pixel's grey is how far it lies inside the shape, from −1/2 to 1/2 of its width.
    """
    shape, scale, angle, column, row = (factors[:, i, None, None].double() for i in range(5))
    radius = 0.25 + 0.2 * (scale / max(scales - 1, 1))  # half the side, of pictures from −1 to 1
    turn = math.pi / 2 * angle / angles
    centre_x, centre_y = (0.42 * (2 * place / max(places - 1, 1) - 1) for place in (column, row))
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1
    x, y = axis[None, None, :] - centre_x, axis[None, :, None] - centre_y
    u, v = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    ellipse = radius * (1 - ((u / radius).square() + (v / (0.5 * radius)).square()).sqrt()) * 0.5
    square = 0.8 * radius - torch.maximum(u.abs(), v.abs())
    third = 2 * math.pi / 3
    sides = torch.stack([u * math.sin(k * third) + v * math.cos(k * third) for k in range(3)])
    triangle = 0.5 * radius - sides.amax(0)
    inside = torch.where(shape == 0, square, torch.where(shape == 1, ellipse, triangle))
    grey = (inside * size / 2 + 0.5).clamp(0, 1)
    return (255 * grey).round().to(torch.uint8)[:, None]
