"""Write docs/licences.md: the licence of every package in constraints.txt, as its installed metadata says.

`licences.py [REPORT ...]`: what is not installed here (packages of newer Pythons) is taken from reports of
`pip install --report`, or stays as the page has it.
"""

import json
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

ppl_vae is under the Apache Licence 2.0. None of what follows is part of it: these are the packages that
`constraints.txt` pins, direct and transitive, those for tests and documentation among them, with the licence that the
metadata of each says. `make licences` writes this page; a test holds that no package is missing.

| package | licence |
| --- | --- |
"""
SHORT = 60  # characters of a licence's name: some packages have the whole text in its place


def normal(name: str) -> str:
    """A package's name as package sources compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> list[str]:
    """The packages of constraints.txt, each once, in order."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return sorted({normal(line.split("==")[0]) for line in lines if "==" in line and not line.startswith("#")})


def told(expression: str | None, words: str | None, classifiers: list[str]) -> str:
    """The licence: an expression, else a few words, else what classifiers say."""
    of_classifiers = [c.split(" :: ")[-1] for c in classifiers if c.startswith("License :: ")]
    first = (words or "").strip()
    vague = "\n" in first or len(first) > SHORT or first.upper() in ("", "UNKNOWN") or first.startswith("Copyright")
    return (expression or ("" if vague else first) or ", ".join(of_classifiers)).replace("|", "/")


def known() -> dict[str, str]:
    """The licences that the page has."""
    rows = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    return dict(re.findall(r"^\| (\S+) \| (.+) \|$", "\n".join(rows), re.MULTILINE))


def main(*reports: str) -> None:
    """Write the page.

    Raises:
        SystemExit: naming packages whose licence is not known.
    """
    found = known()
    for report in reports:
        for item in json.loads(Path(report).read_text(encoding="utf-8"))["install"]:
            of = item["metadata"]
            words = told(of.get("license_expression"), of.get("license"), of.get("classifier", []))
            found[normal(of["name"])] = words
    for distribution in metadata.distributions():
        of = distribution.metadata
        if name := of.get("Name"):
            words = told(of.get("License-Expression"), of.get("License"), of.get_all("Classifier") or [])
            found[normal(name)] = words or found.get(normal(name), "")
    missing = [name for name in pinned() if not found.get(name)]
    PAGE.write_text(HEAD + "".join(f"| {n} | {found[n]} |\n" for n in pinned() if found.get(n)), encoding="utf-8")
    if missing:
        sys.exit(
            f"No licence is known of {', '.join(missing)}: install it, or give pip's report of it, or write its row"
        )
    print(f"{PAGE.relative_to(ROOT)}: {len(pinned())} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
