"""Doing together what comes at the same time."""
