"""A random pair as data: what the printer writes as Pyro source and the oracle sums exactly.

Every conditional distribution is a `Law`: a family whose natural parameter is a sum of terms, weight · feature. A
feature is "1", "j" (a number per element of the inner plate), a column of the batch, or an earlier site. A weight is a
number or the name of a scalar parameter. That is enough for dependence, sharing, masks, plates and every estimator, and
small enough that a failing program can be shrunk piece by piece.
"""

from dataclasses import dataclass, replace

Weight = float | str

REAL, POSITIVE, UNIT, CIRCLE = "real", "positive", "unit", "circle"
BINARY, INDEX, ONE_HOT, FEW, COUNT = "binary", "index", "one-hot", "few", "count"

SUPPORT = {
    "normal": REAL,
    "delta": REAL,
    "lognormal": POSITIVE,
    "gamma": POSITIVE,
    "beta": UNIT,
    "von_mises": CIRCLE,
    "bernoulli": BINARY,
    "categorical": INDEX,
    "one_hot": ONE_HOT,
    "binomial": FEW,
    "poisson": COUNT,
}
CONTINUOUS = frozenset({REAL, POSITIVE, UNIT, CIRCLE})
FINITE = frozenset({BINARY, INDEX, ONE_HOT, FEW})

INNER = 2
"""The size of an inner plate, and of a plate of global components."""

OFFSETS = (-0.5, 0.7)
"""The feature "j", per element of the inner plate."""

TABLE = (-1.0, 0.4, 1.2)
"""The number that stands for each of three classes."""


@dataclass(frozen=True)
class Law:
    """A conditional distribution.

    Attributes:
        family: A key of `SUPPORT`.
        terms: Pairs of a feature and its weight; their sum is the mean, the logit or the log rate.
        scale: Of normal and lognormal; a name stands for the exponential of a parameter.
        mask: "" for none, "handler" for `poutine.mask`, "method" for `.mask()`; "handler off" and "method off" with
            `False` in place of a column; "obs_mask" for what is observed in part, "missing" for its latent part.
        weight: Of `poutine.scale`.
        rsample: False for `.has_rsample_(False)`.
        masked_by: The column that masks.
    """

    family: str
    terms: tuple[tuple[str, Weight], ...] = ()
    scale: Weight = 1.0
    mask: str = ""
    weight: float = 1.0
    rsample: bool = True
    masked_by: str = "m"

    @property
    def support(self) -> str:
        return SUPPORT[self.family]


@dataclass(frozen=True)
class Site:
    """A sample site of the model, of the guide, or of both.

    Attributes:
        name: Its name.
        place: "data" in the data plate, "inner" in a plate within it, "global" in no plate, "outer" in a plate of
            global components, "below" in no plate, but below local latents.
        model: Its law in the model; None for an auxiliary site, "a", without a reverse.
        guide: Its law in the guide; None for an observed site, or one that only the model enumerates.
        column: The column of the batch that it observes; "" if it is latent; "factor" for a `pyro.factor`,
            "deterministic" for a `pyro.deterministic`; a number for one observed outside the data plate.
        event: 0 for a scalar, else the number of entries of one event.
        estimator: Source of its entry in `estimators`; "" for none.
        infer: Which programs mark it with `infer={"enumerate": "parallel"}`: "", "guide", "model" or "both".
        step: Of a `pyro.markov` loop, if it stands in one.
    """

    name: str
    place: str
    model: Law | None
    guide: Law | None = None
    column: str = ""
    event: int = 0
    estimator: str = ""
    infer: str = ""
    step: int | None = None

    @property
    def is_latent(self) -> bool:
        return not self.column

    @property
    def only_model(self) -> bool:
        """Whether it is summed out of the model."""
        return self.is_latent and self.guide is None

    @property
    def is_local(self) -> bool:
        return self.place in ("data", "inner")

    @property
    def law(self) -> Law:
        law = self.model or self.guide
        assert law is not None
        return law


@dataclass(frozen=True)
class Program:
    """A pair, its batch, its objective.

    Attributes:
        sites: In the order of the model; auxiliary sites come last.
        order: Names of the guide's sites in the order of the guide.
        columns: The batch, by name: nested tuples of numbers, a row per datum.
        parameters: Scalars by name.
        objective: Source of the objective.
        total: N, or None for the batch.
        data_dim: The dimension of the data plate, −1 or −2; an inner plate takes the other one.
        plate: The name of the data plate.
        style: "module" for methods of an `nn.Module`, "param" for functions with `pyro.param`.
        guide_plate: The name of the data plate in the guide, if it has another one there.
        sequential: Whether the data plate is a loop, `for i in pyro.plate(…)`.
        subsample: How many data the data plate draws by itself, if it does.
        inner_subsample: The same of an inner plate.
        net: What the guide does to the column x first: "", "batch norm" or "dropout".
        seed: Where it came from.
    """

    sites: tuple[Site, ...]
    order: tuple[str, ...]
    columns: tuple[tuple[str, tuple], ...]
    parameters: tuple[tuple[str, float], ...]
    objective: str = "ELBO()"
    total: float | None = None
    data_dim: int = -1
    plate: str = "data"
    style: str = "module"
    guide_plate: str = ""
    sequential: bool = False
    subsample: int | None = None
    inner_subsample: int | None = None
    net: str = ""
    seed: int = -1

    def __getitem__(self, name: str) -> Site:
        return next(s for s in self.sites if s.name == name)

    @property
    def latents(self) -> list[Site]:
        """The sites that the guide draws, in its order."""
        return [self[name] for name in self.order]

    @property
    def size(self) -> int:
        return len(self.columns[0][1])

    @property
    def inner(self) -> bool:
        return any(s.place in ("inner", "outer") for s in self.sites)

    @property
    def crossed(self) -> bool:
        """Whether a site of the model outside the data plate depends on local latents."""
        return any(s.place == "below" for s in self.sites)

    @property
    def replicable(self) -> bool:
        """Whether a batch of all data several times over has the expectation of the batch."""
        return not (self.crossed or self.sequential or self.subsample)

    def with_site(self, name: str, **changes) -> "Program":
        return replace(self, sites=tuple(replace(s, **changes) if s.name == name else s for s in self.sites))


def weights_of(program: Program) -> set[str]:
    """The names of the parameters in use."""
    return {
        w
        for s in program.sites
        for law in (s.model, s.guide)
        if law is not None
        for w in (*(w for _, w in law.terms), law.scale)
        if isinstance(w, str)
    }


def features_of(program: Program) -> set[str]:
    """What the laws refer to."""
    return {f for s in program.sites for law in (s.model, s.guide) if law is not None for f, _ in law.terms}


def tidy(program: Program) -> Program:
    """The same without parameters and columns that nothing uses."""
    used, features = weights_of(program), features_of(program)
    columns = {s.column for s in program.sites if s.column}
    masks = {column for s in program.sites for column in _mask_columns(s)}
    keep = columns | masks | features
    kept = tuple((n, v) for n, v in program.columns if n in keep)
    return replace(
        program,
        parameters=tuple((n, v) for n, v in program.parameters if n in used),
        columns=kept or program.columns[:1],
    )


def _mask_columns(site: Site) -> set[str]:
    laws = [law for law in (site.model, site.guide) if law is not None]
    return {law.masked_by for law in laws if law.mask in ("handler", "method", "obs_mask", "missing")}
