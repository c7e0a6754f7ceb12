"""Where the tools of deployment are; a tool that is missing fails the test, with the package that has it."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = (Path(sys.executable).parent, ROOT / ".venv-deploy" / "bin", Path("/usr/sbin"))


def tool(name: str, package: str) -> str:
    for place in PLACES:
        if (place / name).is_file():
            return str(place / name)
    if found := shutil.which(name):
        return found
    raise AssertionError(f"{name} is not installed: {package}")
