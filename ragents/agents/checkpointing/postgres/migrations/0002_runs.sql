-- Events of answers while they are written, for readers who come back at another server. Short-lived.

CREATE TABLE ragents_threads.langgraph_runs (
    tenant      text COLLATE "C" NOT NULL,
    run_id      text COLLATE "C" NOT NULL,
    appended_at timestamptz NOT NULL,
    read_at     timestamptz,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id)
) WITH (fillfactor = 70);
CREATE INDEX langgraph_runs_expiry ON ragents_threads.langgraph_runs (tenant, expires_at);

CREATE TABLE ragents_threads.langgraph_events (
    tenant  text COLLATE "C" NOT NULL,
    run_id  text COLLATE "C" NOT NULL,
    number  integer NOT NULL,
    name    text NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (tenant, run_id, number),
    FOREIGN KEY (tenant, run_id) REFERENCES ragents_threads.langgraph_runs (tenant, run_id) ON DELETE CASCADE
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['runs', 'events'] LOOP
        EXECUTE format('ALTER TABLE ragents_threads.langgraph_%s ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE ragents_threads.langgraph_%s FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON ragents_threads.langgraph_%s '
                       'USING (tenant = current_setting(''ragents.tenant'', true))', name);
    END LOOP;
END $$;


-- Without entries: the run is alive. Each append also removes some of the tenant's runs that have expired.
CREATE FUNCTION ragents_threads.append_events(
    p_tenant text, p_run text, p_ttl_s float8, p_numbers integer[], p_names text[], p_payloads bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    INSERT INTO ragents_threads.langgraph_runs (tenant, run_id, appended_at, expires_at)
        VALUES (p_tenant, p_run, clock_timestamp(), clock_timestamp() + make_interval(secs => p_ttl_s))
        ON CONFLICT (tenant, run_id) DO UPDATE
            SET appended_at = excluded.appended_at, expires_at = excluded.expires_at;
    INSERT INTO ragents_threads.langgraph_events (tenant, run_id, number, name, payload)
        SELECT p_tenant, p_run, e.* FROM unnest(p_numbers, p_names, p_payloads) e
        ON CONFLICT DO NOTHING;
    DELETE FROM ragents_threads.langgraph_runs r WHERE r.tenant = p_tenant AND r.run_id IN (
        SELECT o.run_id FROM ragents_threads.langgraph_runs o
        WHERE o.tenant = p_tenant AND o.expires_at < clock_timestamp() AND o.run_id <> p_run
        LIMIT 10 FOR UPDATE SKIP LOCKED);
END $$;


-- One row without a number when there is nothing new; none for a run that is not there.
CREATE FUNCTION ragents_threads.read_events(
    p_tenant text, p_run text, p_after integer, p_limit integer,
    OUT silent_s float8, OUT number integer, OUT name text, OUT payload bytea
) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    UPDATE ragents_threads.langgraph_runs r SET read_at = clock_timestamp()
        WHERE r.tenant = p_tenant AND r.run_id = p_run AND r.expires_at >= clock_timestamp();
    RETURN QUERY
        SELECT extract(epoch FROM clock_timestamp() - r.appended_at)::float8, e.number, e.name, e.payload
        FROM ragents_threads.langgraph_runs r
        LEFT JOIN ragents_threads.langgraph_events e
            ON e.tenant = r.tenant AND e.run_id = r.run_id AND e.number > p_after
        WHERE r.tenant = p_tenant AND r.run_id = p_run AND r.expires_at >= clock_timestamp()
        ORDER BY e.number LIMIT p_limit;
END $$;


CREATE FUNCTION ragents_threads.unread_s(p_tenant text, p_run text) RETURNS float8 LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    RETURN (SELECT extract(epoch FROM clock_timestamp() - r.read_at)::float8 FROM ragents_threads.langgraph_runs r
            WHERE r.tenant = p_tenant AND r.run_id = p_run);
END $$;
