"""Search by hand: `python -m tests.doors NUMBER SEED`."""

import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from tests.doors.cases import draw, simpler
from tests.doors.law import broken


def shrink(case, folder, doors):
    """The plainest case that still breaks the law."""
    for plainer in simpler(case):
        if broken(plainer, folder, doors) is not None:
            return shrink(plainer, folder, doors)
    return case


if __name__ == "__main__":
    number, seed = (int(argument) for argument in sys.argv[1:3])
    doors = tuple(sys.argv[3].split(",")) if len(sys.argv) > 3 else ("check", "terms", "fit", "evaluate", "generate")
    rng = random.Random(seed)
    warnings.simplefilter("ignore")
    seen: Counter = Counter()
    with tempfile.TemporaryDirectory() as name:
        for i in range(number):
            case = draw(rng)
            if broken(case, Path(name), doors) is not None:
                least = shrink(case, Path(name), doors)
                seen[least] += 1
                if seen[least] == 1:
                    print(i, least, "\n   ", str(broken(least, Path(name), doors))[:1500], flush=True)
    print(f"{number} cases, {sum(seen.values())} break the law, of {len(seen)} kinds")
