"""Write constraints-hashes.txt: the pins with the checksums of the files that pip would take for them.

`hashes.py REPORT [REPORT ...]`: each is what `pip install --report` wrote, of one Python on one platform. What the file
has of other platforms stays, as long as the version is the one that is pinned.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints-hashes.txt"
HEAD = """# The pins of constraints.txt with the sha256 of every file that pip has been seen to take for them, for
#     pip install --require-hashes --no-build-isolation -r constraints-hashes.txt
# into an environment that has setuptools, and then pip install --no-deps --no-build-isolation -e . for this project
# itself, which can have no checksum. `make hashes` writes it, for the Python and the platform that it runs on; what is
# known of others stays. A package that is taken from another source (a build of torch for an accelerator, say) has
# another checksum, and is refused: that of torch here is the build for CPUs, of Python 3.11 on x86-64 Linux.
"""


def normal(name: str) -> str:
    """A package's name as package sources compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[tuple[str, str], str]:
    """The lines of constraints.txt, by name and version."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==([\w.!]+)", line):
            found[normal(match[1]), match[2]] = line.strip()
    return found


def known() -> dict[tuple[str, str], set[str]]:
    """The checksums that the file has."""
    found: dict[tuple[str, str], set[str]] = {}
    text = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    for name, version, rest in re.findall(r"^([\w.-]+)==([\w.!]+)((?:.*\\\n)*.*)$", text, re.MULTILINE):
        found[normal(name), version] = set(re.findall(r"sha256:([0-9a-f]{64})", rest))
    return found


def main(*reports: str) -> None:
    """Write the file, and say which pins have no checksum."""
    found = known()
    for report in reports:
        for item in json.loads(Path(report).read_text(encoding="utf-8"))["install"]:
            hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
            key = normal(item["metadata"]["name"]), item["metadata"]["version"].split("+")[0]
            if "sha256" in hashes:
                found.setdefault(key, set()).add(hashes["sha256"])
    lines, without = [], []
    for key, line in pins().items():
        if hashes := sorted(found.get(key, ())):
            lines.append(" \\\n".join([line, *(f"    --hash=sha256:{h}" for h in hashes)]))
        else:
            without.append("==".join(key))
    FILE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {len(lines)} of {len(lines) + len(without)} pins have checksums")
    if without:
        print(f"none of: {', '.join(without)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
