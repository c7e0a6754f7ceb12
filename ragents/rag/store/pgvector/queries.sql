-- The statements of PgVectorStore, by name. All but `search` run in a transaction that has set ragents.tenant, so that
-- row-level security confines them to the tenant; they name it too, for the indexes.

-- name: set_tenant
-- $1 tenant
SELECT set_config('ragents.tenant', $1, true);

-- name: own_role
-- What the role that is logged in may do beyond its tenant.
SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
       EXISTS (SELECT FROM pg_class k WHERE k.relnamespace = to_regnamespace('ragents') AND k.relkind = 'r'
               AND pg_has_role(current_user, k.relowner, 'MEMBER')) AS owner
FROM pg_roles r WHERE r.rolname = current_user;

-- name: vector_version
SELECT e.extversion AS version, n.nspname AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';

-- name: languages
-- Text search configurations that every schema sees.
SELECT c.cfgname AS name FROM pg_ts_config c WHERE c.cfgnamespace = 'pg_catalog'::regnamespace ORDER BY 1;

-- name: make_tenant
-- $1 tenant
INSERT INTO ragents.tenants (name) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: make_collection
-- $1 tenant, $2 name, $3 embedding model, $4 dimension, $5 language
INSERT INTO ragents.collections (tenant, name, embedding_model, dimension, language) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: lock_collection
-- $1 tenant, $2 name. Writers of one collection go one after the other: its counters and its epoch are theirs.
SELECT id, embedding_model, dimension, language, average_words, chunks, space, next_model, next_dimension FROM ragents.collections
WHERE tenant = $1 AND name = $2 FOR UPDATE;

-- name: find_document
-- $1 tenant, $2 collection id, $3 uri
SELECT id, content_hash, version, chunks FROM ragents.documents WHERE tenant = $1 AND collection_id = $2 AND uri = $3;

-- name: insert_document
-- $1 tenant, $2 collection id, $3 uri, $4 title, $5 format, $6 hash, $7 chunks, $8 size, $9 metadata; its id
INSERT INTO ragents.documents (tenant, collection_id, uri, title, format, content_hash, chunks, size_bytes, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id;

-- name: replace_document
-- $1 tenant, $2 id, $3 title, $4 format, $5 hash, $6 chunks, $7 size, $8 metadata; its new version
UPDATE ragents.documents SET title = $3, format = $4, content_hash = $5, chunks = $6, size_bytes = $7, metadata = $8,
       version = version + 1, updated_at = now()
WHERE tenant = $1 AND id = $2 RETURNING version;

-- name: delete_chunks
-- $1 tenant, $2 collection id, $3 document id. The triggers take the terms out of the counts.
WITH vectors AS (
    DELETE FROM ragents.chunk_vectors WHERE tenant = $1 AND collection_id = $2 AND document_id = $3
), terms AS (
    DELETE FROM ragents.chunk_terms WHERE tenant = $1 AND collection_id = $2 AND document_id = $3
)
DELETE FROM ragents.chunks WHERE tenant = $1 AND document_id = $3;

-- name: insert_chunks
-- $1 tenant, $2 document id, arrays: $3 ids, $4 positions, $5 bodies, $6 pages, $7 headings (JSON), $8 starts, $9 ends
INSERT INTO ragents.chunks (tenant, document_id, id, position, body, page, headings, start_offset, end_offset)
SELECT $1, $2, c.id, c.position, c.body, c.page, ARRAY(SELECT jsonb_array_elements_text(c.headings)), c.start_offset, c.end_offset
FROM unnest($3::uuid[], $4::int[], $5::text[], $6::int[], $7::jsonb[], $8::int[], $9::int[])
     AS c(id, position, body, page, headings, start_offset, end_offset);

-- name: insert_vectors
-- $1 tenant, $2 collection id, $3 document id, arrays: $4 positions, $5 embeddings; $6 space
INSERT INTO ragents.chunk_vectors (tenant, collection_id, document_id, position, embedding, space)
SELECT $1, $2, $3, c.position, c.embedding, $6 FROM unnest($4::int[], $5::vector[]) AS c(position, embedding);

-- name: insert_terms
-- $1 tenant, $2 collection id, $3 document id, $4 language, $5 average words, $6 and $7 first and last position. Read
-- back from the chunks just written, so that what is searched is made in one place.
INSERT INTO ragents.chunk_terms (tenant, collection_id, document_id, position, words, terms, impacts)
SELECT $1, $2, l.document_id, l.position, l.words, l.terms, l.impacts
FROM ragents.lexed($1, $2, $4::text::regconfig, $5, $3, $6, $7) l;

-- name: change_collection
-- $1 tenant, $2 collection id, differences: $3 documents, $4 chunks; its state after that
UPDATE ragents.collections SET epoch = epoch + 1, documents = documents + $3, chunks = chunks + $4
WHERE tenant = $1 AND id = $2
RETURNING epoch, chunks, language, average_words, greatest(words::float8 / greatest(chunks, 1), 1) AS true_average;

-- name: fix_average
-- $1 tenant, $2 collection id, $3 average words of the impacts from now on, $4 last document that has them, null = all
UPDATE ragents.collections SET average_words = $3, rescore_after = $4 WHERE tenant = $1 AND id = $2;

-- name: rescore
-- $1 tenant, $2 collection id, $3 language, $4 average words, $5 after document, $6 documents at most; the last of them,
-- null when none is left
WITH next AS MATERIALIZED (
    SELECT d.id FROM ragents.documents d
    WHERE d.tenant = $1 AND d.collection_id = $2 AND d.id > $5 ORDER BY d.id LIMIT $6
), made AS MATERIALIZED (
    SELECT l.* FROM next n
    CROSS JOIN LATERAL ragents.lexed($1, $2, $3::text::regconfig, $4, n.id, 0, 2147483647) l
), changed AS (
    UPDATE ragents.chunk_terms t SET impacts = m.impacts FROM made m
    WHERE t.tenant = $1 AND t.collection_id = $2 AND t.document_id = m.document_id AND t.position = m.position
)
SELECT id FROM next ORDER BY id DESC LIMIT 1;

-- name: search
-- See migrations: ragents.search
SELECT * FROM ragents.search($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: get_document
-- $1 tenant, $2 id
SELECT d.id, d.collection_id, c.name AS collection, d.uri, d.title, d.format, d.version, d.chunks, d.size_bytes,
       d.content_hash, d.metadata, extract(epoch FROM d.updated_at)::float8 AS updated_at
FROM ragents.documents d JOIN ragents.collections c ON c.tenant = d.tenant AND c.id = d.collection_id
WHERE d.tenant = $1 AND d.id = $2;

-- name: read_document
-- $1 tenant, $2 id, $3 start, $4 around chunk id or null, $5 limit. One statement, so that what is read is of one
-- version; one row per chunk, and one with an empty chunk_id when there is none from there on.
SELECT d.id, d.collection_id, c.name AS collection, d.uri, d.title, d.format, d.version, d.chunks, d.size_bytes,
       d.content_hash, d.metadata, extract(epoch FROM d.updated_at)::float8 AS updated_at,
       k.id AS chunk_id, f.start, k.body, k.page, k.headings
FROM ragents.documents d JOIN ragents.collections c ON c.tenant = d.tenant AND c.id = d.collection_id
CROSS JOIN LATERAL (
    SELECT greatest(0, coalesce((SELECT position - $5::int / 2 FROM ragents.chunks
                                 WHERE tenant = $1 AND id = $4::uuid AND document_id = d.id), $3::int)) AS start
) f
LEFT JOIN ragents.chunks k ON k.tenant = d.tenant AND k.document_id = d.id
                          AND k.position >= f.start AND k.position < f.start::bigint + $5
WHERE d.tenant = $1 AND d.id = $2
ORDER BY k.position;

-- name: neighbours
-- $1 tenant, $2 chunk ids, $3 reach
SELECT k.id, k.position AS at, n.position, n.body, n.page, n.headings, n.start_offset, n.end_offset
FROM ragents.chunks k JOIN ragents.chunks n ON n.tenant = k.tenant AND n.document_id = k.document_id
                                           AND n.position BETWEEN k.position - $3::int AND k.position + $3
WHERE k.tenant = $1 AND k.id = ANY ($2::uuid[])
ORDER BY k.id, n.position;

-- name: stored_chunks
-- $1 tenant, $2 collection, $3 uri. One statement, so that what is read is of one version.
SELECT d.title, k.position, k.body, k.page, k.headings, k.start_offset, k.end_offset, v.embedding
FROM ragents.documents d JOIN ragents.collections c ON c.tenant = d.tenant AND c.id = d.collection_id
JOIN ragents.chunks k ON k.tenant = d.tenant AND k.document_id = d.id
JOIN ragents.chunk_vectors v ON v.tenant = d.tenant AND v.document_id = d.id AND v.position = k.position
                           AND v.collection_id = c.id AND v.space = c.space
WHERE d.tenant = $1 AND c.name = $2 AND d.uri = $3
ORDER BY k.position;

-- name: sentence_vectors
-- $1 tenant, $2 chunk ids
SELECT s.chunk_id, s.sentences, s.vectors FROM ragents.chunk_sentences s
WHERE s.tenant = $1 AND s.chunk_id = ANY ($2::uuid[]);

-- name: chunks_without_sentences
-- $1 tenant, $2 collection, $3 and $4 document and position to go on after, $5 limit
SELECT k.id, k.body, k.document_id, k.position
FROM ragents.documents d JOIN ragents.collections c ON c.tenant = d.tenant AND c.id = d.collection_id
JOIN ragents.chunks k ON k.tenant = d.tenant AND k.document_id = d.id
WHERE d.tenant = $1 AND c.name = $2 AND d.id >= $3 AND (k.document_id, k.position) > ($3, $4::int)
  AND NOT EXISTS (SELECT FROM ragents.chunk_sentences s WHERE s.tenant = k.tenant AND s.chunk_id = k.id)
ORDER BY k.document_id, k.position LIMIT $5;

-- name: keep_sentence_vectors
-- $1 tenant, arrays: $2 chunk ids, $3 sentences, $4 vectors. Chunks that are gone by now are passed over: locked before,
-- so that none goes in between.
WITH there AS MATERIALIZED (
    SELECT k.id FROM ragents.chunks k WHERE k.tenant = $1 AND k.id = ANY ($2::uuid[]) ORDER BY k.id FOR KEY SHARE
)
INSERT INTO ragents.chunk_sentences (tenant, chunk_id, sentences, vectors)
SELECT $1, n.chunk_id, n.sentences, n.vectors
FROM unnest($2::uuid[], $3::smallint[], $4::bytea[]) AS n(chunk_id, sentences, vectors) JOIN there t ON t.id = n.chunk_id
ON CONFLICT DO NOTHING;

-- name: move_state
-- $1 tenant, $2 name. As lock_collection, without a lock.
SELECT id, embedding_model, dimension, chunks, space, next_model, next_dimension FROM ragents.collections
WHERE tenant = $1 AND name = $2;

-- name: count_to_move
-- $1 tenant, $2 collection id, $3 space to be filled
SELECT (SELECT chunks FROM ragents.collections WHERE tenant = $1 AND id = $2)
       - (SELECT count(*) FROM ragents.chunk_vectors WHERE tenant = $1 AND collection_id = $2 AND space = $3);

-- name: indexed_as_one
-- $1 collection id, $2 space to be filled. Whether an index would take what is put into that space.
SELECT EXISTS (
    SELECT FROM pg_index x JOIN pg_class k ON k.oid = x.indexrelid
    WHERE x.indrelid = 'ragents.chunk_vectors'::regclass
      AND (k.relname = 'chunk_vectors_hnsw_' || $1::bigint || CASE $2::int WHEN 0 THEN '' ELSE '_1' END
           OR k.relname IN ('chunk_vectors_hnsw_' || $1::bigint, 'chunk_vectors_hnsw_' || $1::bigint || '_new')
              AND position('space' IN pg_get_expr(x.indpred, x.indrelid)) = 0)
);

-- name: begin_move
-- $1 tenant, $2 collection id, $3 model, $4 dimension
UPDATE ragents.collections SET next_model = $3, next_dimension = $4 WHERE tenant = $1 AND id = $2;

-- name: end_move
-- $1 tenant, $2 collection id. The other space is the one that is searched from the commit on.
UPDATE ragents.collections SET space = 1 - space, embedding_model = next_model, dimension = next_dimension,
       next_model = NULL, next_dimension = NULL, epoch = epoch + 1
WHERE tenant = $1 AND id = $2 RETURNING epoch;

-- name: forget_sentences
-- $1 tenant, $2 collection id
DELETE FROM ragents.chunk_sentences s USING ragents.documents d, ragents.chunks k
WHERE d.tenant = $1 AND d.collection_id = $2 AND k.tenant = $1 AND k.document_id = d.id AND s.tenant = $1 AND s.chunk_id = k.id;

-- name: chunks_to_move
-- $1 tenant, $2 collection id, $3 space to be filled, $4 and $5 document and position to go on after, $6 limit
SELECT k.id, d.title, k.document_id, k.position, k.body, k.page, k.headings, k.start_offset, k.end_offset
FROM ragents.documents d JOIN ragents.chunks k ON k.tenant = d.tenant AND k.document_id = d.id
WHERE d.tenant = $1 AND d.collection_id = $2 AND d.id >= $4 AND (k.document_id, k.position) > ($4, $5::int)
  AND NOT EXISTS (SELECT FROM ragents.chunk_vectors v WHERE v.tenant = d.tenant AND v.collection_id = d.collection_id
                  AND v.document_id = k.document_id AND v.position = k.position AND v.space = $3)
ORDER BY k.document_id, k.position LIMIT $6;

-- name: hold_collection
-- $1 tenant, $2 name. As move_state; until the transaction ends nobody writes, and others may hold it too.
SELECT id, embedding_model, dimension, chunks, space, next_model, next_dimension FROM ragents.collections
WHERE tenant = $1 AND name = $2 FOR KEY SHARE;

-- name: insert_moved
-- $1 tenant, $2 collection id, $3 space, arrays: $4 chunk ids, $5 embeddings. Chunks that are gone are passed over.
INSERT INTO ragents.chunk_vectors (tenant, collection_id, document_id, position, embedding, space)
SELECT $1, $2, k.document_id, k.position, n.embedding, $3
FROM unnest($4::uuid[], $5::vector[]) AS n(chunk_id, embedding)
JOIN ragents.chunks k ON k.tenant = $1 AND k.id = n.chunk_id
ON CONFLICT DO NOTHING;

-- name: empty_space
-- $1 tenant, $2 collection id, $3 space, $4 vectors at most: how many those were
WITH gone AS (
    DELETE FROM ragents.chunk_vectors v USING (
        SELECT o.document_id, o.position FROM ragents.chunk_vectors o
        WHERE o.tenant = $1 AND o.collection_id = $2 AND o.space = $3 LIMIT $4
    ) o
    WHERE v.tenant = $1 AND v.collection_id = $2 AND v.space = $3 AND v.document_id = o.document_id AND v.position = o.position
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: list_documents
-- $1 tenant, $2 collection or null, $3 after id or null, $4 limit, $5 uri or null
SELECT d.id, d.collection_id, c.name AS collection, d.uri, d.title, d.format, d.version, d.chunks, d.size_bytes,
       d.content_hash, d.metadata, extract(epoch FROM d.updated_at)::float8 AS updated_at
FROM ragents.documents d JOIN ragents.collections c ON c.tenant = d.tenant AND c.id = d.collection_id
WHERE d.tenant = $1 AND ($2::text IS NULL OR c.name = $2) AND ($3::uuid IS NULL OR d.id > $3)
  AND ($5::text IS NULL OR d.uri = $5)
ORDER BY d.id LIMIT $4;

-- name: delete_document
-- $1 tenant, $2 id
DELETE FROM ragents.documents WHERE tenant = $1 AND id = $2;

-- name: content_hashes
-- $1 tenant, $2 collection
SELECT d.uri, d.content_hash FROM ragents.documents d
JOIN ragents.collections c ON c.tenant = d.tenant AND c.id = d.collection_id
WHERE d.tenant = $1 AND c.name = $2;

-- name: count_chunks
-- $1 tenant, $2 collection or null
SELECT coalesce(sum(chunks), 0)::bigint FROM ragents.collections WHERE tenant = $1 AND ($2::text IS NULL OR name = $2);

-- name: states
-- $1 tenant, $2 name or null. What maintenance looks at.
SELECT id, name, dimension, chunks, language, average_words, rescore_after,
       greatest(words::float8 / greatest(chunks, 1), 1) AS true_average
FROM ragents.collections WHERE tenant = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name;

-- name: collections
-- $1 tenant, $2 name or null
SELECT name, documents, chunks, embedding_model, dimension, epoch FROM ragents.collections
WHERE tenant = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name;

-- name: collection
-- $1 tenant, $2 name. A transaction and its tenant by itself.
SELECT name, documents, chunks, embedding_model, dimension, epoch FROM ragents.collection_at_once($1, $2);

-- name: vector_schema
SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';

-- name: index_states
-- $1 collection id or null, $2 numbers (chunks * dimension) from which an index is wanted, $3 largest dimension, $4 whether
-- the space that a move fills gets its index too. Runs as ragents_search, whose policy shows all tenants. An index is kept
-- until a collection has shrunk by half; `outdated`: one that holds both spaces.
SELECT c.id, c.tenant, c.name, s.space, s.dimension, c.chunks, x.indisvalid AS valid,
       coalesce(position('space' IN pg_get_expr(x.indpred, x.indrelid)) = 0, false) AS outdated,
       CASE WHEN s.dimension IS NULL THEN false
            WHEN s.space <> c.space AND NOT $4 THEN coalesce(x.indisvalid, false)
            ELSE s.dimension <= $3 AND c.chunks * s.dimension >= CASE WHEN x.indisvalid THEN $2::bigint / 2 ELSE $2::bigint END
       END AS wanted
FROM ragents.collections c
CROSS JOIN LATERAL (VALUES (c.space, c.dimension), (1 - c.space, c.next_dimension)) s(space, dimension)
LEFT JOIN pg_index x ON x.indexrelid = to_regclass('ragents.chunk_vectors_hnsw_' || c.id || CASE s.space WHEN 0 THEN '' ELSE '_1' END)
WHERE c.id = $1 OR $1::bigint IS NULL
ORDER BY c.tenant, c.name, s.space;

-- name: database_size
SELECT pg_database_size(current_database());

-- name: table_sizes
SELECT k.relname AS name, nullif(k.reltuples, -1)::bigint AS rows, pg_table_size(k.oid) AS table_bytes, pg_indexes_size(k.oid) AS index_bytes
FROM pg_class k WHERE k.relnamespace = 'ragents'::regnamespace AND k.relkind = 'r' ORDER BY pg_total_relation_size(k.oid) DESC, 1;

-- name: index_sizes
SELECT t.relname AS table, k.relname AS name, pg_relation_size(k.oid) AS bytes, x.indisvalid AS valid
FROM pg_index x JOIN pg_class k ON k.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE k.relnamespace = 'ragents'::regnamespace ORDER BY 3 DESC, 2;

-- name: collection_stats
-- $1 numbers (chunks * dimension) from which an index is wanted, $2 largest dimension. As ragents_search.
SELECT c.id, c.tenant, c.name, c.space, c.documents, c.chunks, c.dimension, c.embedding_model, c.language, c.epoch,
       (c.chunks * coalesce(s.row_bytes, 0))::bigint AS bytes,
       CASE WHEN x.indisvalid THEN 'valid'
            WHEN x.indexrelid IS NOT NULL AND EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid) THEN 'building'
            WHEN x.indexrelid IS NOT NULL THEN 'invalid'
            WHEN c.dimension <= $2 AND c.chunks * c.dimension >= $1::bigint THEN 'missing'
            ELSE 'not needed' END AS index,
       coalesce(pg_relation_size(x.indexrelid), 0) AS index_bytes,
       CASE WHEN c.chunks > 0 AND c.average_words > 0
            THEN abs(greatest(c.words::float8 / c.chunks, 1) / c.average_words - 1) ELSE 0 END AS drift
FROM ragents.collections c
LEFT JOIN pg_index x ON x.indexrelid = to_regclass('ragents.chunk_vectors_hnsw_' || c.id || CASE c.space WHEN 0 THEN '' ELSE '_1' END)
LEFT JOIN LATERAL (
    SELECT avg(pg_column_size(v.*) + coalesce(pg_column_size(t.*), 0) + pg_column_size(k.*)) AS row_bytes
    FROM (SELECT * FROM ragents.chunk_vectors v WHERE v.tenant = c.tenant AND v.collection_id = c.id AND v.space = c.space LIMIT 200) v
    JOIN ragents.chunks k ON k.tenant = v.tenant AND k.document_id = v.document_id AND k.position = v.position
    LEFT JOIN ragents.chunk_terms t ON t.tenant = v.tenant AND t.collection_id = v.collection_id
         AND t.document_id = v.document_id AND t.position = v.position
) s ON true
ORDER BY c.tenant, c.name;

-- name: recall
-- $1 tenant, $2 collection id, $3 its name, $4 questions, $5 k, $6 its space. Vectors at random places of the collection, each searched
-- through the index and exactly; the mean share of the exact best k that the index found.
SELECT avg(r.found) FROM (
    SELECT (SELECT count(*) FROM ragents.search($1, $3, '', q.embedding, 'dense', $5, 100, 1, '{}', '{}', '{}', NULL, false, NULL, 0) i
            JOIN ragents.search($1, $3, '', q.embedding, 'dense', $5, 100, 1, '{}', '{}', '{}', NULL, false, NULL, 1000000000000) e
              ON e.chunk_id = i.chunk_id)::float8 / $5 AS found
    FROM generate_series(1, $4::int) n
    CROSS JOIN LATERAL (SELECT gen_random_uuid() AS at WHERE n.n > 0) g
    CROSS JOIN LATERAL (
        (SELECT v.embedding, 0 AS turn FROM ragents.chunk_vectors v
         WHERE v.tenant = $1 AND v.collection_id = $2 AND v.space = $6 AND v.document_id >= g.at ORDER BY v.document_id, v.position LIMIT 1)
        UNION ALL
        (SELECT v.embedding, 1 FROM ragents.chunk_vectors v
         WHERE v.tenant = $1 AND v.collection_id = $2 AND v.space = $6 ORDER BY v.document_id, v.position LIMIT 1)
        ORDER BY turn LIMIT 1
    ) q
) r;
