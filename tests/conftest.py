"""Settings for every test: no test reaches the network."""

import os

# Read when huggingface_hub is first imported; a test with a Hub of its own on loopback starts a process.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
