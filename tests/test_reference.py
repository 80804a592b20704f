"""The reference holds the public names and nothing else, each once, and each says what it is."""

import ast
import inspect
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import ppl_vae as pv

EXTENSIONS = Path(__file__).resolve().parents[1] / "docs" / "_ext"
sys.path.insert(0, str(EXTENSIONS))
try:
    import docstrings
    import entries
    import public
    from signatures import signature
finally:
    sys.path.remove(str(EXTENSIONS))

DIRECTIVE = re.compile(r"^:{3,}\{py:(\w+)\} ([\w.]+)", re.MULTILINE)


def listed(module: ModuleType) -> set[str]:
    """Public names of a module, read from its source: `__all__`, or else `import … as` the same name."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    nodes = ast.parse(inspect.getsource(module)).body
    found = [a for node in nodes if isinstance(node, ast.ImportFrom) for a in node.names]
    return {alias.name for alias in found if alias.name == alias.asname}


def spellings(path: str, module: ModuleType) -> dict[str, object]:
    """All that a user may write, with what it is; modules are opened."""
    found: dict[str, object] = {}
    for name in listed(module):
        value = getattr(module, name)
        found |= spellings(f"{path}.{name}", value) if isinstance(value, ModuleType) else {f"{path}.{name}": value}
    return found


@pytest.fixture(scope="module")
def pages():
    return entries.pages()


@pytest.fixture(scope="module")
def targets(pages):
    """The full name of each directive on the pages, in order, as Sphinx puts it together."""
    found = []
    for text in pages.values():
        room = outer = ""
        for kind, name in DIRECTIVE.findall(text):
            if kind == "module":
                room = name
                found.append(name)
            elif kind in ("method", "property", "attribute"):
                found.append(f"{outer}.{name}")
            else:
                outer = f"{room}.{name}"
                found.append(outer)
    return found


def test_the_entries_are_exactly_the_public_names(pages):
    wanted = spellings("ppl_vae", pv)
    top = {name: thing for name, thing in wanted.items() if name.count(".") == 1}
    elsewhere = {
        path
        for path, thing in wanted.items()
        if path not in top and top.get(f"ppl_vae.{path.rpartition('.')[2]}", wanted) is thing
    }
    assert {"ppl_vae.training.fit", "ppl_vae.diagnostics.Evaluation"} <= elsewhere
    found = [
        f"{room}.{name}"
        for text in pages.values()
        for name, room in re.findall(r"^:+\{py:(?:class|exception|function|data)\} (\w+).*\n:module: (\S+)", text, re.M)
    ]
    assert Counter(found) == Counter(wanted.keys() - elsewhere)
    assert {"ppl_vae.models.VAE", "ppl_vae.guides.Amortized", "ppl_vae.objectives.ELBO", "ppl_vae.__version__"} <= {
        *found
    }


def test_all_that_has_an_entry_is_ours():
    assert [e.full for e in public.entries() if not f"{e.home}.".startswith("ppl_vae.")] == []


def test_each_room_has_a_page_and_a_row_of_the_overview(pages):
    rooms = {name for name in listed(pv) if isinstance(getattr(pv, name), ModuleType)}
    assert pages.keys() == {"ppl_vae", *rooms}
    assert re.findall(r"\]\(/api/(\w+)\.md\)", entries.overview()) == list(pages)


def test_no_target_is_there_twice_and_each_link_leads_to_one(pages, targets):
    assert [name for name, times in Counter(targets).items() if times > 1] == []
    led = {target for text in pages.values() for target in re.findall(r"\{py:obj\}`[^`<]+ <([\w.]+)>`", text)}
    assert len(led) > len(public.entries())
    assert led - {*targets} == set()


def test_each_docstring_begins_with_a_sentence():
    said = {e.full: public.docstring(e) for e in public.entries()}
    for entry in public.entries():
        said |= {f"{entry.full}.{name}": inspect.getdoc(value) for name, value in public.members(entry).items()}
    assert len(said) > 400
    lacking = {
        name: docstrings.first(text)
        for name, text in said.items()
        if not re.search(r"\w.*[.?:]$", docstrings.first(text))
    }
    assert lacking == {}


def test_nothing_of_the_reference_is_run_when_it_is_built(pages):
    fences = {fence for text in pages.values() for fence in re.findall(r"^\s*```(\S+)", text, re.M)}
    assert fences == {"pycon"}


def test_signatures_are_in_the_words_of_one_who_reads(pages):
    def example(x, hidden=(1,), *, kind: type = dict, do=lambda: 1, run: "pv.Run | None" = None):
        """Annotated as where an import serves type checkers alone."""

    example.__annotations__ |= {"x": "Tensor", "hidden": "Sequence[int]"}
    assert signature(example, "ppl_vae.nn.mlp") == (
        "(x: ~torch.Tensor, hidden: ~collections.abc.Sequence[int] = (1,), *, kind: type = dict, do=..., "
        "run: pv.Run | None = None)"
    )
    assert signature(pv.encode, "ppl_vae.codes.encode").startswith("(vae: ~ppl_vae.VAE, data: ~typing.Any")
    heads = "\n".join(
        line for text in pages.values() for line in text.splitlines() if DIRECTIVE.match(line) and "(" in line
    )
    shown = re.sub(r"~[\w.]*\.", "", heads)
    assert "log_weights: ArrayLike" in shown
    assert "support: Literal['binary'," in shown
    # memory addresses, paths of modules, names that are nobody's business
    assert re.findall(r"<\w+|0x\w+|\b\w+\.\w+\.\w+|[>:|\[,] _[a-zA-Z]\w*(?!:)\b", shown) == []


def test_only_a_name_of_one_thing_is_a_link():
    assert entries.link("see `ELBO`") == "see {py:obj}`ELBO <ppl_vae.objectives.ELBO>`"
    assert entries.link("`pv.Run.load()`") == "{py:obj}`pv.Run.load() <ppl_vae.Run.load>`"
    assert entries.link("[`evaluate`][ppl_vae.diagnostics.evaluate.evaluate]") == (
        "{py:obj}`evaluate <ppl_vae.evaluate>`"
    )
    assert entries.link("`ppl_vae.training.fit`") == "{py:obj}`ppl_vae.training.fit <ppl_vae.fit>`"
    for several in ("`VAE`", "`Code`"):  # of the package and of rooms
        assert entries.link(several) == several
    assert entries.link("``fit``, `fit=1`, `latent_dim`") == "``fit``, `fit=1`, `latent_dim`"
    assert entries.link("`fit`", own=["fit"]) == "`fit`"
    assert entries.link("`step`") == "`step`"  # a column, say; in its own room it is the schedule
    assert entries.link("`step`", "ppl_vae.training.schedulers").endswith("<ppl_vae.training.schedulers.step>`")


def test_sections_become_fields_and_titles():
    text = """One sentence.

    Args:
        x: data, of
            any shape.

    Raises:
        DataError: if `fit` cannot.

    References:
        A (2020), https://example.org/a.

    >>> 1 + 1
    2
    """
    assert docstrings.markdown(inspect.cleandoc(text), str.upper) == (
        "ONE SENTENCE.\n\n:param x: DATA, OF ANY SHAPE.\n\n:raises DataError: IF `FIT` CANNOT.\n\n"
        "**References**\n\n- A (2020), <https://example.org/a>.\n\n```pycon\n>>> 1 + 1\n2\n```"
    )


def test_each_entry_leads_to_lines_of_its_source(monkeypatch):
    pytest.importorskip("sphinx", reason="comes with the documentation's own packages")
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    import sources

    lacking, found = [], {}
    for entry in public.entries():
        for name in (entry.name, *(f"{entry.name}.{member}" for member in public.members(entry))):
            code, tags = sources.tagged(sources.follow(None, entry.room, name))
            if name in tags:
                _, start, end = tags[name]
                found[f"{entry.room}.{name}"] = "\n".join(code.splitlines()[start - 1 : end])
            else:
                lacking.append(f"{entry.room}.{name}")
    assert lacking == []
    assert "\ndef fit(\n" in found["ppl_vae.fit"]
    assert found["ppl_vae.__version__"].startswith("__version__ =")
    assert "def table(self) -> " in found["ppl_vae.Evaluation.table"]
