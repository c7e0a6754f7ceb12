"""Tests of optional extras. No model hub is asked: set before the hub's library is imported, which reads it once."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
