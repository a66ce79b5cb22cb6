"""Settings for every test: no test reaches the network."""

import os

# Read when huggingface_hub is first imported: tests that talk to a Hub on loopback start a process of their own.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
