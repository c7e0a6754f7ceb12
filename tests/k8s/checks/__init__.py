"""What a schema cannot see. A check takes all documents of one apply and yields what is wrong."""

from collections.abc import Callable, Iterable

from tests.k8s.checks import network, pods, service, structure
from tests.k8s.manifests import Document

CHECKS: dict[str, Callable[[list[Document]], Iterable[str]]] = {
    each.__name__: each
    for each in (
        structure.unique,
        structure.namespaces,
        structure.selectors,
        structure.ports,
        structure.resources,
        structure.scaling,
        structure.references,
        network.network,
        pods.rights,
        pods.placing,
        pods.names,
        pods.images,
        pods.probes,
        pods.ending,
        service.settings,
        service.published,
        service.capacity,
    )
}


def problems(documents: list[Document]) -> list[str]:
    return [f"{name}: {problem}" for name, check in CHECKS.items() for problem in check(documents)]
