-- Tenants, collections, documents, chunks, and the narrow table that is searched.
--
-- Every table carries the tenant in its keys, so that a row cannot point to another tenant's, and is under row-level
-- security with FORCE: an ordinary role sees the rows of the tenant named by the setting ragents.tenant, and none
-- without it. The role ragents_search may read all rows; it cannot log in and only owns the search functions.
--
-- @vector_schema@ is replaced by the schema that the extension vector lives in.

CREATE TABLE ragents.tenants (
    name       text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ragents.collections (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    tenant          text NOT NULL REFERENCES ragents.tenants (name),
    name            text NOT NULL,
    embedding_model text NOT NULL,
    dimension       integer NOT NULL CHECK (dimension BETWEEN 1 AND 16000),
    epoch           bigint NOT NULL DEFAULT 0,  -- moved on by every change, in the change's transaction
    documents       bigint NOT NULL DEFAULT 0,
    chunks          bigint NOT NULL DEFAULT 0,
    words           bigint NOT NULL DEFAULT 0,  -- sum of chunk_index.words: the average length for BM25
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);

CREATE TABLE ragents.documents (
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant        text NOT NULL,
    collection_id bigint NOT NULL,
    uri           text NOT NULL,
    title         text NOT NULL,
    format        text NOT NULL,
    content_hash  text NOT NULL,
    version       integer NOT NULL DEFAULT 1,
    chunks        integer NOT NULL DEFAULT 0,
    size_bytes    bigint NOT NULL DEFAULT 0,
    metadata      jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, collection_id, uri),
    FOREIGN KEY (tenant, collection_id) REFERENCES ragents.collections (tenant, id)
);
CREATE INDEX documents_metadata ON ragents.documents USING gin (metadata jsonb_path_ops);

CREATE TABLE ragents.chunks (
    id           uuid NOT NULL,
    tenant       text NOT NULL,
    document_id  uuid NOT NULL,
    position     integer NOT NULL,
    body         text NOT NULL,
    page         integer,
    headings     text[] NOT NULL DEFAULT '{}',
    start_offset integer NOT NULL,
    end_offset   integer NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, document_id, position),
    FOREIGN KEY (tenant, document_id) REFERENCES ragents.documents (tenant, id) ON DELETE CASCADE
);

-- What a search reads, apart from the text: a row with its text would be moved out of line (TOAST) and read twice.
CREATE TABLE ragents.chunk_index (
    chunk_id      uuid NOT NULL,
    tenant        text NOT NULL,
    collection_id bigint NOT NULL,
    document_id   uuid NOT NULL,
    words         integer NOT NULL,  -- positions in lexemes: the length that BM25 normalises by
    embedding     @vector_schema@.vector NOT NULL,
    lexemes       tsvector NOT NULL,
    PRIMARY KEY (tenant, chunk_id),
    FOREIGN KEY (tenant, chunk_id) REFERENCES ragents.chunks (tenant, id) ON DELETE CASCADE
);
-- In the row as long as it fits: an exact search reads every vector. Beyond about 2,000 dimensions it does not.
ALTER TABLE ragents.chunk_index ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX chunk_index_collection ON ragents.chunk_index (tenant, collection_id, document_id);
CREATE INDEX chunk_index_lexemes ON ragents.chunk_index USING gin (lexemes) WITH (fastupdate = off);

ALTER TABLE ragents.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.tenants FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.collections ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.collections FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.documents FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunks FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunk_index ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunk_index FORCE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON ragents.tenants USING (name = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.collections USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.documents USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.chunks USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.chunk_index USING (tenant = current_setting('ragents.tenant', true));

-- Index operators such as @@ and <=> are not leakproof: under the policies above they would be used only after the
-- tenant's rows had been read one by one. The search functions run as a role whose policy is "all rows", and each
-- states the tenant itself.
CREATE POLICY search_reads_all ON ragents.collections FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_reads_all ON ragents.documents FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_reads_all ON ragents.chunks FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_reads_all ON ragents.chunk_index FOR SELECT TO ragents_search USING (true);
GRANT SELECT ON ragents.collections, ragents.documents, ragents.chunks, ragents.chunk_index TO ragents_search;
