"""Times and spans of a video, in words."""

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """So exact as somebody who waits wants to know it."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def moments(times: Sequence[float]) -> str:
    """The first few of some times in seconds, and how many more there are."""
    return spans([(time, time) for time in times])


def spans(pairs: Sequence[tuple[float, float]], most: int = 4) -> str:
    """The first few of some (begin, end) in seconds, and how many more there are."""
    named = [f"{begin:.1f} s" if end - begin < 0.1 else f"{begin:.1f} to {end:.1f} s" for begin, end in pairs]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")
