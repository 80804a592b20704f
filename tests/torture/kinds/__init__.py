"""Kinds of hostile directories: what each tries, and how it is made of a real run or sweep."""

from tests.torture.kinds.around import repositories, trackers
from tests.torture.kinds.bombs import hdf5, jsons, tensors, yamls
from tests.torture.kinds.case import ESCAPE, FORMULA, MARKUP, NUMBER, SCRIPT, SECRET, Case, Kind, forms
from tests.torture.kinds.code import modules, returned, targets
from tests.torture.kinds.elsewhere import devices, links, secrets
from tests.torture.kinds.plain import benign
from tests.torture.kinds.plans import sweeps
from tests.torture.kinds.shown import pages

__all__ = ["ESCAPE", "FORMULA", "MARKUP", "NUMBER", "SCRIPT", "SECRET", "Case", "Kind", "forms", "kinds"]


def kinds() -> list[Kind]:
    """All of them."""
    families = (
        benign,
        targets,
        modules,
        returned,
        links,
        devices,
        secrets,
        yamls,
        jsons,
        tensors,
        hdf5,
        pages,
        repositories,
        trackers,
        sweeps,
    )
    found = [kind for family in families for kind in family()]
    names = [kind.name for kind in found]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return found
