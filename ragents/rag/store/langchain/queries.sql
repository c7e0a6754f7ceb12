-- The statements of LangChainVectorStore beside those of PgVectorStore, in transactions that have set ragents.tenant.

-- name: state
-- $1 tenant, $2 collection, $3 store. `indexed` is null when the store does not hold the collection.
SELECT c.id, c.embedding_model, c.dimension, c.chunks, c.epoch, i.epoch AS indexed
FROM ragents.collections c
LEFT JOIN ragents_vectors.indexed i ON i.tenant = c.tenant AND i.collection_id = c.id AND i.store = $3
WHERE c.tenant = $1 AND c.name = $2;

-- name: candidates
-- $1 tenant, $2 collection id, $3 chunk ids, $4 the question's vector, $5 with vectors. Those of the ids that are live. One
-- row after the other by its key: right after a load there are no statistics, and the planner would read whole tables.
SELECT k.id AS chunk_id, k.document_id, k.position, d.uri, d.title, k.body, k.page, k.headings, d.metadata,
       1 - (v.embedding <=> $4) AS similarity, 0::float8 AS score, CASE WHEN $5 THEN v.embedding END AS embedding
FROM unnest($3::uuid[]) i(id)
CROSS JOIN LATERAL (SELECT c.* FROM ragents.chunks c WHERE c.tenant = $1 AND c.id = i.id LIMIT 1) k
CROSS JOIN LATERAL (SELECT e.* FROM ragents.documents e WHERE e.tenant = $1 AND e.id = k.document_id LIMIT 1) d
CROSS JOIN LATERAL (
    SELECT e.embedding FROM ragents.chunk_vectors e
    WHERE e.tenant = $1 AND e.collection_id = $2 AND e.document_id = k.document_id AND e.position = k.position
      AND e.space = (SELECT c.space FROM ragents.collections c WHERE c.tenant = $1 AND c.id = $2) LIMIT 1
) v;

-- name: bm25
-- $1 tenant, $2 collection, $3 question, $4 chunk ids. The scores behind the lexical list of ragents.search (its weights,
-- made in the same way), of these chunks; one without a term of the question has no row.
WITH weights AS MATERIALIZED (
    SELECT ('{' || string_agg(t.term || ':' || ln(1 + (greatest(t.total, t.chunks) - t.chunks + 0.5) / (t.chunks + 0.5))::real, ',' ORDER BY t.term)
            || '}/1000000000')::sparsevec AS idf
    FROM (
        SELECT q.term, q.total, coalesce(max(c.chunks), 0) + coalesce(max(d.chunks), 0) AS chunks
        FROM (
            SELECT ragents.term_of(u.lexeme, c.id) AS term, c.id, c.chunks AS total
            FROM ragents.collections c CROSS JOIN LATERAL unnest(to_tsvector(c.language::regconfig, left($3, 8000))) u
            WHERE c.tenant = $1 AND c.name = $2 ORDER BY u.positions[1] LIMIT 256
        ) q
        LEFT JOIN ragents.term_counts c ON c.tenant = $1 AND c.collection_id = q.id AND c.term = q.term
        CROSS JOIN LATERAL (
            SELECT sum(inner_product(e.counts, ('{' || q.term || ':1}/1000000000')::sparsevec))::integer AS chunks
            FROM ragents.term_deltas e WHERE e.tenant = $1 AND e.collection_id = q.id
        ) d
        GROUP BY q.term, q.total
        HAVING coalesce(max(c.chunks), 0) + coalesce(max(d.chunks), 0) > 0
        ORDER BY 3, 1 LIMIT 64
    ) t
)
SELECT k.id AS chunk_id, -(t.impacts <#> w.idf) AS bm25
FROM weights w
CROSS JOIN (SELECT c.id FROM ragents.collections c WHERE c.tenant = $1 AND c.name = $2) c
CROSS JOIN unnest($4::uuid[]) i(id)
CROSS JOIN LATERAL (SELECT e.* FROM ragents.chunks e WHERE e.tenant = $1 AND e.id = i.id LIMIT 1) k
CROSS JOIN LATERAL (
    SELECT e.impacts FROM ragents.chunk_terms e
    WHERE e.tenant = $1 AND e.collection_id = c.id AND e.document_id = k.document_id AND e.position = k.position LIMIT 1
) t;

-- name: samples
-- $1 tenant, $2 collection id, $3 seconds since the last change, $4 documents at most, $5 from this one on: the first chunk
-- of each
SELECT k.id, v.embedding
FROM (
    SELECT d.id FROM ragents.documents d
    WHERE d.tenant = $1 AND d.collection_id = $2 AND d.chunks > 0 AND d.id >= $5
      AND d.updated_at <= now() - make_interval(secs => $3)
    ORDER BY d.id LIMIT $4
) s
CROSS JOIN LATERAL (
    SELECT v.position, v.embedding FROM ragents.chunk_vectors v
    WHERE v.tenant = $1 AND v.collection_id = $2 AND v.document_id = s.id
      AND v.space = (SELECT c.space FROM ragents.collections c WHERE c.tenant = $1 AND c.id = $2) ORDER BY v.position LIMIT 1
) v
JOIN ragents.chunks k ON k.tenant = $1 AND k.document_id = s.id AND k.position = v.position;

-- name: chunk_ids
-- $1 tenant, $2 document
SELECT id FROM ragents.chunks WHERE tenant = $1 AND document_id = $2;

-- name: pend
-- $1 tenant, $2 store, $3 ids, $4 seconds until they may be swept
INSERT INTO ragents_vectors.pending (tenant, store, id, until)
SELECT $1, $2, i.id, now() + make_interval(secs => $4) FROM unnest($3::uuid[]) i(id)
ON CONFLICT DO NOTHING;

-- name: settle
-- $1 tenant, $2 store, $3 ids. How many were still ours: fewer when someone sweeps them.
WITH settled AS (
    DELETE FROM ragents_vectors.pending WHERE tenant = $1 AND store = $2 AND id = ANY ($3::uuid[]) AND NOT swept RETURNING id
)
SELECT count(*) FROM settled;

-- name: due
-- $1 tenant, $2 store, $3 at most. From here on their writers cannot make them live.
UPDATE ragents_vectors.pending p SET swept = true
FROM (
    SELECT q.id FROM ragents_vectors.pending q
    WHERE q.tenant = $1 AND q.store = $2 AND q.until <= now() ORDER BY q.until LIMIT $3 FOR UPDATE SKIP LOCKED
) d
WHERE p.tenant = $1 AND p.store = $2 AND p.id = d.id
RETURNING p.id;

-- name: forget
-- $1 tenant, $2 store, $3 ids
DELETE FROM ragents_vectors.pending WHERE tenant = $1 AND store = $2 AND id = ANY ($3::uuid[]);

-- name: set_indexed
-- $1 tenant, $2 store, $3 collection id, $4 epoch
INSERT INTO ragents_vectors.indexed (tenant, store, collection_id, epoch) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, store, collection_id) DO UPDATE SET epoch = excluded.epoch, updated_at = now();

-- name: unset_indexed
-- $1 tenant, $2 store, $3 collection id
DELETE FROM ragents_vectors.indexed WHERE tenant = $1 AND store = $2 AND collection_id = $3;

-- name: forget_processes
-- $1 tenant, $2 what the names of stores in memory begin with. Processes that ended without a word.
WITH gone AS (
    DELETE FROM ragents_vectors.pending
    WHERE tenant = $1 AND starts_with(store, $2) AND until < now() - interval '7 days'
)
DELETE FROM ragents_vectors.indexed
WHERE tenant = $1 AND starts_with(store, $2) AND updated_at < now() - interval '7 days';

-- name: vectors
-- $1 tenant, $2 collection id, $3 and $4 after this document and position, $5 at most
SELECT k.id, v.document_id, v.position, v.embedding
FROM ragents.chunk_vectors v
JOIN ragents.chunks k ON k.tenant = v.tenant AND k.document_id = v.document_id AND k.position = v.position
WHERE v.tenant = $1 AND v.collection_id = $2 AND (v.document_id, v.position) > ($3, $4)
  AND v.space = (SELECT c.space FROM ragents.collections c WHERE c.tenant = $1 AND c.id = $2)
ORDER BY v.document_id, v.position LIMIT $5;
