"""Carries out a Dockerfile without Docker: each stage is an overlay over this machine's own root, in a chroot.

This machine's root stands in for the base image, with the Python that runs the tests in /usr/local. So what is shown
holds for Debian with that Python, and that a base image lacks something that this machine has is not shown. Needs root,
and a `work` directory on another file system than the root (/dev/shm). An instruction not known here is an error.
"""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

MOUNTS = (
    "mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev"
    f" && mount --bind {sys.base_prefix} {{root}}/usr/local"
)
BASE = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "LD_LIBRARY_PATH": "/usr/local/lib"}
PROJECT = Path(__file__).parents[1]
ALWAYS_HIDDEN = ("/tmp", "/root")
KEPT = ("PIP_CERT", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
"""How this machine reaches its package index; a build's network settings, as it were."""


@dataclass(frozen=True)
class Image:
    layers: tuple[Path, ...] = ()  # the newest first
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()

    @property
    def lower(self) -> str:
        return ":".join([*map(str, self.layers), "/"])


def instructions(text: str) -> list[tuple[str, str]]:
    """(KEYWORD, rest) of each, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(words[0].upper(), words[1]) for words in found]


def build(context: Path, dockerfile: Path, work: Path) -> Image:
    """The image of the last stage; its layers lie under `work`."""
    stages: dict[str, Image] = {}
    image, name = Image(), ""
    for keyword, rest in instructions(dockerfile.read_text()):
        match keyword:
            case "FROM":
                base, _, name = rest.partition(" AS ")
                known = stages.get(base)
                image = known or Image(environment=BASE)
            case "ENV":
                added = dict(pair.split("=", 1) for pair in shlex.split(rest))
                expanded = {key: value.replace("$PATH", image.environment["PATH"]) for key, value in added.items()}
                image = replace(image, environment=image.environment | expanded)
            case "RUN":
                image = _changed(image, work, f"cd {image.directory}; exec /bin/sh -c {shlex.quote(rest)}")
            case "COPY":
                image = _copied(image, rest, context, stages, work)
            case "WORKDIR":
                image = replace(image, directory=rest)
            case "USER":
                image = replace(image, user=rest)
            case "ENTRYPOINT":
                image = replace(image, entrypoint=tuple(json.loads(rest)))
            case "CMD":
                image = replace(image, command=tuple(json.loads(rest)))
            case "HEALTHCHECK":
                image = replace(image, healthcheck=tuple(json.loads(rest.partition("CMD ")[2])))
            case "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise ValueError(f"{keyword} is not known here")
        stages[name] = image
    return image


def _copied(image: Image, rest: str, context: Path, stages: dict[str, Image], work: Path) -> Image:
    words = rest.split()
    if words[0].startswith("--from="):
        stage, (source, target) = stages[words[0].removeprefix("--from=")], words[1:]
        seen = work / "source"
        seen.mkdir(exist_ok=True)
        prepare = f"mount -t overlay overlay -o ro,lowerdir={stage.lower} {seen}"
        return _changed(image, work, "", before=prepare, copy=(f"{seen}{source}", target))
    source, target = words
    return _changed(image, work, "", copy=(str(context / source), target))


def _changed(
    image: Image, work: Path, command: str, *, before: str = "true", copy: tuple[str, str] | None = None
) -> Image:
    layer = work / f"layer-{len(list(work.glob('layer-*')))}"
    scratch, root = work / "scratch" / layer.name, work / "root"
    for directory in (layer, scratch, root):
        directory.mkdir(parents=True, exist_ok=True)
    layer.chmod(0o755)
    steps = [
        "set -e",
        before,
        f"mount -t overlay overlay -o lowerdir={image.lower},upperdir={layer},workdir={scratch} {root}",
    ]
    if copy:
        source, target = copy
        steps.append(
            f"mkdir -p {root}{target if Path(source).is_dir() or target.endswith('/') else Path(target).parent}"
        )
        # A directory's content goes into the target, as with COPY.
        steps.append(f"if [ -d {source} ]; then cp -r {source}/. {root}{target}; else cp {source} {root}{target}; fi")
    else:
        steps.append(MOUNTS.format(root=root))
        steps.append(f"exec chroot {root} /bin/sh -c {shlex.quote(command)}")
    settings = {name: os.environ[name] for name in KEPT if name in os.environ}
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", "\n".join(steps)],
        env=image.environment | {"HOME": "/root"} | settings,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(
            f"{command or copy} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        )
    return replace(image, layers=(layer, *image.layers))


def size(layer: Path) -> int:
    """Bytes of its files, each counted once."""
    seen = {
        (found.st_dev, found.st_ino): found.st_size
        for path in layer.rglob("*")
        if not path.is_dir()
        for found in [path.lstat()]
    }
    return sum(seen.values())


def container(image: Image, root: Path, *arguments: str, environment: dict[str, str]) -> list[str]:
    """Command line of a container: read-only root, a tmpfs on /tmp, process 1, no capability, the image's user.

    This project's own directory and root's home are not in it; the network is this machine's.
    """
    root.mkdir(parents=True, exist_ok=True)
    user, _, group = image.user.partition(":")
    variables = [f"{name}={value}" for name, value in (image.environment | environment).items()]
    dropped = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    dropped += ["--bounding-set=-all", "--inh-caps=-all"]
    inside = shlex.join(["env", "-i", *variables, *dropped, *image.entrypoint, *(arguments or image.command)])
    steps = ["set -e", f"mount -t overlay overlay -o ro,lowerdir={image.lower} {root}", MOUNTS.format(root=root)]
    steps += [f"mount -t tmpfs -o size=512m,mode=1777 tmpfs {root}{place}" for place in _hidden()]
    steps.append(f"exec chroot {root} /bin/sh -c {shlex.quote(f'cd {image.directory} && exec {inside}')}")
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", "\n".join(steps)]


def _hidden() -> list[str]:
    """A directory beneath one that is hidden is hidden with it, and no place to mount anything."""
    beneath = any(PROJECT.is_relative_to(place) for place in ALWAYS_HIDDEN)
    return [*ALWAYS_HIDDEN, *([] if beneath else [str(PROJECT)])]
