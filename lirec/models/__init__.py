"""The networks and the morphable model: one family a file."""
