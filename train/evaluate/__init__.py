"""Measurements, each a command that prints its figures beside a trivial baseline and writes them as JSON."""
