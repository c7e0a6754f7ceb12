"""The command line: `ragents COMMAND --help` tells each command's options."""

from ragents.cli.main import main

__all__ = ["main"]
