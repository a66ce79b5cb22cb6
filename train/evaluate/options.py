"""The command line of evaluations that draw their own faces: options, checks, and what becomes of the report."""

import argparse
from pathlib import Path

from lirec.errors import LirecError
from train.evaluate.report import Report


def parser(
    description: str, count: int | None = 512, batch: int = 32, each: str = "faces to render, each another person"
) -> argparse.ArgumentParser:
    """
    A parser with the options that these evaluations share.

    Args:
        description: the first line of `--help`.
        count, batch: defaults of `--count` and `--batch`; with None `--count` may be left out.
        each: what is counted.
    """
    result = argparse.ArgumentParser(description=description)
    add = result.add_argument
    add("--weights", default="hub/rec-aug-net", help="folder or Hub id of the pipeline")
    add("--count", type=int, default=count, help=f"how many {each}")
    add("--batch", type=int, default=batch)
    add("--device", default="cpu")
    add("--json", type=Path, help="also write the figures to this file")
    return result


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None, least: int = 2) -> argparse.Namespace:
    """
    Parse a command line.

    Raises:
        LirecError: `--count` is below `least`, or `--batch` below 1.
    """
    options = parser.parse_args(arguments)
    if (options.count is not None and options.count < least) or options.batch < 1:
        raise LirecError(f"--count must be {least} or more, and --batch 1 or more.")
    return options


def hand_out(report: Report, options: argparse.Namespace, command: str) -> Report:
    """Print a report, with the command that gives it again, and write it where it was asked for."""
    report.command = command
    print(report)
    if options.json:
        report.save(options.json)
    return report
