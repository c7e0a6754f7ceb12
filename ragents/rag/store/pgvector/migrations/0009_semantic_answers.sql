-- Answers of the semantic cache, found by the vector of the question that was answered.
--
-- scope        sha256 of everything else that the answer depends on (CacheScope): only rows of one scope are compared
-- digest       sha256 of the question
-- answer       a RAGResponse as JSON, compressed; written and read by ragents.rag.cache.semantic
-- A row is found until expires_at. When its collection moves on to another epoch it goes, in the change's transaction.
--
-- @vector_schema@ is replaced by the schema that the extension vector lives in.

CREATE TABLE ragents.semantic_answers (
    tenant     text NOT NULL,
    scope      bytea NOT NULL,
    digest     bytea NOT NULL,
    collection text NOT NULL,
    question   text NOT NULL,
    embedding  @vector_schema@.vector NOT NULL,
    answer     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, scope, digest)
);
ALTER TABLE ragents.semantic_answers ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX semantic_answers_age ON ragents.semantic_answers (tenant, created_at);
CREATE INDEX semantic_answers_collection ON ragents.semantic_answers (tenant, collection);

ALTER TABLE ragents.semantic_answers ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.semantic_answers FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON ragents.semantic_answers USING (tenant = current_setting('ragents.tenant', true));

-- The nearest questions of a scope, nearest first.
-- p_similarity  the least cosine; p_limit  how many at most
CREATE FUNCTION ragents.nearest_questions(
    p_tenant text, p_scope bytea, p_embedding real[], p_similarity double precision, p_limit integer
) RETURNS TABLE (digest bytea, question text, similarity double precision)
LANGUAGE sql STABLE
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
    SELECT n.digest, n.question, n.similarity
    FROM (
        -- In a query of its own the array is made a vector once, and not for each row.
        SELECT a.digest, a.question, 1 - (a.embedding <=> (SELECT p_embedding::vector)) AS similarity
        FROM ragents.semantic_answers a
        WHERE a.tenant = p_tenant AND a.scope = p_scope AND a.expires_at > now()
        ORDER BY 3 DESC, 1 LIMIT p_limit
    ) n
    WHERE n.similarity >= p_similarity
    ORDER BY 3 DESC, 1
$$;

-- Keeps an answer, unless the collection has moved on since; the number of rows dropped for the tenant's bound.
-- p_epoch  the collection's when the answer was made; p_ttl_s  seconds; p_most  rows that a tenant may have
CREATE FUNCTION ragents.keep_answer(
    p_tenant text, p_scope bytea, p_digest bytea, p_collection text, p_epoch bigint, p_question text,
    p_embedding real[], p_answer bytea, p_ttl_s double precision, p_most integer
) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, @vector_schema@, pg_temp
AS $$
DECLARE
    v_dropped integer;
BEGIN
    DELETE FROM ragents.semantic_answers a WHERE a.tenant = p_tenant AND a.expires_at <= now();
    INSERT INTO ragents.semantic_answers (tenant, scope, digest, collection, question, embedding, answer, expires_at)
    SELECT p_tenant, p_scope, p_digest, p_collection, p_question, p_embedding::vector, p_answer,
           now() + make_interval(secs => p_ttl_s)
    FROM ragents.collections c WHERE c.tenant = p_tenant AND c.name = p_collection AND c.epoch = p_epoch
    ON CONFLICT (tenant, scope, digest) DO UPDATE
    SET question = excluded.question, embedding = excluded.embedding, answer = excluded.answer, created_at = now(),
        expires_at = excluded.expires_at;
    DELETE FROM ragents.semantic_answers a
    WHERE a.tenant = p_tenant AND a.ctid IN (
        SELECT o.ctid FROM ragents.semantic_answers o WHERE o.tenant = p_tenant ORDER BY o.created_at DESC OFFSET p_most
    );
    GET DIAGNOSTICS v_dropped = ROW_COUNT;
    RETURN v_dropped;
END
$$;

-- As the owner, since whoever changes a collection need have no right to the answers; it states the tenant itself.
CREATE FUNCTION ragents.forget_semantic_answers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM ragents.semantic_answers a WHERE a.tenant = NEW.tenant AND a.collection = NEW.name;
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_semantic_answers AFTER UPDATE OF epoch ON ragents.collections
    FOR EACH ROW WHEN (OLD.epoch IS DISTINCT FROM NEW.epoch) EXECUTE FUNCTION ragents.forget_semantic_answers();
