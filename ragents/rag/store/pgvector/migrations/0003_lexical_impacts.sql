-- Two narrow tables instead of chunk_index: vectors, and BM25 as an inner product of sparse vectors.
--
-- Rows of both are named by their place (tenant, collection, document, position), which is also the order of their one
-- B-tree: it serves scans of a collection, of some documents, deletes and the join to the text.
--
-- chunk_terms.terms     what a chunk holds: lexemes, hashed to 1..10^9 with the collection's id as the seed, so that one
--                       GIN index serves all collections and a posting list holds rows of one collection only
-- chunk_terms.impacts   the same terms with what BM25 gives their frequency in a chunk of this length (k1 = 1.2, b = 0.75):
--                       f * 2.2 / (f + 1.2 * (0.25 + 0.75 * words / collections.average_words)); the score of a chunk is
--                       the inner product with the idf of a question's terms
-- term_counts           chunks per term, kept by statement triggers in the writer's own transaction
-- term_deltas           what small inserts add to term_counts: one row each instead of hundreds of counters changed (0.1
--                       ms a chunk instead of 1.1). The 33rd folds them into the counters; a delete folds first, so that
--                       nothing deleted is left. A term's count is its counter plus the inner products with the deltas.
-- collections.average_words   the average that the impacts were made with. It is fixed until the true one (words / chunks)
--                       is more than a tenth away; then the impacts are made again (ragents.lexed).
-- collections.rescore_after   while impacts are made again in steps: the last document that is done
--
-- @vector_schema@ is replaced by the schema that the extension vector lives in.

ALTER TABLE ragents.collections
    ADD COLUMN language text NOT NULL DEFAULT 'english',
    ADD COLUMN average_words double precision NOT NULL DEFAULT 0,
    ADD COLUMN rescore_after uuid;
ALTER TABLE ragents.documents ADD UNIQUE (tenant, collection_id, id);

CREATE TABLE ragents.chunk_vectors (
    tenant        text NOT NULL,
    collection_id bigint NOT NULL,
    document_id   uuid NOT NULL,
    position      integer NOT NULL,
    embedding     @vector_schema@.vector NOT NULL,
    PRIMARY KEY (tenant, collection_id, document_id, position),
    FOREIGN KEY (tenant, collection_id, document_id) REFERENCES ragents.documents (tenant, collection_id, id) ON DELETE CASCADE
) WITH (toast_tuple_target = 8160);

CREATE TABLE ragents.chunk_terms (
    tenant        text NOT NULL,
    collection_id bigint NOT NULL,
    document_id   uuid NOT NULL,
    position      integer NOT NULL,
    words         integer NOT NULL,
    terms         integer[] NOT NULL,
    impacts       @vector_schema@.sparsevec NOT NULL,
    PRIMARY KEY (tenant, collection_id, document_id, position),
    FOREIGN KEY (tenant, collection_id, document_id) REFERENCES ragents.documents (tenant, collection_id, id) ON DELETE CASCADE
) WITH (toast_tuple_target = 8160);

CREATE TABLE ragents.term_counts (
    tenant        text NOT NULL,
    collection_id bigint NOT NULL,
    term          integer NOT NULL,
    chunks        integer NOT NULL CHECK (chunks > 0),
    PRIMARY KEY (tenant, collection_id, term)
) WITH (fillfactor = 80);

CREATE TABLE ragents.term_deltas (
    tenant        text NOT NULL,
    collection_id bigint NOT NULL,
    id            bigint GENERATED ALWAYS AS IDENTITY,
    counts        @vector_schema@.sparsevec NOT NULL,
    PRIMARY KEY (tenant, collection_id, id)
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- In the row as long as a page holds it, and not compressed: searches read every candidate.
ALTER TABLE ragents.chunk_vectors ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE ragents.chunk_terms ALTER COLUMN terms SET STORAGE MAIN;
ALTER TABLE ragents.chunk_terms ALTER COLUMN impacts SET STORAGE MAIN;
ALTER TABLE ragents.term_deltas ALTER COLUMN counts SET STORAGE MAIN;

ALTER TABLE ragents.chunk_vectors ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunk_vectors FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunk_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunk_terms FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.term_counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.term_counts FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.term_deltas ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.term_deltas FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON ragents.chunk_vectors USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.chunk_terms USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.term_counts USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY own_tenant ON ragents.term_deltas USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY search_reads_all ON ragents.chunk_vectors FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_reads_all ON ragents.chunk_terms FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_reads_all ON ragents.term_counts FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_reads_all ON ragents.term_deltas FOR SELECT TO ragents_search USING (true);
GRANT SELECT ON ragents.chunk_vectors, ragents.chunk_terms, ragents.term_counts, ragents.term_deltas TO ragents_search;

-- A lexeme of a collection as a number. Frozen: stored terms were made with it.
CREATE FUNCTION ragents.term_of(p_lexeme text, p_collection bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((pg_catalog.hashtextextended(p_lexeme COLLATE pg_catalog."C", p_collection) & 9223372036854775807) % 1000000000 + 1)::integer;

-- The rows of chunk_terms for the positions p_from..p_to of one document, made from title, headings and text. A chunk
-- without a lexeme has none. Two lexemes with one hash count as one term.
CREATE FUNCTION ragents.lexed(
    p_tenant text, p_collection bigint, p_language regconfig, p_average double precision,
    p_document uuid, p_from integer, p_to integer
) RETURNS TABLE (document_id uuid, "position" integer, words integer, terms integer[], impacts @vector_schema@.sparsevec)
LANGUAGE sql STABLE
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
    SELECT c.document_id, c.position, l.words, l.terms, ('{' || l.impacts || '}/1000000000')::sparsevec
    FROM ragents.documents d
    JOIN ragents.chunks c ON c.tenant = d.tenant AND c.document_id = d.id
    CROSS JOIN LATERAL (
        SELECT max(t.words)::integer AS words, array_agg(t.term ORDER BY t.term) AS terms,
               string_agg(t.term || ':' || (t.n * 2.2 / (t.n + 1.2 * (0.25 + 0.75 * t.words / p_average)))::real, ',' ORDER BY t.term) AS impacts
        FROM (
            SELECT ragents.term_of(u.lexeme, p_collection) AS term, sum(cardinality(u.positions))::float8 AS n,
                   (sum(sum(cardinality(u.positions))) OVER ())::float8 AS words
            FROM unnest(to_tsvector(p_language, d.title || E'\n' || array_to_string(c.headings, ' > ') || E'\n' || c.body)) u
            GROUP BY 1
        ) t
    ) l
    WHERE d.tenant = p_tenant AND d.collection_id = p_collection AND d.id = p_document
      AND c.position BETWEEN p_from AND p_to AND l.terms IS NOT NULL
$$;

-- The deltas of a collection into its counters. sparsevec has no way to its elements but its text: {term:n,...}/10^9.
CREATE FUNCTION ragents.fold_terms(p_tenant text, p_collection bigint) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
    WITH taken AS (
        DELETE FROM ragents.term_deltas WHERE tenant = p_tenant AND collection_id = p_collection RETURNING counts
    )
    INSERT INTO ragents.term_counts AS t (tenant, collection_id, term, chunks)
    SELECT p_tenant, p_collection, split_part(e.pair, ':', 1)::integer, sum(split_part(e.pair, ':', 2)::integer)
    FROM taken d CROSS JOIN LATERAL string_to_table(split_part(ltrim(d.counts::text, '{'), '}', 1), ',') e(pair)
    GROUP BY 3 ORDER BY 3
    ON CONFLICT (tenant, collection_id, term) DO UPDATE SET chunks = t.chunks + excluded.chunks
$$;

CREATE FUNCTION ragents.count_inserted_terms() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
DECLARE
    c_delta_terms CONSTANT integer := 2000;
    c_deltas CONSTANT integer := 32;
BEGIN
    WITH more AS MATERIALIZED (
        SELECT n.tenant, n.collection_id, u.term, count(*)::integer AS chunks,
               count(*) OVER (PARTITION BY n.tenant, n.collection_id) AS terms
        FROM new_rows n CROSS JOIN LATERAL unnest(n.terms) u(term)
        GROUP BY n.tenant, n.collection_id, u.term
    ), counted AS (
        INSERT INTO ragents.term_counts AS t (tenant, collection_id, term, chunks)
        SELECT m.tenant, m.collection_id, m.term, m.chunks FROM more m WHERE m.terms > c_delta_terms
        ORDER BY m.tenant, m.collection_id, m.term
        ON CONFLICT (tenant, collection_id, term) DO UPDATE SET chunks = t.chunks + excluded.chunks
    )
    INSERT INTO ragents.term_deltas (tenant, collection_id, counts)
    SELECT m.tenant, m.collection_id, ('{' || string_agg(m.term || ':' || m.chunks, ',' ORDER BY m.term) || '}/1000000000')::sparsevec
    FROM more m WHERE m.terms <= c_delta_terms GROUP BY m.tenant, m.collection_id;

    PERFORM ragents.fold_terms(n.tenant, n.collection_id)
    FROM (SELECT DISTINCT tenant, collection_id FROM new_rows) n
    WHERE c_deltas < (SELECT count(*) FROM ragents.term_deltas d WHERE d.tenant = n.tenant AND d.collection_id = n.collection_id);

    UPDATE ragents.collections c SET words = c.words + n.words
    FROM (SELECT tenant, collection_id, sum(words) AS words FROM new_rows GROUP BY tenant, collection_id) n
    WHERE c.tenant = n.tenant AND c.id = n.collection_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION ragents.count_deleted_terms() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM ragents.fold_terms(o.tenant, o.collection_id) FROM (SELECT DISTINCT tenant, collection_id FROM old_rows) o;

    -- A term that no chunk has any more leaves no row.
    WITH gone AS MATERIALIZED (
        SELECT o.tenant, o.collection_id, u.term, count(*) AS chunks
        FROM old_rows o CROSS JOIN LATERAL unnest(o.terms) u(term)
        GROUP BY o.tenant, o.collection_id, u.term
    ), removed AS (
        DELETE FROM ragents.term_counts t USING gone g
        WHERE t.tenant = g.tenant AND t.collection_id = g.collection_id AND t.term = g.term AND t.chunks <= g.chunks
    )
    UPDATE ragents.term_counts t SET chunks = t.chunks - g.chunks FROM gone g
    WHERE t.tenant = g.tenant AND t.collection_id = g.collection_id AND t.term = g.term AND t.chunks > g.chunks;

    UPDATE ragents.collections c SET words = c.words - o.words
    FROM (SELECT tenant, collection_id, sum(words) AS words FROM old_rows GROUP BY tenant, collection_id) o
    WHERE c.tenant = o.tenant AND c.id = o.collection_id;
    RETURN NULL;
END
$$;

-- Metadata as numbers, for one GIN index over all collections: key and value of each entry, hashed with the collection's
-- id. Values that jsonb calls equal (1 and 1.0) have one hash.
CREATE FUNCTION ragents.entry_of(p_key text, p_value jsonb, p_collection bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.hashtextextended(p_key COLLATE pg_catalog."C", p_collection) # pg_catalog.jsonb_hash_extended(p_value, p_collection);

CREATE FUNCTION ragents.entries_of(p_metadata jsonb, p_collection bigint) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT ragents.entry_of(e.key, e.value, p_collection) FROM pg_catalog.jsonb_each(p_metadata) e);

DROP INDEX ragents.documents_metadata;
CREATE INDEX documents_entries ON ragents.documents USING gin (ragents.entries_of(metadata, collection_id)) WITH (fastupdate = off);

-- What is stored already. The tables' own owner may be under row-level security too, so each tenant is named in turn.
DO $$
DECLARE
    v_tenant text;
    v_collection record;
BEGIN
    ALTER TABLE ragents.tenants NO FORCE ROW LEVEL SECURITY;
    FOR v_tenant IN SELECT t.name FROM ragents.tenants t LOOP
        PERFORM set_config('ragents.tenant', v_tenant, true);
        UPDATE ragents.collections c SET average_words = greatest(c.words::float8 / greatest(c.chunks, 1), 1) WHERE c.tenant = v_tenant;
        INSERT INTO ragents.chunk_vectors (tenant, collection_id, document_id, position, embedding)
        SELECT i.tenant, i.collection_id, i.document_id, k.position, i.embedding
        FROM ragents.chunk_index i JOIN ragents.chunks k ON k.tenant = i.tenant AND k.id = i.chunk_id
        WHERE i.tenant = v_tenant ORDER BY i.collection_id, i.document_id, k.position;
        FOR v_collection IN SELECT * FROM ragents.collections c WHERE c.tenant = v_tenant LOOP
            INSERT INTO ragents.chunk_terms (tenant, collection_id, document_id, position, words, terms, impacts)
            SELECT v_tenant, v_collection.id, l.*
            FROM ragents.documents d
            CROSS JOIN LATERAL ragents.lexed(v_tenant, v_collection.id, v_collection.language::regconfig, v_collection.average_words, d.id, 0, 2147483647) l
            WHERE d.tenant = v_tenant AND d.collection_id = v_collection.id;
        END LOOP;
        INSERT INTO ragents.term_counts (tenant, collection_id, term, chunks)
        SELECT t.tenant, t.collection_id, u.term, count(*)
        FROM ragents.chunk_terms t CROSS JOIN LATERAL unnest(t.terms) u(term)
        WHERE t.tenant = v_tenant GROUP BY t.tenant, t.collection_id, u.term;
        UPDATE ragents.collections c SET words = coalesce(
            (SELECT sum(t.words) FROM ragents.chunk_terms t WHERE t.tenant = c.tenant AND t.collection_id = c.id), 0)
        WHERE c.tenant = v_tenant;
    END LOOP;
    PERFORM set_config('ragents.tenant', '', true);
    ALTER TABLE ragents.tenants FORCE ROW LEVEL SECURITY;
END
$$;
DROP TABLE ragents.chunk_index;
DROP FUNCTION ragents.ensure_vector_index(integer);

-- The list of pending entries is short, since every search reads it: 0.15 ms a chunk, where none costs 0.45.
CREATE INDEX chunk_terms_terms ON ragents.chunk_terms USING gin (terms) WITH (fastupdate = on, gin_pending_list_limit = 512);
CREATE TRIGGER count_inserted AFTER INSERT ON ragents.chunk_terms REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION ragents.count_inserted_terms();
CREATE TRIGGER count_deleted AFTER DELETE ON ragents.chunk_terms REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION ragents.count_deleted_terms();
