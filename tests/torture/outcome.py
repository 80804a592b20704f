"""What an attack came to: how much was tried, how often each law was broken, and where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 200
"""The most findings that are printed of one attack."""


@dataclass
class Outcome:
    """The outcome of one attack.

    Attributes:
        name: of the attack.
        unit: what is counted.
        tried: how many.
        told: those that were refused, or recovered from, in words.
        right: those that ended as if nothing had happened.
        broken: for each law how often it was broken.
        findings: a line for each breach, with what is needed to repeat it.
        asked: how many the long form has at least.
        when: the day, and the minutes that it took.
    """

    name: str
    unit: str
    tried: int = 0
    told: int = 0
    right: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    asked: int = 0
    when: str = ""

    @property
    def sound(self) -> bool:
        """True where no law was broken."""
        return not any(self.broken.values())

    def breach(self, law: str, finding: str) -> None:
        """Count one breach."""
        self.broken[law] = self.broken.get(law, 0) + 1
        self.findings.append(f"{law}: {finding}")


def of_others(name: str, unit: str, found: Any, asked: int) -> Outcome:
    """The same of a search that gives an object of its own, with lists of what broke the law."""
    broken = {law: len(getattr(found, law, ())) for law in ("undocumented", "hangs")}
    lines = [f"{law}: {line}" for law in broken for line in getattr(found, law, ())]
    return Outcome(name, unit, found.tried, found.refused, found.right, broken, lines, asked)


HEAD = (
    "| attack | tried | told in words | as if nothing had happened | laws broken | when |",
    "| --- | ---: | ---: | ---: | --- | --- |",
)


def row(result: Outcome) -> str:
    """The row of one attack."""
    laws = ", ".join(f"{law} {count}" for law, count in result.broken.items())
    tried = f"{result.tried:,} {result.unit}"
    return f"| {result.name} | {tried} | {result.told:,} | {result.right:,} | {laws} | {result.when} |"


def table(results: Sequence[Outcome]) -> str:
    """A row for each attack."""
    return "\n".join([*HEAD, *map(row, results)])


def findings(results: Iterable[Outcome]) -> list[str]:
    """Breaches of all attacks, the first of each."""
    lines = []
    for result in results:
        lines += [f"{result.name}: {line}" for line in result.findings[:SHOWN]]
        if len(result.findings) > SHOWN:
            lines.append(f"{result.name}: and {len(result.findings) - SHOWN} more")
    return lines
