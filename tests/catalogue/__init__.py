"""Legal programs as users of plain Pyro write them; every test of the whole project may run over `CASES`."""

from tests.catalogue import discrete, forms, globals_, handlers, plates, sequences, topics, vaes
from tests.catalogue.case import CASES, Case

__all__ = ["CASES", "Case", "discrete", "forms", "globals_", "handlers", "plates", "sequences", "topics", "vaes"]
