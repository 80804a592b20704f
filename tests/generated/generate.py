"""A seeded generator of small random pairs."""

import random
from dataclasses import replace

from .oracle import enumerated, size
from .program import BINARY, CONTINUOUS, FINITE, INNER, ONE_HOT, SUPPORT, Law, Program, Site, Weight, tidy

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
            if s.is_local and not program.crossed and enumerated(program, s):
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
        high = 0.5 if family == "poisson" else 0.9  # the oracle counts to forty
        terms = [("1", self.weight(kind, 0.0, 0.6))] + [(p, self.weight(kind, high=high)) for p in parents]
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
        if self.chance(0.1) and not self.inner:
            program = self.chain(program)
        program = self.half_observed(program) if self.chance(0.08) else self.masks(program)
        if self.chance(0.12):
            program = self.scales(program)
        if self.chance(0.08):
            program = self.factor(program)
        if self.chance(0.05):
            law = self.law("normal", "m", self.some([s.name for s in program.sites if s.is_latent], 0.7), (1.0, 1.0))
            program = replace(program, sites=(*program.sites, Site("d", "data", law, column="deterministic")))
        program = self.estimators(program, particles)
        for chance, change in (
            (0.05, self.without_rsample),
            (0.05, self.events),
            (0.05, self.point_mass),
            (0.05, self.auxiliary),
            (0.05, self.below),
            (0.04, self.sequential),
            (0.04, self.subsampling),
            (0.06, self.network),
            (0.04, self.renamed),
            (0.04, self.illegal),
        ):
            if self.chance(chance):
                program = change(program)
        if not self.parameters:
            self.parameters["m0"] = 0.3
            site = next(s for s in reversed(program.sites) if s.model is not None)
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
            place = rng.choices(("data", "global", "outer"), (82, 15, 3))[0]
            if place == "outer" and family == "poisson":
                place = "global"
            if self.inner and place == "data" and self.chance(0.35) and family not in ("poisson",):
                place = "inner"
            chosen.append((f"z{i}", family, place))
        chosen.sort(key=lambda c: c[2] not in ("global", "outer"))
        order = [n for n, _, _ in chosen]
        if self.chance(0.5):
            rng.shuffle(order)
            order.sort(key=lambda n: next(p for m, _, p in chosen if m == n) not in ("global", "outer"))
        by_name = {n: (f, p) for n, f, p in chosen}

        def parents(names: list[str], here: str) -> list[str]:
            place = by_name[here][1]
            legal = [n for n in names if place in ("data", "inner") or by_name[n][1] in ("global", "outer")]
            return self.some(legal, 0.5)

        models: dict[str, Law] = {}
        guides: dict[str, Law] = {}
        for i, (name, family, place) in enumerate(chosen):
            above = parents([n for n, _, _ in chosen[:i]], name)
            above += ["j"] if place in ("inner", "outer") and self.chance(0.5) else []
            models[name] = self.law(family, rng.choice("mmms"), above, (0.9, 1.3))
        only_model = None
        if self.chance(0.15):
            able = [n for n, f, p in chosen if f in ("bernoulli", "categorical", "one_hot") and p == "data"]
            only_model = rng.choice(able) if able else None
        order = [n for n in order if n != only_model]
        for i, name in enumerate(order):
            family, place = by_name[name]
            above = parents(order[:i], name)
            above += ["x"] if place in ("data", "inner") and self.chance(0.95) else []
            if family in ("lognormal", "gamma"):
                family = rng.choice(("lognormal", "gamma"))
            guides[name] = self.law(family, rng.choice("gggs"), above, (0.75, 1.1))
        self.order = tuple(order)
        infer = dict.fromkeys(by_name, "")
        for n in by_name:
            if n == only_model:
                infer[n] = "model"
            elif SUPPORT[by_name[n][0]] in FINITE and self.chance(0.25):
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
                count = INNER if place == "inner" else 1
                rows = [tuple(draw() for _ in range(count)) for _ in range(self.size)]
                self.columns["y"] = tuple(rows if place == "inner" else [row[0] for row in rows])
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
            able = [s for s in program.sites if s.column and not s.law.mask]
            if not able:
                return program
            site = rng.choice(able)
            return program.with_site(site.name, model=replace(site.model, mask=how()))
        if kind == "rows":
            for s in program.sites:
                if s.is_local and not s.law.mask:
                    laws = {w: replace(law, mask=how()) for w in ("model", "guide") if (law := getattr(s, w))}
                    program = program.with_site(s.name, **laws)
            return program
        able = [s for s in program.sites if s.is_local and not s.only_model]
        able = [
            s for s in able if not any(f == o.name for o in program.sites if o.only_model for f, _ in s.model.terms)
        ]
        able = [s for s in able if not s.law.mask]
        if not able:
            return program
        site = rng.choice(able)
        end = " off" if kind == "off" else ""
        laws = {w: replace(law, mask=how() + end) for w in ("model", "guide") if (law := getattr(site, w))}
        return program.with_site(site.name, **laws)

    def scales(self, program: Program) -> Program:
        if any(s.only_model for s in program.sites):
            return program
        site = self.rng.choice([s for s in program.sites if s.law.mask not in ("obs_mask", "missing")])
        weight = self.rng.choice((0.5, 1.5))
        laws = {w: replace(law, weight=weight) for w in ("model", "guide") if (law := getattr(site, w))}
        return program.with_site(site.name, **laws)

    def half_observed(self, program: Program) -> Program:
        """A class or a number that is observed for some data, by obs_mask."""
        rng = self.rng
        name = "y" if any(s.name == "y" for s in program.sites) else "x"
        site = program[name]
        if site.place != "data" or site.law.family not in ("normal", "bernoulli", "categorical"):
            return program
        self.columns["m"] = tuple(i == 0 or self.chance(0.5) for i in range(self.size))
        twin = name + "_unobserved"
        above = [*self.some(list(program.order), 0.5), "u"]
        self.columns["u"] = self._reals()
        guide = self.law(site.law.family, "g", above, (0.75, 1.1))
        guide = replace(guide, mask=rng.choice(("missing", "missing", "missing", "missing", "")))
        finite = site.law.support in FINITE
        if finite and self.chance(0.3):
            guide = None
        infer = "model" if guide is None else rng.choice(("", "guide")) if finite else ""
        observed = replace(site, model=replace(site.model, mask="obs_mask"))
        latent = Site(twin, "data", replace(site.model, mask="missing"), guide, infer=infer)
        order = program.order if guide is None else (*program.order, twin)
        sites = []
        for s in program.sites:
            if s.name != name:  # the guide has the column of what it cannot see as zero or not at all
                guide_law = s.guide and replace(
                    s.guide, terms=tuple(t if t[0] != name else ("u", t[1]) for t in s.guide.terms)
                )
                sites.append(replace(s, guide=guide_law))
        sites += [latent, observed]
        if self.chance(0.6):  # a child
            self.columns["v"] = self._reals()
            child = self.law("normal", "m", [twin, *self.some(list(program.order), 0.4)], (0.8, 1.3))
            sites.append(Site("v", "data", child, column="v"))
        return replace(program, sites=tuple(sites), order=order)

    def chain(self, program: Program) -> Program:
        """States along `pyro.markov`, with what each emits, masked beyond a length or not."""
        rng = self.rng
        steps, family = rng.choice((2, 3)), rng.choice(("bernoulli", "categorical"))
        where = rng.choice(("model", "model", "guide", "guide", ""))
        masked = self.chance(0.5)
        lengths = [rng.randint(1, steps) for _ in range(self.size)]
        how = rng.choice(("handler", "handler", "method"))
        names = [s.name for s in program.latents if s.place in ("data", "global")]
        also = self.some(names, 0.2)[:1]
        move, emit, look = self.weight("m", 0.4, 1.2), self.weight("m", 0.4, 1.2), self.weight("g", 0.4, 1.2)
        sites, order = list(program.sites), list(program.order)
        for t in range(steps):
            self.columns[f"e{t}"] = self._reals()
            mask = {"mask": how, "masked_by": f"k{t}"} if masked else {}
            if masked:
                self.columns[f"k{t}"] = tuple(t < n for n in lengths)
            before = [(f"c{t - 1}", move)] if t else [("1", 0.3)]
            model = Law(family, (*before, *((n, 0.4) for n in also)), **mask)
            guide = None
            if where != "model":
                below = [(f"c{t - 1}", 0.5)] if t and self.chance(0.7) else []
                guide = Law(family, (("1", 0.1), (f"e{t}", look), *below), **mask)
                order.append(f"c{t}")
            sites.append(Site(f"c{t}", "data", model, guide, infer=where, step=t))
            emission = Law("normal", ((f"c{t}", emit), *((n, 0.3) for n in also)), 1.0, **mask)
            sites.append(Site(f"e{t}", "data", emission, column=f"e{t}", step=t))
        return replace(program, sites=tuple(sites), order=tuple(order))

    def without_rsample(self, program: Program) -> Program:
        able = [s for s in program.latents if s.guide.family in ("normal", "beta") and not s.estimator and not s.event]
        able = [s for s in able if not s.guide.mask.startswith("method")]  # Pyro's masked distributions take no flag
        if not able:
            return program
        site = self.rng.choice(able)
        return program.with_site(site.name, guide=replace(site.guide, rsample=False))

    def events(self, program: Program) -> Program:
        able = [s for s in program.latents if s.guide.family in ("normal", "bernoulli") and s.place != "inner"]
        able = [s for s in able if s.infer == "" and s.step is None and not s.estimator.startswith("Enumerate")]
        able = [
            s for s in able if s.law.mask != "missing" and s.guide.family != "delta" and s.guide.rsample
        ]  # of one shape with what is observed
        return program.with_site(self.rng.choice(able).name, event=2) if able else program

    def point_mass(self, program: Program) -> Program:
        """A global latent of which the guide has a point."""
        able = [s for s in program.latents if s.place == "global" and s.guide.family == "normal" and not s.event]
        if not able:
            return program
        site = self.rng.choice(able)
        return program.with_site(site.name, guide=replace(site.guide, family="delta", rsample=True), estimator="")

    def auxiliary(self, program: Program) -> Program:
        """A site that serves others in the guide, first in its order; its reverse r(a | z) is in the model, or not."""
        family = self.rng.choice(("normal", "bernoulli"))
        parents = [s.name for s in program.latents if s.place in ("data", "global")]
        reverse = self.law(family, "m", self.some(parents, 0.8), (0.8, 1.3)) if self.chance(0.6) else None
        site = Site("a", "data", reverse, self.law(family, "g", ["x"], (0.75, 1.1)))
        sites = []
        for s in program.sites:
            guide = s.guide
            if guide is not None and s.place == "data" and self.chance(0.6):
                guide = replace(guide, terms=(*guide.terms, ("a", 0.5)))
            sites.append(replace(s, guide=guide))
        return replace(program, sites=(*sites, site), order=("a", *program.order))

    def below(self, program: Program) -> Program:
        """A site outside the data plate that depends on local latents."""
        local = [s.name for s in program.latents if s.is_local and s.model is not None]
        if not local or any(s.only_model for s in program.sites) or program.total:
            return program
        law = self.law("normal", "m", [self.rng.choice(local)], (0.8, 1.3))
        site = Site("t", "below", law, column=str(round(self.rng.uniform(-1, 1), 2)))
        return replace(program, sites=(*program.sites, site))

    def sequential(self, program: Program) -> Program:
        plain = all(s.place in ("data", "global") and not s.event and s.step is None for s in program.sites)
        partly = any(s.law.mask in ("obs_mask", "missing") or s.model is None for s in program.sites)
        if not plain or program.total or partly:
            return program
        blocks = [s.place for s in program.sites]
        if "data" in blocks and "global" in blocks[blocks.index("data") :]:
            return program
        return replace(program, sequential=True, data_dim=-1)

    def subsampling(self, program: Program) -> Program:
        if any(s.place == "inner" for s in program.sites) and self.chance(0.7):
            inner = {s.name for s in program.sites if s.place == "inner"}
            laws = [(s, law) for s in program.sites if s.place != "inner" for law in (s.model, s.guide) if law]
            if not any(f in inner for _, law in laws for f, _ in law.terms):
                return replace(program, inner_subsample=1)
        if program.total or self.size < 3 or program.crossed or program.sequential:
            return program
        return replace(program, subsample=2)

    def network(self, program: Program) -> Program:
        return replace(program, net=self.rng.choice(("batch norm", "batch norm", "dropout")))

    def renamed(self, program: Program) -> Program:
        return replace(program, guide_plate="others")

    def illegal(self, program: Program) -> Program:
        """An estimator that may be refused."""
        site = self.rng.choice(program.latents) if program.order else None
        if site is None:
            return program
        every = (
            "DoublyReparameterized()",
            "StickingTheLanding()",
            "Implicit()",
            "Pathwise(common=True)",
            "Concrete(0.7)",
            "Enumerate()",
            "Pathwise()",
            "ScoreFunction(pv.estimators.LeaveOneOut())",
        )
        estimator = self.rng.choice(every)
        if estimator.startswith("Doubly") and self.chance(0.7):
            for s in program.latents:
                program = program.with_site(s.name, estimator=estimator)
            return replace(program, objective="IWAE(2)")
        return program.with_site(site.name, estimator=estimator)

    def factor(self, program: Program) -> Program:
        names = [s.name for s in program.sites if s.is_latent]
        law = self.law("normal", "m", self.some(names, 0.7), (1.0, 1.0))
        return replace(program, sites=(*program.sites, Site("f", "data", law, column="factor")))

    def estimators(self, program: Program, particles: int) -> Program:
        for site in program.latents:
            # A site that a bound sums out of its weights leaves its own parameters without a gradient.
            summed = not program.objective.startswith("ELBO") and enumerated(program, site) and not site.infer
            if self.chance(0.9 if summed else 0.5) and not (site.step is not None and site.infer):
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
            if site.guide.family == "normal" and program.objective.startswith("ELBO"):
                able.append("Pathwise(antithetic=True)")  # under other bounds it makes another bound
            return rng.choice(able)
        able = [score, score]
        if site.law.support in FINITE and (program.objective.startswith("ELBO") or self.chance(0.2)):
            able += ["Enumerate()"] * 2
        if site.law.support in (BINARY, ONE_HOT) and program.objective.startswith(("ELBO", "IWAE")):
            able.append("Concrete(0.7)")
            able.append("Concrete(0.7, straight_through=True)")
        return rng.choice(able)

    def _baseline(self, baseline: str) -> str:
        return f"pv.estimators.{baseline}" if baseline else ""
