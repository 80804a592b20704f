"""The keys of verbs that give codes, reconstructions and what is missing, of the data of a run or of new ones."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ppl_vae.config.keys import OnRun, Part


class Saved(Enum):
    """A kind of file that rows are written to."""

    auto = "auto"
    csv = "csv"
    parquet = "parquet"
    npz = "npz"


@dataclass
class NewData:
    """Other data than the run's own.

    Attributes:
        path: a file of the kind that the run's data came from; null: the run's own.
    """

    path: str | None = None


@dataclass
class OnData(OnRun):
    """Keys of every verb that gives a row for each datum.

    Attributes:
        split: the data, of the run's own.
        dataset: `dataset.path=FILE`: new data in their place, of the same columns, scaled as the training data were.
        id: the column of that file (or of the run's own), of an npz the array, which names its rows; null: their
            numbers there.
        save: `csv`, `parquet` or `npz`; `auto`: csv of tables, npz of images.
    """

    split: Part = Part.test
    dataset: NewData = field(default_factory=NewData)
    id: str | None = None
    save: Saved = Saved.auto


@dataclass
class Encode(OnData):
    """Keys of `ppl-vae encode`.

    Attributes:
        num_particles: draws a datum, where the guide does not know its means and scales.
    """

    num_particles: int = 64


@dataclass
class Reconstruct(OnData):
    """Keys of `ppl-vae reconstruct`.

    Attributes:
        num_particles: draws of the latents a datum, over which is averaged.
    """

    num_particles: int = 16


@dataclass
class Impute(OnData):
    """Keys of `ppl-vae impute`.

    Attributes:
        num_particles: draws of the latents a datum, which are weighted.
        draws: so many completed data sets, drawn given what is known, into DIR/imputed/NAME_draws.npz.
    """

    num_particles: int = 1000
    draws: int | None = None


@dataclass
class Interpolate(OnData):
    """Keys of `ppl-vae interpolate`.

    Attributes:
        start: data to start from, by their places 0, 1, …, or by their names where `id` says what names them; null:
            0, 2, 4 and 6.
        end: data to end at, as many; null: 1, 3, 5 and 7.
        steps: points on each way, both ends among them.
        path: `linear`, or `spherical`: along the great circle.
        figures: draw them, into DIR/figures.
    """

    start: list[Any] | None = None
    end: list[Any] | None = None
    steps: int = 8
    path: str = "linear"
    figures: bool = True


@dataclass
class Explore(OnRun):
    """Keys of `ppl-vae explore`.

    Attributes:
        split: the data, of the run's own.
        dataset: `dataset.path=FILE`: new data in their place, as of `encode`.
        id: the column of that file (or of the run's own), of an npz the array, which names its rows; null: their
            numbers there.
        site: the latent that is explored; by default the one that says most of the data.
        data: how many data the page shows.
        num_particles: draws per datum, for its evidence.
        chains: of how many data draws of p(z | x) are made by HMC.
        units: how many units of the latent have a slider.
    """

    split: Part = Part.test
    dataset: NewData = field(default_factory=NewData)
    id: str | None = None
    site: str | None = None
    data: int = 1000
    num_particles: int = 100
    chains: int = 12
    units: int = 10
