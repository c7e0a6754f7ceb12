-- What the semantic cache holds over all tenants, and how it is emptied: for those who run the server.
--
-- Row-level security shows a transaction one tenant's rows. These functions run as ragents_search, whose policies here
-- are "all rows", and tell numbers only: no question and no answer of a tenant leaves them. The serving role may call
-- them; that only an admin does is the service's own check, as everywhere else.

CREATE POLICY search_reads_all ON ragents.semantic_answers FOR SELECT TO ragents_search USING (true);
CREATE POLICY search_deletes_all ON ragents.semantic_answers FOR DELETE TO ragents_search USING (true);
GRANT SELECT, DELETE ON ragents.semantic_answers TO ragents_search;

-- Answers that are found now, their bytes, and their mean age in seconds (null without any).
CREATE FUNCTION ragents.semantic_usage_of_all() RETURNS TABLE (entries bigint, bytes bigint, age_s double precision)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*), coalesce(sum(octet_length(a.answer)), 0)::bigint,
           avg(greatest(0, extract(epoch FROM now() - a.created_at)))::double precision
    FROM ragents.semantic_answers a WHERE a.expires_at > now()
$$;

-- How many answers were removed.
CREATE FUNCTION ragents.clear_semantic_answers_of_all() RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone AS (DELETE FROM ragents.semantic_answers RETURNING 1) SELECT count(*) FROM gone
$$;

REVOKE ALL ON FUNCTION ragents.semantic_usage_of_all(), ragents.clear_semantic_answers_of_all() FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA ragents TO ragents_search;
ALTER FUNCTION ragents.semantic_usage_of_all() OWNER TO ragents_search;
ALTER FUNCTION ragents.clear_semantic_answers_of_all() OWNER TO ragents_search;
REVOKE CREATE ON SCHEMA ragents FROM ragents_search;
