-- Two spaces of vectors in a collection, so that it moves to another model while it is searched (ragents reembed).
--
-- chunk_vectors.space      0 or 1; a chunk has a vector in the collection's space, and one in the other during a move
-- collections.space        the one that is searched and written
-- collections.next_model, next_dimension   of a move that is under way into the other space; null without one
--
-- A partial HNSW index holds one space: ragents.chunk_vectors_hnsw_COLLECTION, and ..._1 for the space 1. Those from
-- before this migration hold all rows of their collection, which are of space 0; `ragents db index` makes them anew.
--
-- ragents.search is that of 0004 with the space in every look at chunk_vectors; hnsw.ef_search goes by how many are asked for
-- and by the size of the collection, where it was 120 or more, and so does the number of postings. Its parameters:
--
-- p_tenant, p_collection   whose rows, and which; an unknown collection raises no_data_found (P0002)
-- p_query                  the question as text, for the lexical list (its first 8,000 characters)
-- p_embedding              its vector, or null in lexical mode
-- p_mode                   'hybrid' | 'dense' | 'lexical'
-- p_top_k, p_candidates    rows returned; length of each list before fusion
-- p_dense_weight           0..1, the share of the dense list in the fused score
-- p_keys, p_ops, p_values  conditions on documents' metadata, all of which must hold (ragents.condition)
-- p_max_per_document       chunks of one document among the rows, or null
-- p_with_vectors           whether rows carry their vectors
-- p_min_epoch              a replica whose collection is older than this epoch raises RA001
-- p_exact_below            vectors of 384 dimensions that are compared one by one rather than through an index
--
-- Filters: matching documents are listed first, as far as their chunks could be compared one by one. A complete list is
-- searched exactly ("narrow"). Otherwise ("broad") the filter is asked row by row, in the order of the index or the scores.
-- Dense: exact over a narrow list, a small collection, or one without an index; else the collection's own partial HNSW
-- index on halfvec, scanned iteratively and re-sorted by the full vectors.
-- Lexical: BM25 (Robertson and Zaragoza 2009; k1 = 1.2, b = 0.75; idf as Lucene's) of the 64 rarest of the first 256 terms. All chunks of
-- a narrow list or a small collection are scored; else those that hold the rarest terms, as many terms as have
-- 8,000 postings together, in collections of more than 100,000 chunks more of them.
-- Fused: every candidate of either list has both scores. Each is standardised over all candidates (mean 0, spread 1), so
-- that neither the scale of an encoder nor the length of a question weighs; weighted, added, and scaled to 0..1.
-- What it chose is said at level DEBUG1.

ALTER TABLE ragents.collections
    ADD COLUMN space smallint NOT NULL DEFAULT 0 CHECK (space IN (0, 1)),
    ADD COLUMN next_model text,
    ADD COLUMN next_dimension integer CHECK (next_dimension BETWEEN 1 AND 16000),
    ADD CHECK ((next_model IS NULL) = (next_dimension IS NULL));
ALTER TABLE ragents.chunk_vectors ADD COLUMN space smallint NOT NULL DEFAULT 0 CHECK (space IN (0, 1));
ALTER TABLE ragents.chunk_vectors DROP CONSTRAINT chunk_vectors_pkey;
ALTER TABLE ragents.chunk_vectors ADD PRIMARY KEY (tenant, collection_id, document_id, position, space);

DROP FUNCTION ragents.search(text, text, text, @vector_schema@.vector, text, integer, integer, double precision, text[], text[], jsonb[], integer, boolean, bigint, bigint);

CREATE FUNCTION ragents.search(
    p_tenant text,
    p_collection text,
    p_query text,
    p_embedding @vector_schema@.vector,
    p_mode text,
    p_top_k integer,
    p_candidates integer,
    p_dense_weight double precision,
    p_keys text[],
    p_ops text[],
    p_values jsonb[],
    p_max_per_document integer,
    p_with_vectors boolean,
    p_min_epoch bigint,
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
    score double precision,
    embedding @vector_schema@.vector
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, @vector_schema@, pg_temp
SET enable_seqscan = off  -- every step has its index; without statistics the planner may not see it
SET jit = off             -- compiling takes longer than any of these statements
SET max_parallel_workers_per_gather = 0  -- starting workers does too; a question costs one core
AS $$
#variable_conflict use_column
DECLARE
    c_postings CONSTANT integer := 8000;  -- both up to 100,000 chunks, and 2.5 times as many of a million:
    c_ef CONSTANT integer := 80;  -- the right ten are .99 of the lexical list and .97 of the dense one, not .93 and .91
    c_even CONSTANT double precision := 1e-6;  -- scores closer than this are equal: what is left is rounding
    v_collection record;
    v_exact bigint;
    v_scale double precision;
    v_bound integer;
    v_depth integer := p_candidates;
    v_narrow boolean := false;
    v_where text;
    v_documents uuid[];
    v_count bigint;
    v_chunks bigint;
    v_dense_documents uuid[];
    v_dense_positions integer[];
    v_similarities double precision[];
    v_terms integer[];
    v_rarest integer[];
    v_weights sparsevec;
    v_postings bigint;
    v_lexical_documents uuid[];
    v_lexical_positions integer[];
    v_scores double precision[];
    v_plan text := '';
BEGIN
    IF p_tenant IS NULL THEN
        RAISE EXCEPTION 'the tenant is missing' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT c.id, c.dimension, c.chunks, c.language, c.epoch, c.space,
           to_regclass('ragents.chunk_vectors_hnsw_' || c.id || CASE c.space WHEN 0 THEN '' ELSE '_1' END) AS index
    INTO v_collection FROM ragents.collections c WHERE c.tenant = p_tenant AND c.name = p_collection;
    IF NOT FOUND THEN
        IF p_min_epoch IS NOT NULL THEN
            RAISE EXCEPTION 'the replica has no such collection yet' USING ERRCODE = 'RA001';
        END IF;
        RAISE EXCEPTION 'no such collection' USING ERRCODE = 'no_data_found';
    END IF;
    IF v_collection.epoch < p_min_epoch THEN
        RAISE EXCEPTION 'the replica is at epoch %, not %', v_collection.epoch, p_min_epoch USING ERRCODE = 'RA001';
    END IF;
    IF vector_dims(p_embedding) <> v_collection.dimension THEN
        RAISE EXCEPTION 'different vector dimensions' USING ERRCODE = 'data_exception';
    END IF;
    IF p_mode = 'dense' AND p_max_per_document IS NULL THEN
        v_depth := 2 * p_top_k + 10;  -- nothing is fused; enough for the order by the full vectors
    END IF;
    v_scale := power(greatest(1, v_collection.chunks / 100000.0), 0.4);
    v_bound := c_postings * v_scale;
    v_exact := p_exact_below * 384 / v_collection.dimension;

    IF cardinality(p_keys) > 0 THEN
        SELECT string_agg(ragents.condition(f.at::integer, f.op, f.value, true), ' AND ')
        INTO v_where FROM unnest(p_ops, p_values) WITH ORDINALITY f(op, value, at);
        EXECUTE format('
            SELECT array_agg(m.id), count(*), coalesce(sum(m.chunks), 0) FROM (
                SELECT d.id, d.chunks FROM ragents.documents d
                WHERE d.tenant = $1 AND d.collection_id = $2 AND d.chunks > 0 AND %s LIMIT $3
            ) m', v_where)
        INTO v_documents, v_count, v_chunks
        USING p_tenant, v_collection.id, v_exact + 1, NULL::text, NULL::text, p_keys, p_values;
        IF v_count = 0 THEN
            RETURN;
        END IF;
        v_narrow := v_count <= v_exact AND v_chunks <= v_exact;
        v_plan := format('filter %s, %s documents; ', CASE WHEN v_narrow THEN 'narrow' ELSE 'broad' END, v_count);
        SELECT string_agg(ragents.condition(f.at::integer, f.op, f.value, false), ' AND ')
        INTO v_where FROM unnest(p_ops, p_values) WITH ORDINALITY f(op, value, at);
    END IF;

    IF p_mode <> 'lexical' AND p_embedding IS NOT NULL THEN
        IF v_narrow THEN
            v_plan := v_plan || 'dense exact over the list; ';
            SELECT array_agg(n.document_id), array_agg(n.position), array_agg(1 - n.distance)
            INTO v_dense_documents, v_dense_positions, v_similarities
            FROM (
                SELECT v.document_id, v.position, v.embedding <=> p_embedding AS distance
                FROM ragents.chunk_vectors v
                WHERE v.tenant = p_tenant AND v.collection_id = v_collection.id AND v.document_id = ANY (v_documents)
                  AND v.space = v_collection.space
                ORDER BY 3, 1, 2 LIMIT v_depth
            ) n;
        ELSIF v_collection.chunks >= v_exact AND EXISTS (
            SELECT FROM pg_index x WHERE x.indexrelid = v_collection.index AND x.indisvalid
        ) THEN
            v_plan := v_plan || 'dense by index; ';
            PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true),
                    set_config('hnsw.ef_search', least(1000, greatest(
                        v_depth * 6 / 5, c_ef * v_scale))::integer::text, true);
            EXECUTE format('
                SELECT array_agg(n.document_id), array_agg(n.position), array_agg(1 - n.distance)
                FROM (
                    SELECT v.document_id, v.position, v.embedding <=> $3 AS distance
                    FROM (
                        SELECT v.document_id, v.position, v.embedding
                        FROM ragents.chunk_vectors v
                        WHERE v.collection_id = %1$s AND v.space = %4$s %3$s
                        ORDER BY v.embedding::halfvec(%2$s) <=> $3::halfvec(%2$s) LIMIT $4
                    ) v
                    ORDER BY 3, 1, 2
                ) n', v_collection.id, v_collection.dimension, CASE WHEN v_where IS NULL THEN '' ELSE
                format('AND (SELECT %s FROM ragents.documents d WHERE d.tenant = $1 AND d.id = v.document_id)', v_where) END,
                v_collection.space)
            INTO v_dense_documents, v_dense_positions, v_similarities
            USING p_tenant, v_collection.id, p_embedding, v_depth, NULL::text, p_keys, p_values;
        ELSE
            v_plan := v_plan || 'dense exact over the collection; ';
            EXECUTE format('
                SELECT array_agg(n.document_id), array_agg(n.position), array_agg(1 - n.distance)
                FROM (
                    SELECT v.document_id, v.position, v.embedding <=> $3 AS distance
                    FROM ragents.chunk_vectors v
                    WHERE v.tenant = $1 AND v.collection_id = $2 AND v.space = %s %s
                    ORDER BY (v.embedding <=> $3) + 0, 1, 2 LIMIT $4
                ) n', v_collection.space, CASE WHEN v_where IS NULL THEN '' ELSE
                format('AND v.document_id IN (SELECT d.id FROM ragents.documents d WHERE d.tenant = $1 AND d.collection_id = $2 AND %s)', v_where) END)
            INTO v_dense_documents, v_dense_positions, v_similarities
            USING p_tenant, v_collection.id, p_embedding, v_depth, NULL::text, p_keys, p_values;
        END IF;
    END IF;

    IF p_mode <> 'dense' THEN
        -- What a question holds is only ever parsed as text, never read as tsquery syntax.
        SELECT array_agg(t.term ORDER BY t.chunks, t.term), sum(t.chunks),
               coalesce(array_agg(t.term ORDER BY t.chunks, t.term) FILTER (WHERE t.running <= v_bound), '{}'),
               ('{' || string_agg(t.term || ':' || ln(1 + (greatest(v_collection.chunks, t.chunks) - t.chunks + 0.5) / (t.chunks + 0.5))::real, ',' ORDER BY t.term)
                || '}/1000000000')::sparsevec
        INTO v_terms, v_postings, v_rarest, v_weights
        FROM (
            SELECT q.term, q.chunks, sum(q.chunks) OVER (ORDER BY q.chunks, q.term) AS running
            FROM (
                SELECT q.term, coalesce(max(t.chunks), 0) + coalesce(max(p.chunks), 0) AS chunks
                FROM (
                    SELECT ragents.term_of(u.lexeme, v_collection.id) AS term
                    FROM unnest(to_tsvector(v_collection.language::regconfig, left(p_query, 8000))) u
                    ORDER BY u.positions[1] LIMIT 256
                ) q
                LEFT JOIN ragents.term_counts t ON t.tenant = p_tenant AND t.collection_id = v_collection.id AND t.term = q.term
                CROSS JOIN LATERAL (
                    SELECT sum(inner_product(d.counts, ('{' || q.term || ':1}/1000000000')::sparsevec))::integer AS chunks
                    FROM ragents.term_deltas d WHERE d.tenant = p_tenant AND d.collection_id = v_collection.id
                ) p
                GROUP BY q.term
            ) q
            WHERE q.chunks > 0
            ORDER BY q.chunks, q.term LIMIT 64
        ) t;
        IF v_terms IS NOT NULL AND v_narrow THEN
            v_plan := v_plan || 'lexical exact over the list';
            SELECT array_agg(n.document_id), array_agg(n.position), array_agg(n.score)
            INTO v_lexical_documents, v_lexical_positions, v_scores
            FROM (
                SELECT t.document_id, t.position, -(t.impacts <#> v_weights) AS score
                FROM ragents.chunk_terms t
                WHERE t.tenant = p_tenant AND t.collection_id = v_collection.id AND t.document_id = ANY (v_documents)
                  AND t.impacts <#> v_weights < 0
                ORDER BY 3 DESC, 1, 2 LIMIT p_candidates
            ) n;
        ELSIF v_terms IS NOT NULL THEN
            -- "+ 0" keeps the planner from the B-tree, which would read the whole collection.
            EXECUTE format('
                SELECT array_agg(n.document_id), array_agg(n.position), array_agg(n.score)
                FROM (
                    SELECT s.document_id, s.position, s.score
                    FROM (
                        SELECT m.document_id, m.position, -(m.impacts <#> $4) AS score FROM (%1$s) m
                        ORDER BY 3 DESC, 1, 2 OFFSET 0
                    ) s
                    WHERE s.score > 0 %2$s LIMIT $3
                ) n',
                CASE WHEN v_collection.chunks <= v_bound THEN '
                    SELECT t.document_id, t.position, t.impacts FROM ragents.chunk_terms t
                    WHERE t.tenant = $1 AND t.collection_id = $2'
                WHEN cardinality(v_rarest) > 0 THEN '
                    SELECT t.document_id, t.position, t.impacts FROM ragents.chunk_terms t
                    WHERE t.terms && $5[1:$8] AND t.tenant = $1 AND t.collection_id + 0 = $2'
                ELSE '
                    (SELECT t.document_id, t.position, t.impacts FROM ragents.chunk_terms t
                     WHERE t.terms @> $5[1:2] AND t.tenant = $1 AND t.collection_id + 0 = $2 LIMIT $9)
                    UNION ALL
                    (SELECT t.document_id, t.position, t.impacts FROM ragents.chunk_terms t
                     WHERE cardinality($5) > 1 AND t.terms && $5[1:1] AND NOT t.terms @> $5[1:2] AND t.tenant = $1 AND t.collection_id + 0 = $2 LIMIT $9)'
                END,
                CASE WHEN v_where IS NULL THEN '' ELSE
                format('AND (SELECT %s FROM ragents.documents d WHERE d.tenant = $1 AND d.id = s.document_id)', v_where) END)
            INTO v_lexical_documents, v_lexical_positions, v_scores
            USING p_tenant, v_collection.id, p_candidates, v_weights, v_terms, p_keys, p_values, cardinality(v_rarest), v_bound;
            v_plan := v_plan || CASE WHEN v_collection.chunks <= v_bound THEN 'lexical exact over the collection'
                ELSE format('lexical by %s of %s terms', greatest(1, cardinality(v_rarest)), cardinality(v_terms)) END;
        END IF;
    END IF;
    RAISE DEBUG 'plan: %', v_plan;

    IF p_mode = 'hybrid' THEN
        -- What one list did not hold is looked up, so that every candidate has both scores.
        SELECT array_agg(b.document_id), array_agg(b.position), array_agg(b.similarity),
               array_agg(p_dense_weight * CASE WHEN b.spread_similarity > c_even THEN (b.similarity - b.mean_similarity) / b.spread_similarity ELSE 0 END
                         + (1 - p_dense_weight) * CASE WHEN b.spread_bm25 > c_even THEN (b.bm25 - b.mean_bm25) / b.spread_bm25 ELSE 0 END)
        INTO v_dense_documents, v_dense_positions, v_similarities, v_scores
        FROM (
            SELECT c.*, avg(c.similarity) OVER () AS mean_similarity, stddev_pop(c.similarity) OVER () AS spread_similarity,
                   avg(c.bm25) OVER () AS mean_bm25, stddev_pop(c.bm25) OVER () AS spread_bm25
            FROM (
                SELECT f.document_id, f.position,
                       coalesce(f.similarity, 1 - (v.embedding <=> p_embedding)) AS similarity,
                       coalesce(f.bm25, -(t.impacts <#> v_weights), 0) AS bm25
                FROM (
                    SELECT coalesce(d.document_id, l.document_id) AS document_id, coalesce(d.position, l.position) AS position,
                           d.similarity, l.bm25
                    FROM unnest(v_dense_documents, v_dense_positions, v_similarities) d(document_id, position, similarity)
                    FULL JOIN unnest(v_lexical_documents, v_lexical_positions, v_scores) l(document_id, position, bm25)
                      ON l.document_id = d.document_id AND l.position = d.position
                ) f
                LEFT JOIN ragents.chunk_vectors v ON f.similarity IS NULL AND v.tenant = p_tenant
                     AND v.collection_id = v_collection.id AND v.document_id = f.document_id AND v.position = f.position
                     AND v.space = v_collection.space
                LEFT JOIN ragents.chunk_terms t ON f.bm25 IS NULL AND v_weights IS NOT NULL AND t.tenant = p_tenant
                     AND t.collection_id = v_collection.id AND t.document_id = f.document_id AND t.position = f.position
            ) c
        ) b;
    ELSIF p_mode = 'dense' THEN
        v_scores := v_similarities;
    ELSE
        v_dense_documents := v_lexical_documents;
        v_dense_positions := v_lexical_positions;
    END IF;

    RETURN QUERY
    WITH scaled AS (
        SELECT f.document_id, f.position, f.similarity,
               CASE WHEN max(f.score) OVER () - min(f.score) OVER () > c_even
                    THEN (f.score - min(f.score) OVER ()) / (max(f.score) OVER () - min(f.score) OVER ()) ELSE 1 END AS score,
               row_number() OVER (PARTITION BY f.document_id ORDER BY f.score DESC, f.position) AS place
        FROM unnest(v_dense_documents, v_dense_positions, v_similarities, v_scores) f(document_id, position, similarity, score)
    ), best AS MATERIALIZED (
        SELECT s.document_id, s.position, s.similarity, s.score FROM scaled s
        WHERE s.place <= p_max_per_document OR p_max_per_document IS NULL
        ORDER BY s.score DESC, s.document_id, s.position LIMIT p_top_k
    )
    SELECT k.id, b.document_id, d.uri, d.title, k.body, k.page, k.headings, d.metadata,
           coalesce(b.similarity, 1 - (v.embedding <=> p_embedding)), b.score,
           CASE WHEN p_with_vectors THEN v.embedding END
    FROM best b
    JOIN ragents.chunks k ON k.tenant = p_tenant AND k.document_id = b.document_id AND k.position = b.position
    JOIN ragents.documents d ON d.tenant = p_tenant AND d.id = b.document_id
    LEFT JOIN ragents.chunk_vectors v ON (p_with_vectors OR b.similarity IS NULL AND p_embedding IS NOT NULL) AND v.tenant = p_tenant
         AND v.collection_id = v_collection.id AND v.document_id = b.document_id AND v.position = b.position
         AND v.space = v_collection.space
    ORDER BY b.score DESC, b.document_id, b.position;
END
$$;

REVOKE ALL ON FUNCTION ragents.search FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA ragents TO ragents_search;
ALTER FUNCTION ragents.search OWNER TO ragents_search;
REVOKE CREATE ON SCHEMA ragents FROM ragents_search;
