"""Runs that try nothing."""

from collections.abc import Iterator

from tests.torture.kinds.case import Kind, edited


def benign() -> Iterator[Kind]:
    """Runs that try nothing, and have to open: a harness that finds everything refused would prove nothing."""
    yield Kind("benign: a run", "nothing", lambda case: None, benign=True)
    of_others = ("compare", "sweeps", "evaluate", "report", "load")  # to go on with its plan asks for trust
    yield Kind("benign: a sweep", "nothing", lambda case: None, of="sweep", benign=True, doors=of_others)
    yield Kind("benign: a sweep made here", "nothing", lambda case: None, of="sweep", benign=True, here=True)
    yield Kind("benign: a run made here", "nothing", lambda case: None, benign=True, here=True)
    yield Kind("benign: own classes, made here", "nothing", lambda case: None, "own", benign=True, here=True)
    for name, place, node in (
        (
            "a schedule within an objective",
            "objective.beta",
            {"_target_": "ppl_vae.schedules.linear", "start": 0.0, "end": 1.0, "over": 10},
        ),
        ("an optimizer of torch", "optimizer", {"_target_": "torch.optim.RMSprop", "lr": 0.01}),
        ("an estimator", "estimator", {"_target_": "ppl_vae.estimators.Pathwise"}),
        ("an objective", "objective", {"_target_": "ppl_vae.objectives.IWAE", "num_particles": 3}),
    ):
        kept = ("load", "evaluate", "generate", "report", "check")  # the checkpoint is of what it was
        yield Kind(f"benign: {name}", "nothing", edited(place, node), benign=True, doors=kept)
