"""Whether all that pip would install is pinned: `pinned.py REPORT` reads what `pip install --report` wrote."""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = {"ppl-vae"}
APART = {"ray"}  # extras that want other versions than the pins
WITH_TORCH = ("nvidia-", "cuda-", "triton")  # torch's build for an accelerator pins these itself


def normal(name: str) -> str:
    """A package's name as package sources compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(argument: str) -> None:
    """Print the project's extras that the pins are for, or compare a report with constraints.txt."""
    if argument == "--extras":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        print(",".join(extra for extra in project["optional-dependencies"] if extra not in APART))
        return
    report = json.loads(Path(argument).read_text(encoding="utf-8"))
    found = {normal(item["metadata"]["name"]): item["metadata"]["version"] for item in report["install"]}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(line.split("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    loose = [f"{n}=={v}" for n, v in found.items() if n not in pinned | OURS and not n.startswith(WITH_TORCH)]
    python = report["environment"]["python_full_version"]
    if loose:
        sys.exit(f"On Python {python} these would float; add them to constraints.txt: {', '.join(sorted(loose))}")
    print(f"Python {python}: the pins resolve, {len(found)} packages.")


if __name__ == "__main__":
    main(sys.argv[1])
