"""Times and spans of a video, in words."""

from collections.abc import Sequence


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def moments(times: Sequence[float]) -> str:
    return spans([(time, time) for time in times])


def spans(pairs: Sequence[tuple[float, float]], most: int = 4) -> str:
    """The first (begin, end) seconds, and how many more there are."""
    named = [f"{begin:.1f} s" if end - begin < 0.1 else f"{begin:.1f} to {end:.1f} s" for begin, end in pairs]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more times" if len(named) > most else "")
