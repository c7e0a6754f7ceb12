"""ragents delete: take documents out of the store."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragents.cli.output import (
    CollectionOption,
    ConfigOption,
    JsonOption,
    TenantOption,
    console,
    operator,
    print_json,
    run,
    settings,
)
from ragents.errors import NotFound
from ragents.principal import Principal

if TYPE_CHECKING:
    from ragents.rag.store.types import VectorStore

PAGE = 500


def delete(
    document: Annotated[
        str, typer.Argument(help="The document's id, or its uri as `ragents ingest` and answers show it.")
    ],
    collection: CollectionOption = None,
    tenant: TenantOption = "default",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a document with everything that was made from it."""
    from ragents.deployment.app import open_app
    from ragents.deployment.keys.types import AuditEntry
    from ragents.deployment.observability.logs import configure_logging
    from ragents.rag.cache import OF_DOCUMENTS

    async def remove() -> None:
        loaded = settings(config)
        configure_logging(loaded.observability)
        async with open_app(loaded) as app:
            principal = operator(tenant)
            name = collection or loaded.rag.collection
            found = await _find(app.store, document, principal=principal, collection=name)
            await app.audit.record(AuditEntry(tenant, principal.user, "document.delete", found))
            removed = await app.store.delete(found, principal=principal)
            for layer in OF_DOCUMENTS if app.cache.shared else ():
                await app.cache.clear(layer, tenant=principal.tenant)
        if as_json:
            print_json(
                {"id": removed.id, "uri": removed.uri, "collection": removed.collection, "chunks": removed.chunks}
            )
        else:
            console.print(f"deleted {removed.uri} ({removed.chunks} chunks) from {removed.collection}", highlight=False)

    run(remove())


async def _find(store: "VectorStore", document: str, *, principal: Principal, collection: str) -> str:
    """The id of a document given by id or by uri."""
    try:
        return (await store.document(document, principal=principal)).id
    except NotFound:
        pass
    after = None
    while page := await store.documents(principal=principal, collection=collection, limit=PAGE, after=after):
        for stored in page:
            if stored.uri == document:
                return stored.id
        after = page[-1].id
    raise NotFound("document", document, remedy=f"looked for an id, then for a uri in collection {collection!r}")
