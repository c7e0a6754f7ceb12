-- What is in a vector store outside this database. Postgres holds the documents, the chunks and their vectors
-- (schema ragents); the other store is an index over them, which may lag, lose rows or hold too many.
--
-- indexed   the index of this store holds every chunk of the collection as of this epoch. An epoch other than
--           ragents.collections.epoch means that it does not: searches are then exact, in Postgres.
-- pending   ids that are in the store, or may be, and that no committed chunk has: written before the chunks are, or
--           left behind by them. `until` is when their writer has given up; then they are removed by whoever writes next.
--
-- `store` names class and arguments of the store; one in memory has its process in the name.

CREATE TABLE ragents_vectors.indexed (
    tenant        text NOT NULL,
    store         text NOT NULL,
    collection_id bigint NOT NULL,
    epoch         bigint NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, store, collection_id),
    FOREIGN KEY (tenant, collection_id) REFERENCES ragents.collections (tenant, id) ON DELETE CASCADE
);

CREATE TABLE ragents_vectors.pending (
    tenant text NOT NULL,
    store  text NOT NULL,
    id     uuid NOT NULL,
    swept  boolean NOT NULL DEFAULT false,  -- someone is removing it: its writer must not make it live any more
    until  timestamptz NOT NULL,
    PRIMARY KEY (tenant, store, id)
);
CREATE INDEX pending_due ON ragents_vectors.pending (tenant, store, until);

ALTER TABLE ragents_vectors.indexed ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents_vectors.indexed FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents_vectors.pending ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents_vectors.pending FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON ragents_vectors.indexed USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents_vectors.pending USING (tenant = current_setting('ragents.tenant', true));
