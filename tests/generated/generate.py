"""A seeded generator of small random pairs."""

import random
from dataclasses import replace

from .oracle import enumerated, size
from .program import BINARY, CONTINUOUS, FINITE, INNER, ONE_HOT, Law, Program, Site, Weight, tidy

NODES = 30_000
"""At most so many nodes of all latents together."""

PAIRS = 1_500_000
"""At most so many nodes of two particles."""


def generate(seed: int) -> Program:
    """The program of a seed."""
    for attempt in range(1000):
        program = replace(tidy(Draw(random.Random(f"{seed}/{attempt}")).program()), seed=seed)
        if affordable(program):
            return program
    raise AssertionError(f"no affordable program for seed {seed}")


def affordable(program: Program) -> bool:
    """Whether the oracle can sum the program in a blink."""
    outer, local, only_model = size(program)
    particles = 1 if program.objective.startswith("ELBO") else 2
    if particles == 2:
        for s in program.latents:
            if s.is_local and enumerated(program, s):
                local //= {"binary": 2}.get(s.law.support, 3)
    return outer * local * only_model <= NODES and outer * local**particles * program.size <= PAIRS


class Draw:
    """One random program."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.parameters: dict[str, float] = {}
        self.size = rng.choice((2, 2, 3))
        self.columns: dict[str, tuple] = {"x": self._reals()}

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def _reals(self) -> tuple:
        return tuple(round(self.rng.uniform(-1.5, 1.5), 2) for _ in range(self.size))

    def weight(self, kind: str, low: float = 0.2, high: float = 0.9) -> Weight:
        """A number, or a parameter of the model ("m"), the guide ("g") or both ("s")."""
        if self.parameters and self.chance(0.08):
            return self.rng.choice(list(self.parameters))
        value = round(self.rng.uniform(low, high) * self.rng.choice((-1, 1)), 2)
        if self.chance(0.4):
            name = f"{kind}{len(self.parameters)}"
            self.parameters[name] = value
            return name
        return value

    def law(self, family: str, kind: str, parents: list[str], scale: tuple[float, float]) -> Law:
        terms = [("1", self.weight(kind, 0.0, 0.6))] + [(p, self.weight(kind)) for p in parents]
        spread: Weight = round(self.rng.uniform(*scale), 2)
        if family in ("normal", "lognormal") and self.chance(0.3):
            name = f"{kind}{len(self.parameters)}"
            self.parameters[name] = round(self.rng.uniform(-0.25, 0.1), 2)
            spread = name
        return Law(family, tuple(terms), spread)

    def some(self, names: list[str], p: float) -> list[str]:
        chosen = [n for n in names if self.chance(p)]
        return chosen[:2]

    def program(self) -> Program:
        rng = self.rng
        self.inner = self.chance(0.12)
        objective, particles = self.objective()
        latents = self.latents()
        sites = [*latents, *self.observed(latents)]
        program = Program(
            tuple(sites),
            self.order,
            tuple(self.columns.items()),
            tuple(self.parameters.items()),
            objective,
            total=rng.choice((None, None, 7.0)),
            data_dim=-2 if self.inner and self.chance(0.5) else -1,
            plate=rng.choice(("data", "data", "data", "rows")),
            style=rng.choice(("module", "module", "param")),
        )
        program = self.masks(program)
        if self.chance(0.12):
            program = self.scales(program)
        if self.chance(0.08):
            program = self.factor(program)
        program = self.estimators(program, particles)
        if not self.parameters:
            self.parameters["m0"] = 0.3
            site = program.sites[-1]
            law = replace(site.model, terms=(("1", "m0"), *site.model.terms[1:]))
            program = program.with_site(site.name, model=law)
        return replace(program, columns=tuple(self.columns.items()), parameters=tuple(self.parameters.items()))

    def objective(self) -> tuple[str, int]:
        kind = self.rng.choices(
            ("elbo", "analytic", "beta", "IWAE", "MIWAE", "CIWAE", "PIWAE", "Renyi"), (46, 12, 8, 14, 5, 5, 4, 6)
        )[0]
        k = self.rng.choice((1, 2, 3))
        if kind == "elbo":
            return f"ELBO({k})", k
        if kind == "analytic":
            return f'ELBO({k}, kl="analytic")', k
        if kind == "beta":
            return f"ELBO({k}, beta={self.rng.choice((0.5, 2.0))})", k
        if kind == "IWAE":
            return "IWAE(2)", 2
        if kind in ("MIWAE", "PIWAE"):
            return f"{kind}(2, num_groups={self.rng.choice((1, 2))})", 2
        if kind == "CIWAE":
            return "CIWAE(2, beta=0.3)", 2
        return f"Renyi({self.rng.choice((0.5, 2.0, -0.5))}, num_particles=2)", 2

    def latents(self) -> list[Site]:
        rng = self.rng
        count = rng.choices((1, 2, 3, 4, 5), (25, 35, 25, 10, 5))[0]
        chosen: list[tuple[str, str, str]] = []
        left = 2  # continuous ones
        for i in range(count):
            if left and self.chance(0.5):
                left -= 1
                family = rng.choices(("normal", "lognormal", "gamma", "beta", "von_mises"), (8, 1, 1, 1, 1))[0]
            else:
                families = ("bernoulli", "categorical", "one_hot", "binomial", "poisson")
                family = rng.choices(families, (8, 6, 5, 2, 1))[0]
            place = rng.choices(("data", "global"), (84, 16))[0]
            if self.inner and place == "data" and self.chance(0.35) and family not in ("poisson",):
                place = "inner"
            chosen.append((f"z{i}", family, place))
        chosen.sort(key=lambda c: c[2] != "global")
        order = [n for n, _, _ in chosen]
        if self.chance(0.5):
            rng.shuffle(order)
            order.sort(key=lambda n: next(p for m, _, p in chosen if m == n) != "global")
        by_name = {n: (f, p) for n, f, p in chosen}

        def parents(names: list[str], here: str) -> list[str]:
            place = by_name[here][1]
            legal = [n for n in names if place != "global" or by_name[n][1] == "global"]
            return self.some(legal, 0.5)

        models: dict[str, Law] = {}
        guides: dict[str, Law] = {}
        for i, (name, family, place) in enumerate(chosen):
            above = parents([n for n, _, _ in chosen[:i]], name)
            above += ["j"] if place == "inner" and self.chance(0.5) else []
            models[name] = self.law(family, rng.choice("mmms"), above, (0.9, 1.3))
        only_model = None
        if self.chance(0.15):
            able = [n for n, f, p in chosen if f in ("bernoulli", "categorical", "one_hot") and p == "data"]
            only_model = rng.choice(able) if able else None
        order = [n for n in order if n != only_model]
        for i, name in enumerate(order):
            family, place = by_name[name]
            above = parents(order[:i], name)
            above += ["x"] if place != "global" and self.chance(0.95) else []
            if family in ("lognormal", "gamma"):
                family = rng.choice(("lognormal", "gamma"))
            guides[name] = self.law(family, rng.choice("gggs"), above, (0.75, 1.1))
        self.order = tuple(order)
        infer = {n: "" for n in by_name}
        for n in by_name:
            if n == only_model:
                infer[n] = "model"
            elif SUPPORT_OF[by_name[n][0]] in FINITE and self.chance(0.25):
                infer[n] = "guide"
        return [Site(n, p, models[n], guides.get(n), infer=infer[n]) for n, _, p in chosen]

    def observed(self, latents: list[Site]) -> list[Site]:
        rng = self.rng
        names = [s.name for s in latents]
        found = []
        for name in ("x", "y")[: 1 + self.chance(0.35)]:
            family = "normal" if name == "x" else rng.choice(("normal", "bernoulli", "categorical", "poisson"))
            place = "inner" if self.inner and name == "y" else "data"
            above = self.some(rng.sample(names, len(names)), 0.75) or [rng.choice(names)]
            law = self.law(family, "m", above, (0.8, 1.3))
            if name == "y":
                draw = {
                    "normal": lambda: round(rng.uniform(-1.5, 1.5), 2),
                    "bernoulli": lambda: float(rng.random() < 0.5),
                    "categorical": lambda: rng.randrange(3),
                    "poisson": lambda: float(rng.randrange(4)),
                }[family]
                row = (lambda: tuple(draw() for _ in range(INNER))) if place == "inner" else draw
                self.columns["y"] = tuple(row() for _ in range(self.size))
            found.append(Site(name, place, law, column=name))
        return found

    def masks(self, program: Program) -> Program:
        if not self.chance(0.3):
            return program
        rng = self.rng
        mask = [self.chance(0.5) for _ in range(self.size)]
        mask[rng.randrange(self.size)] = False
        self.columns["m"] = tuple(mask)
        how = lambda: rng.choice(("handler", "method"))  # noqa: E731
        kind = rng.choice(("observed", "rows", "site", "off"))
        if kind == "observed":
            site = rng.choice([s for s in program.sites if s.column])
            return program.with_site(site.name, model=replace(site.model, mask=how()))
        if kind == "rows":
            for s in program.sites:
                if s.is_local:
                    laws = {w: replace(law, mask=how()) for w in ("model", "guide") if (law := getattr(s, w))}
                    program = program.with_site(s.name, **laws)
            return program
        able = [s for s in program.sites if s.is_local and not s.only_model]
        site = rng.choice(able)
        end = " off" if kind == "off" else ""
        laws = {w: replace(law, mask=how() + end) for w in ("model", "guide") if (law := getattr(site, w))}
        return program.with_site(site.name, **laws)

    def scales(self, program: Program) -> Program:
        if any(s.only_model for s in program.sites):
            return program
        site = self.rng.choice(program.sites)
        weight = self.rng.choice((0.5, 1.5))
        laws = {w: replace(law, weight=weight) for w in ("model", "guide") if (law := getattr(site, w))}
        return program.with_site(site.name, **laws)

    def factor(self, program: Program) -> Program:
        names = [s.name for s in program.sites if s.is_latent]
        law = self.law("normal", "m", self.some(names, 0.7), (1.0, 1.0))
        return replace(program, sites=(*program.sites, Site("f", "data", law, column="factor")))

    def estimators(self, program: Program, particles: int) -> Program:
        for site in program.latents:
            if self.chance(0.5):
                program = program.with_site(site.name, estimator=self.estimator(program, site, particles))
        return program

    def estimator(self, program: Program, site: Site, particles: int) -> str:
        rng = self.rng
        baselines = ["", "DecayingAverage()", "Neural(hidden=3)"] + ["LeaveOneOut()"] * (2 if particles > 1 else 0)
        score = f"ScoreFunction({self._baseline(rng.choice(baselines))})"
        if site.law.support in CONTINUOUS:
            able = ["Pathwise()", score, score]
            if program.objective in ("ELBO(1)", "ELBO(2)", "ELBO(3)"):
                able += ["StickingTheLanding()"] * 2
            if site.guide.family == "normal":
                able.append("Pathwise(antithetic=True)")
            return rng.choice(able)
        able = [score, score]
        if site.law.support in FINITE:
            able += ["Enumerate()"] * 2
        if site.law.support in (BINARY, ONE_HOT) and program.objective.startswith(("ELBO", "IWAE")):
            able.append("Concrete(0.7)")
            able.append("Concrete(0.7, straight_through=True)")
        return rng.choice(able)

    def _baseline(self, baseline: str) -> str:
        return f"pv.estimators.{baseline}" if baseline else ""


from .program import SUPPORT as SUPPORT_OF  # noqa: E402
