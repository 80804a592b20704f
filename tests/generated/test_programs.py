"""Every random program is right, or refused with the reason: 60 fast, 140 slow, any number by `make numbers N=…`.

The false-alarm rate is that of `generated.compare`: a few per cent for 10,000 programs, below 0.1 % for 200. Seeds are
fixed.
"""

import pytest

from generated.compare import judge
from generated.generate import generate
from generated.search import standalone
from generated.shrink import shrink

AT_ONCE = 20


def wrong_among(seeds):
    """Where a program is wrong: the first one, shrunk, as source."""
    kinds = {}
    for seed in seeds:
        program = generate(seed)
        verdict = judge(program)
        kinds[seed] = verdict.kind
        if verdict.kind == "wrong":
            title = f"program {seed}, shrunk from\n{verdict}\n"
            return kinds, standalone(*shrink(program, verdict), title)
    return kinds, ""


@pytest.mark.parametrize(
    "start", [pytest.param(s, marks=[pytest.mark.slow] if s >= 60 else []) for s in range(0, 200, AT_ONCE)]
)
def test_right_or_refused(start):
    kinds, found = wrong_among(range(start, start + AT_ONCE))
    assert not found, found
    right = sum(kind in ("right", "partly") for kind in kinds.values())
    assert right >= AT_ONCE // 3, f"{right} of {AT_ONCE} are right, the others refused: {kinds}"
