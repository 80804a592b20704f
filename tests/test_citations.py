"""References are read from the docstrings of the parts, and every one of ours can be read."""

import importlib
import inspect
import pkgutil
import re

import pytest

import ppl_vae
from ppl_vae.citations import Reference, citation, references

CASES = {
    "link": (
        "Kingma and Welling (2014), Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114",
        ("Kingma", "Welling"),
        "Auto-Encoding Variational Bayes",
        "",
    ),
    "commas in the title": (
        "Yao, Vehtari, Simpson, Gelman (2018), Yes, but did it work? Evaluating variational inference, ICML.",
        ("Yao", "Vehtari", "Simpson", "Gelman"),
        "Yes, but did it work? Evaluating variational inference",
        "ICML",
    ),
    "section": (
        "Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, section 5.",
        ("Burda", "Grosse", "Salakhutdinov"),
        "Importance weighted autoencoders",
        "section 5",
    ),
    "wrapped": (
        "Zhang, Stephens (2009), A new and efficient estimation method for the generalized Pareto\n"
        "    distribution, Technometrics 51.",
        ("Zhang", "Stephens"),
        "A new and efficient estimation method for the generalized Pareto distribution",
        "Technometrics 51",
    ),
    "title first": (
        "Black Box Variational Inference (Ranganath, Gerrish and Blei, 2014), https://arxiv.org/abs/1401.0118",
        ("Ranganath", "Gerrish", "Blei"),
        "Black Box Variational Inference",
        "",
    ),
    "title in quotes": (
        'Theis, van den Oord and Bethge, "A note on the evaluation of generative models", 2016, section 3.1.',
        ("Theis", "van den Oord", "Bethge"),
        "A note on the evaluation of generative models",
        "section 3.1",
    ),
    "particles in names": (
        "van den Oord, Li and Vinyals (2018), Representation learning, NeurIPS",
        ("van den Oord", "Li", "Vinyals"),
        "Representation learning",
        "NeurIPS",
    ),
}


@pytest.mark.parametrize(("text", "authors", "title", "venue"), CASES.values(), ids=CASES)
def test_parse(text: str, authors: tuple[str, ...], title: str, venue: str) -> None:
    reference = Reference.parse(text)
    assert reference is not None
    assert (reference.authors, reference.title, reference.venue) == (authors, title, venue)


def test_what_is_no_reference_is_left_out() -> None:
    assert Reference.parse("ArviZ developers, InferenceData schema specification.") is None


def test_several_entries_some_wrapped() -> None:
    def part() -> None:
        """Does it.

        References:
            Burda, Grosse and Salakhutdinov (2016), Importance weighted
                autoencoders, ICLR.
            Rainforth et al. (2018), Tighter variational bounds are not
            necessarily better, ICML.

        Example:
            >>> 1
            1
        """

    assert [r.key for r in references(part)] == ["burda2016importance", "rainforth2018tighter"]


def test_entries_separated_by_semicolons() -> None:
    def part() -> None:
        """Does it.

        References:
            Auto-Encoding Variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114;
            Simple Statistical Gradient-Following Algorithms for Connectionist
            Reinforcement Learning (Williams, 1992); beta-VAE (Higgins et al., 2017)
        """

    assert [r.key for r in references(part)] == ["kingma2014auto", "williams1992simple", "higgins2017beta"]


def test_entries_are_balanced_and_unique() -> None:
    class Model:
        """A model.

        Reference:
            Kingma and Welling (2014), Auto-Encoding Variational Bayes, ICLR.
        """

    text = citation(Model(), Model())
    assert text.count("{") == text.count("}")
    keys = re.findall(r"@misc{(\w+),", text)
    assert keys == ["ppl_vae", "bingham2019pyro", "kingma2014auto"]


def documented_parts() -> dict[str, object]:
    found: dict[str, object] = {}
    for module in pkgutil.walk_packages(ppl_vae.__path__, "ppl_vae."):
        if module.name.endswith("__main__"):
            continue
        for name, part in inspect.getmembers(importlib.import_module(module.name)):
            inside = getattr(part, "__module__", "") == module.name
            if inside and "Reference" in (getattr(part, "__doc__", None) or "") and "citation" not in module.name:
                found[f"{module.name}.{name}"] = part
    return found


def test_estimators_objectives_models_and_guides_cite_what_can_be_read() -> None:
    """A reference that `citation` cannot read would be dropped in silence."""
    cited = ("ppl_vae.estimators", "ppl_vae.objectives", "ppl_vae.models", "ppl_vae.guides")
    unread = [n for n, part in documented_parts().items() if n.startswith(cited) and not references(part)]
    assert not unread, f"write `Authors (year), Title, venue or link` in {unread}"
