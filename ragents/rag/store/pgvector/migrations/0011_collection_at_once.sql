-- The state of one collection in one round trip: it is asked before each look-up in the caches.

-- It sees what the caller's role may see under row-level security, and states the tenant besides.
CREATE FUNCTION ragents.collection_at_once(p_tenant text, p_name text)
RETURNS TABLE (name text, documents bigint, chunks bigint, embedding_model text, dimension integer, epoch bigint)
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_catalog.set_config('ragents.tenant', p_tenant, true);
    RETURN QUERY SELECT c.name, c.documents, c.chunks, c.embedding_model, c.dimension, c.epoch
    FROM ragents.collections c WHERE c.tenant = p_tenant AND c.name = p_name;
END
$$;
