"""Tables as CSV: numbers are numbers, and no text is one that a spreadsheet would take for a formula."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_vae import files
from ppl_vae.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_GUARDED = re.compile(r"''*[=+\-@\t\r\n＝＋－＠]")


def guard(cell: Any) -> Any:
    """A text that no spreadsheet takes for a formula: one with `=`, `+`, `-`, `@`, … in front has an apostrophe there.

    Numbers are as they are, those in texts too; `unguard` gives each text as it was.

    What is guarded against is OWASP's CSV injection, https://owasp.org/www-community/attacks/CSV_Injection.

    Example:
        >>> guard("=1+1"), guard("-1.5"), guard(-1.5), guard("@x"), guard("'=1")
        ("'=1+1", '-1.5', -1.5, "'@x", "''=1")
    """
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def unguard(cell: Any) -> Any:
    """The text that `guard` was given.

    Example:
        >>> unguard("'=1+1"), unguard("it's"), unguard("''=1"), unguard(2.5)
        ('=1+1', "it's", "'=1", 2.5)
    """
    return cell[1:] if isinstance(cell, str) and _GUARDED.match(cell) else cell


def to_csv(frame: pd.DataFrame, *, index: bool = True) -> str:
    """A table as CSV, its texts guarded: those of columns, of their names, and of the index.

    Example:
        >>> import pandas as pd
        >>> print(to_csv(pd.DataFrame({"@a": ["=x", "y"], "b": [-1.5, 2.0]}), index=False), end="")
        '@a,b
        '=x,-1.5
        y,2.0
    """
    import csv

    plain = _mapped(frame, guard)
    text = plain.to_csv(index=index)
    # a carriage return alone would end a row: such texts are quoted, and so are then all others
    return plain.to_csv(index=index, quoting=csv.QUOTE_NONNUMERIC) if "\r" in text else text


def rows_to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV, columns in the order of their first appearance, an empty cell where a row has none."""
    import csv

    known = list(rows)
    columns = list(dict.fromkeys(k for row in known for k in row))
    odd = any(isinstance(c, str) and "\r" in c for row in known for c in (*row, *row.values()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL)
    writer.writerow([guard(c) for c in columns])
    writer.writerows([[guard(row.get(c, "")) for c in columns] for row in known])
    return text.getvalue()


def read_csv(path: Path, what: str = "a table that ppl-vae wrote") -> pd.DataFrame:
    """Read what `to_csv` wrote, its first column as the index.

    Raises:
        RunError: it cannot be read.
    """
    import pandas as pd

    try:
        text = files.read(path).decode("utf-8-sig")
        return _mapped(pd.read_csv(io.StringIO(text), index_col=0, on_bad_lines="error"), unguard)
    except RunError:
        raise
    except Exception as error:  # of whatever kind, see `datasets.files.reading`
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path} cannot be read ({reason}); expected {what}") from None


def _mapped(frame: pd.DataFrame, change: Any) -> pd.DataFrame:
    """The same table, its texts changed; columns of numbers stay what they are, to the digit."""
    import pandas as pd

    made = frame.copy()
    for place, kind in enumerate(made.dtypes):
        if str(kind) in ("object", "str", "string", "category"):
            cells = [change(cell) for cell in made.iloc[:, place]]
            made.isetitem(place, pd.Series(cells, made.index, dtype=object))
    made.columns = made.columns.map(change)
    made.columns.name = frame.columns.name
    names = [change(n) for n in made.index.names]
    if made.index.nlevels == 1:
        made.index = made.index if made.index.dtype.kind in "biuf" else made.index.map(change)
    else:
        made.index = made.index.map(lambda key: tuple(map(change, key)))
    made.index.names = names
    return made
