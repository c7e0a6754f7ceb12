-- ragents.search: dense and lexical candidates, fused, in one call.
--
-- p_tenant, p_collection   whose rows, and which; an unknown collection raises no_data_found (P0002)
-- p_query                  the question as text, for the lexical list
-- p_embedding              its vector, or null in lexical mode
-- p_mode                   'hybrid' | 'dense' | 'lexical'
-- p_top_k, p_candidates    rows returned; length of each list before fusion
-- p_dense_weight           0..1: fused = w * dense + (1 - w) * lexical, each list scaled to 0..1 by its own min and max
-- p_filters                jsonb object that a document's metadata must contain; '{}' = all
-- p_exact_below            collections of fewer chunks are searched exactly
--
-- Lexical: BM25 (Robertson and Zaragoza 2009; k1 = 1.2, b = 0.75; idf as Lucene's) over at most 64 terms of the question.
-- In two steps, since reading the lexemes of every chunk that has a common word costs most: the postings of each term
-- (at most 20,000) give document frequencies and rank chunks by the idf of the terms they have; the best 1,000 are
-- scored exactly.
-- Dense: exact over a small collection; else the HNSW index on halfvec with an iterative scan, re-sorted by the full
-- vectors.

CREATE FUNCTION ragents.search(
    p_tenant text,
    p_collection text,
    p_query text,
    p_embedding @vector_schema@.vector,
    p_mode text,
    p_top_k integer,
    p_candidates integer,
    p_dense_weight double precision,
    p_filters jsonb,
    p_exact_below bigint
) RETURNS TABLE (
    chunk_id uuid,
    document_id uuid,
    uri text,
    title text,
    body text,
    page integer,
    headings text[],
    metadata jsonb,
    similarity double precision,
    score double precision
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
DECLARE
    v_collection ragents.collections%ROWTYPE;
    v_filter text := '';
    v_dense text := 'SELECT NULL::uuid AS chunk_id, NULL::float8 AS similarity WHERE false';
    v_lexical text := 'SELECT NULL::uuid AS chunk_id, NULL::float8 AS bm25 WHERE false';
    v_terms text[] := '{}';
    v_queries tsquery[] := '{}';
BEGIN
    IF p_tenant IS NULL THEN
        RAISE EXCEPTION 'the tenant is missing' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT * INTO v_collection FROM ragents.collections c WHERE c.tenant = p_tenant AND c.name = p_collection;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such collection' USING ERRCODE = 'no_data_found';
    END IF;
    IF p_filters <> '{}' THEN
        v_filter := 'AND i.document_id IN (SELECT d.id FROM ragents.documents d
            WHERE d.tenant = $1 AND d.collection_id = $2 AND d.metadata @> $5)';
    END IF;

    IF p_mode <> 'lexical' AND p_embedding IS NOT NULL THEN
        IF v_collection.chunks < p_exact_below OR NOT EXISTS (
            SELECT FROM pg_index x JOIN pg_class k ON k.oid = x.indexrelid
            WHERE k.relnamespace = 'ragents'::regnamespace AND x.indisvalid
              AND k.relname = 'chunk_index_hnsw_' || v_collection.dimension
        ) THEN
            -- "+ 0" keeps the planner from an index that would filter tenants only afterwards.
            v_dense := format('
                SELECT i.chunk_id, 1 - (i.embedding <=> $3) AS similarity
                FROM ragents.chunk_index i
                WHERE i.tenant = $1 AND i.collection_id = $2 %s
                ORDER BY (i.embedding <=> $3) + 0 LIMIT $4', v_filter);
        ELSE
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true);
            PERFORM set_config('hnsw.ef_search', greatest(100, least(1000, p_candidates))::text, true);
            v_dense := format('
                SELECT n.chunk_id, 1 - (n.embedding <=> $3) AS similarity FROM (
                    SELECT i.chunk_id, i.embedding
                    FROM ragents.chunk_index i
                    WHERE vector_dims(i.embedding) = %2$s AND i.tenant = $1 AND i.collection_id = $2 %1$s
                    ORDER BY i.embedding::halfvec(%2$s) <=> $3::halfvec(%2$s) LIMIT $4
                ) n', v_filter, v_collection.dimension);
        END IF;
    END IF;

    IF p_mode <> 'dense' THEN
        -- Each lexeme as a query of its own, quoted: what a question holds is never read as tsquery syntax.
        SELECT array_agg(t.lexeme),
               array_agg(('''' || replace(replace(t.lexeme, '\', '\\'), '''', '''''') || '''')::tsquery)
        INTO v_terms, v_queries
        FROM (SELECT u.lexeme FROM unnest(to_tsvector('english', p_query)) u ORDER BY u.positions[1] LIMIT 64) t;
        IF v_terms IS NOT NULL THEN
            v_lexical := '
                SELECT c.chunk_id, sum(f.idf * f.n * 2.2 / (f.n + 1.2 * (0.25 + 0.75 * f.words / greatest($7, 1)))) AS bm25
                FROM covering c
                CROSS JOIN LATERAL (
                    SELECT i.words, t.idf, cardinality(u.positions) AS n
                    FROM ragents.chunk_index i
                    CROSS JOIN LATERAL unnest(i.lexemes) u
                    JOIN frequency t ON t.lexeme = u.lexeme
                    WHERE i.tenant = $1 AND i.chunk_id = c.chunk_id
                ) f
                GROUP BY c.chunk_id ORDER BY bm25 DESC, c.chunk_id LIMIT $4';
        END IF;
    END IF;

    RETURN QUERY EXECUTE format('
        WITH postings AS MATERIALIZED (
            SELECT t.lexeme, p.chunk_id
            FROM unnest($8, $6) t(lexeme, query)
            CROSS JOIN LATERAL (
                SELECT i.chunk_id FROM ragents.chunk_index i
                WHERE i.tenant = $1 AND i.collection_id = $2 AND i.lexemes @@ t.query %3$s
                LIMIT 20000
            ) p
        ), frequency AS MATERIALIZED (
            SELECT p.lexeme, ln(1 + (greatest($9, count(*)) - count(*) + 0.5) / (count(*) + 0.5)) AS idf
            FROM postings p GROUP BY p.lexeme
        ), covering AS MATERIALIZED (
            SELECT p.chunk_id FROM postings p JOIN frequency f ON f.lexeme = p.lexeme
            GROUP BY p.chunk_id ORDER BY sum(f.idf) DESC, p.chunk_id LIMIT 1000
        ), dense AS MATERIALIZED (%1$s), lexical AS MATERIALIZED (%2$s),
        dense_scaled AS (
            SELECT d.chunk_id, d.similarity,
                   coalesce((d.similarity - min(d.similarity) OVER ()) / nullif(max(d.similarity) OVER () - min(d.similarity) OVER (), 0), 1) AS scaled
            FROM dense d
        ), lexical_scaled AS (
            SELECT l.chunk_id,
                   coalesce((l.bm25 - min(l.bm25) OVER ()) / nullif(max(l.bm25) OVER () - min(l.bm25) OVER (), 0), 1) AS scaled
            FROM lexical l
        ), fused AS (
            SELECT coalesce(d.chunk_id, l.chunk_id) AS chunk_id, d.similarity,
                   $10 * coalesce(d.scaled, 0) + (1 - $10) * coalesce(l.scaled, 0) AS score
            FROM dense_scaled d FULL JOIN lexical_scaled l ON l.chunk_id = d.chunk_id
            ORDER BY score DESC, chunk_id LIMIT $11
        )
        SELECT f.chunk_id, c.document_id, d.uri, d.title, c.body, c.page, c.headings, d.metadata,
               coalesce(f.similarity, CASE WHEN $3 IS NULL THEN NULL ELSE 1 - (i.embedding <=> $3) END), f.score
        FROM fused f
        JOIN ragents.chunk_index i ON i.tenant = $1 AND i.chunk_id = f.chunk_id
        JOIN ragents.chunks c ON c.tenant = $1 AND c.id = f.chunk_id
        JOIN ragents.documents d ON d.tenant = $1 AND d.id = c.document_id
        ORDER BY f.score DESC, f.chunk_id', v_dense, v_lexical, v_filter)
    USING p_tenant, v_collection.id, p_embedding, p_candidates, p_filters, v_queries,
          v_collection.words::float8 / greatest(v_collection.chunks, 1), v_terms, v_collection.chunks::float8,
          CASE p_mode WHEN 'dense' THEN 1.0 WHEN 'lexical' THEN 0.0 ELSE p_dense_weight END::float8, p_top_k;
END
$$;

REVOKE ALL ON FUNCTION ragents.search FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA ragents TO ragents_search;
ALTER FUNCTION ragents.search OWNER TO ragents_search;
REVOKE CREATE ON SCHEMA ragents FROM ragents_search;

-- Build the HNSW index for vectors of one dimension, if it is not there. Runs as the owner of the table, since the role
-- that serves owns nothing. Writers wait while it runs: it is called at the end of a bulk load.
CREATE FUNCTION ragents.ensure_vector_index(p_dimension integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
BEGIN
    IF p_dimension NOT BETWEEN 1 AND 4000 THEN
        RAISE EXCEPTION 'dimension % is outside 1..4000, which halfvec indexes', p_dimension USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM set_config('maintenance_work_mem', '256MB', true);
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS chunk_index_hnsw_%1$s ON ragents.chunk_index
         USING hnsw ((embedding::halfvec(%1$s)) halfvec_cosine_ops) WHERE vector_dims(embedding) = %1$s', p_dimension);
END
$$;
REVOKE ALL ON FUNCTION ragents.ensure_vector_index FROM PUBLIC;
