"""Figures with their baselines, as a table to read and as JSON that model cards are made from."""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        figure: what was measured.
        result: the number; NaN when nothing could be measured.
        baseline: what the trivial prediction reaches.
        unit: of both: "%", "mm", "°", or "" for plain numbers.
        samples: how many samples it was measured on.
        others: what else there is to compare with, by name: another method, a published figure.
    """

    figure: str
    result: float
    baseline: float
    unit: str
    samples: int
    others: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """Figures of one evaluation.

    Attributes:
        title: what was evaluated, on what.
        command: the command line that gives these figures again.
        baseline: what the baseline predicts, in words.
        figures: the figures.
        details: more numbers, by name, that are in the JSON only.
    """

    title: str
    command: str
    baseline: str
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(
        self,
        figure: str,
        result: float,
        baseline: float,
        unit: str,
        samples: int,
        others: dict[str, float] | None = None,
    ) -> None:
        """Append a figure."""
        others = {name: float(value) for name, value in (others or {}).items()}
        self.figures.append(Figure(figure, float(result), float(baseline), unit, samples, others))

    def beside(self, name: str, other: "Report") -> None:
        """Put the results of a report with the same figures into a column of that name."""
        self.figures = [
            replace(figure, others={**figure.others, name: same.result})
            for figure, same in zip(self.figures, other.figures, strict=True)
        ]

    def __getitem__(self, name: str) -> Figure:
        """The figure of that name."""
        for figure in self.figures:
            if figure.figure == name:
                return figure
        raise KeyError(name)

    def __str__(self) -> str:
        others = list(dict.fromkeys(name for figure in self.figures for name in figure.others))
        rows = [("", "result", "baseline", *others, "samples")]
        for figure in self.figures:
            numbers = (figure.result, figure.baseline, *(figure.others.get(name, math.nan) for name in others))
            rows.append((figure.figure, *(_text(number, figure.unit) for number in numbers), str(figure.samples)))
        return "\n".join((self.title, *align(rows), f"baseline: {self.baseline}"))

    def save(self, path: str | Path) -> None:
        """Write all as JSON, in the layout that `hub.publish` makes tables from; NaN becomes null."""
        content = {
            "title": self.title,
            "command": self.command,
            "note": f"Baseline: {self.baseline}.",
            "rows": [_row(figure) for figure in self.figures],
            "details": self.details,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Table:
    """A table of a paper: its title, the figures of ours that its columns are, and its rows."""

    title: str
    columns: dict[str, str]
    rows: dict[str, tuple[float, ...]]

    def text(self, ours: dict[str, dict[str, float]]) -> str:
        """The table with rows of ours, by name: figure -> value."""
        rows = [("", *self.columns)]
        rows += [(name, *(f"{value:.4g}" for value in values)) for name, values in self.rows.items()]
        for name, figures in ours.items():
            values = (figures.get(figure, math.nan) for figure in self.columns.values())
            rows.append((f"lirec, {name}", *("-" if math.isnan(value) else f"{value:.4g}" for value in values)))
        return "\n".join((self.title, *align(rows)))


def align(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{name:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in rows
    ]


def _row(figure: Figure) -> dict[str, str | float]:
    values = asdict(figure)
    others, unit, samples = (values.pop(name) for name in ("others", "unit", "samples"))
    return {**values, **others, "unit": unit, "samples": samples}


def _text(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "-"
    number = f"{value:.0f}" if value == int(value) else f"{value:.3g}"
    return f"{number}°" if unit == "°" else f"{number} {unit}".strip()


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
