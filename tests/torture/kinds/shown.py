"""Markup, formulas and a terminal's escapes in whatever is shown."""

import json
from collections.abc import Iterator

from tests.torture.kinds.case import ESCAPE, FORMULA, MARKUP, SCRIPT, Case, Kind, put


def pages() -> Iterator[Kind]:
    """Markup, formulas and a terminal's escapes in whatever is shown."""

    def change(case: Case, text: str, key: str) -> None:
        if key == "name":
            case.config(lambda c: put(c, "name", text))
        elif key == "source":
            case.config(lambda c: put(c, "provenance.source", text))
        elif key == "field":
            case.config(lambda c: put(c, "spec.fields.0.name", text))
        elif key == "a key of the config":
            case.config(lambda c: c["provenance"].update({text: text}))
        elif key == "error":
            case.record(status="failed", error=text)
            (case.run / "error.txt").write_text(text)
        elif key == "status":
            case.record(status=text)
        elif key == "record":
            case.record(
                versions={text: text}, git={"commit": text}, started=text, finished=text, seconds=text, seed=text
            )
        elif key == "result":
            case.json("run.json", lambda record: record["result"].update({text: text, "best_epoch": text}))
        elif key == "metrics":
            rows = [json.loads(line) for line in (case.run / "metrics.jsonl").read_text().splitlines()]
            rows = [row | {f"{text}": 1.0, f"validation/{text}": 2.0} for row in rows]
            (case.run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif key == "summary":
            case.json("evaluation/test/summary.json", lambda found: found.update({text: text, "elbo": text}))
        elif key == "table":
            path = case.run / "evaluation" / "test" / "table.csv"
            lines = path.read_text().splitlines()
            path.write_text(
                "\n".join([f'{lines[0]},"{text.replace(chr(34), chr(39))}"', *(f"{line},1" for line in lines[1:])])
            )
        elif key == "posterior.csv":
            path = case.run / "posterior.csv"
            path.write_text(path.read_text().replace("z[", text.replace(",", "").replace('"', "'") + "["))
        elif key == "figure":
            (case.run / "figures").mkdir(exist_ok=True)
            (case.run / "figures" / "gaps.png").write_bytes(f'"{text}'.encode())
        elif key == "further":
            for name in ("probe", "checks", text.replace("/", "_")[:60].replace("\0", "")):
                (case.run / "evaluation" / "test" / f"{name}.json").write_text(json.dumps({text: text}))
        elif key == "folder":
            renamed = case.run.with_name(text.replace("/", "_"))
            case.run.rename(renamed)
            (case.folder / "renamed").write_text(renamed.name)
        else:
            raise KeyError(key)

    keys = ("name", "source", "field", "a key of the config", "error", "status", "record", "result", "metrics", "summary",
            "table", "posterior.csv", "figure", "further", "folder")  # fmt: skip
    for what, text in (("markup", MARKUP), ("a script", f'"{SCRIPT}'), ("a formula", FORMULA), ("escapes", ESCAPE)):
        for key in keys:
            yield Kind(f"page: {what} as {key}", f"{what} as {key}, to be shown as it is",
                       lambda case, text=text, key=key: change(case, text, key))  # fmt: skip

    def svg(case: Case) -> None:
        (case.run / "figures").mkdir(exist_ok=True)
        for name in ("gaps.svg", "calibration.png"):
            (case.run / "figures" / name).write_text(f"<svg onload='alert(4711)'>{SCRIPT}</svg>")

    yield Kind("page: a drawing with a script", "an SVG in place of a PNG", svg)
