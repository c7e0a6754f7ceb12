-- Threads of LangGraph programs: checkpoints, the writes of their tasks, and values that checkpoints share.
--
-- Ids are text in the byte order of their characters (COLLATE "C"), as LangGraph compares them, and primary keys lead
-- with the tenant. Row-level security with FORCE lets a role see the rows of the tenant in the setting ragents.tenant;
-- each function sets it for its own transaction. Payloads are compressed before they come here: EXTERNAL keeps
-- Postgres from trying again. No foreign key from writes to checkpoints: writes may come first.

CREATE TABLE ragents_threads.langgraph_checkpoints (
    tenant        text COLLATE "C" NOT NULL,
    thread_id     text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,
    parent_id     text COLLATE "C",
    run_id        text COLLATE "C",
    metadata      jsonb NOT NULL,
    large         text[],   -- keys of langgraph_blobs: version/channel
    snapshots     text[],   -- delta channels whose value is stored here in full
    payload       bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, thread_id, checkpoint_ns, checkpoint_id)
);
ALTER TABLE ragents_threads.langgraph_checkpoints ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX langgraph_checkpoints_run ON ragents_threads.langgraph_checkpoints (tenant, run_id)
    WHERE run_id IS NOT NULL;

CREATE TABLE ragents_threads.langgraph_writes (
    tenant        text COLLATE "C" NOT NULL,
    thread_id     text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,
    task_id       text COLLATE "C" NOT NULL,
    idx           integer NOT NULL,
    task_path     text COLLATE "C" NOT NULL,
    channel       text COLLATE "C" NOT NULL,
    payload       bytea NOT NULL,
    PRIMARY KEY (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
ALTER TABLE ragents_threads.langgraph_writes ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Values of channels that are large: once per version, for all checkpoints that have it.
CREATE TABLE ragents_threads.langgraph_blobs (
    tenant        text COLLATE "C" NOT NULL,
    thread_id     text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    key           text COLLATE "C" NOT NULL,
    payload       bytea NOT NULL,
    PRIMARY KEY (tenant, thread_id, checkpoint_ns, key)
);
ALTER TABLE ragents_threads.langgraph_blobs ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Who holds a thread, and when it expires (where threads do).
CREATE TABLE ragents_threads.langgraph_threads (
    tenant     text COLLATE "C" NOT NULL,
    thread_id  text COLLATE "C" NOT NULL,
    fence      bigint,
    held_until timestamptz,
    expires_at timestamptz,
    PRIMARY KEY (tenant, thread_id)
) WITH (fillfactor = 70);
CREATE INDEX langgraph_threads_expiry ON ragents_threads.langgraph_threads (expires_at) WHERE expires_at IS NOT NULL;
CREATE SEQUENCE ragents_threads.fences;

-- Calls of tools with side effects, so that a step that is replayed does not repeat them. result: null while running.
CREATE TABLE ragents_threads.langgraph_ledger (
    tenant     text COLLATE "C" NOT NULL,
    thread_id  text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    result     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, thread_id, key)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['checkpoints', 'writes', 'blobs', 'ledger'] LOOP
        EXECUTE format('ALTER TABLE ragents_threads.langgraph_%s ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE ragents_threads.langgraph_%s FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON ragents_threads.langgraph_%s '
                       'USING (tenant = current_setting(''ragents.tenant'', true))', name);
    END LOOP;
END $$;
ALTER TABLE ragents_threads.langgraph_threads ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents_threads.langgraph_threads FORCE ROW LEVEL SECURITY;
-- The sweeper finds expired threads of every tenant, and nothing else of them.
CREATE POLICY tenant ON ragents_threads.langgraph_threads
    USING (tenant = current_setting('ragents.tenant', true)
           OR (current_setting('ragents.sweeping', true) = 'on' AND expires_at < clock_timestamp()))
    WITH CHECK (tenant = current_setting('ragents.tenant', true));


-- Raises RA001 unless the thread is held under p_fence. The lock keeps it from being taken before this write is done.
CREATE FUNCTION ragents_threads.check_fence(p_tenant text, p_thread text, p_fence bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM ragents_threads.langgraph_threads t
        WHERE t.tenant = p_tenant AND t.thread_id = p_thread AND t.fence = p_fence FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the thread is not held under %', p_fence USING ERRCODE = 'RA001';
    END IF;
END $$;


-- Everything of a thread but who holds it.
CREATE FUNCTION ragents_threads.erase(p_tenant text, p_thread text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ragents_threads.langgraph_checkpoints t WHERE t.tenant = p_tenant AND t.thread_id = p_thread;
    DELETE FROM ragents_threads.langgraph_writes t WHERE t.tenant = p_tenant AND t.thread_id = p_thread;
    DELETE FROM ragents_threads.langgraph_blobs t WHERE t.tenant = p_tenant AND t.thread_id = p_thread;
    DELETE FROM ragents_threads.langgraph_ledger t WHERE t.tenant = p_tenant AND t.thread_id = p_thread;
END $$;


-- Whether the thread has expired and was not swept yet.
CREATE FUNCTION ragents_threads.expired(p_tenant text, p_thread text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM ragents_threads.langgraph_threads t
        WHERE t.tenant = p_tenant AND t.thread_id = p_thread AND t.expires_at < clock_timestamp());
END $$;


-- The thread was used: it expires p_ttl_s later. Written only when it would move by a tenth. What has expired does not
-- come back to life.
CREATE FUNCTION ragents_threads.touch(p_tenant text, p_thread text, p_ttl_s float8)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF ragents_threads.expired(p_tenant, p_thread) THEN
        PERFORM ragents_threads.erase(p_tenant, p_thread);
    END IF;
    INSERT INTO ragents_threads.langgraph_threads AS t (tenant, thread_id, expires_at)
        VALUES (p_tenant, p_thread, clock_timestamp() + make_interval(secs => p_ttl_s))
        ON CONFLICT (tenant, thread_id) DO UPDATE SET expires_at = excluded.expires_at
        WHERE t.expires_at IS NULL OR t.expires_at < excluded.expires_at - make_interval(secs => p_ttl_s / 10);
END $$;


-- The advisory lock of a thread: shared by puts that refer to stored values, exclusive for what deletes them.
CREATE FUNCTION ragents_threads.lock_number(p_tenant text, p_thread text)
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(p_tenant || chr(1) || p_thread, 7210431)
$$;


-- Store a checkpoint, replacing one of the same id. p_keys and p_blobs: its large values, NULL for those that should be
-- there already. When one of these is not there, nothing is stored: RA002.
-- p_fence, p_ttl_s, p_keep: NULL for none.
CREATE FUNCTION ragents_threads.put_checkpoint(
    p_tenant text, p_thread text, p_ns text, p_id text, p_parent text, p_run text, p_metadata jsonb, p_payload bytea,
    p_keys text[], p_blobs bytea[], p_snapshots text[], p_fence bigint, p_ttl_s float8, p_keep integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    replaced boolean;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    IF p_fence IS NOT NULL THEN
        PERFORM ragents_threads.check_fence(p_tenant, p_thread, p_fence);
    END IF;
    IF p_ttl_s IS NOT NULL THEN
        PERFORM ragents_threads.touch(p_tenant, p_thread, p_ttl_s);
    END IF;
    -- Exclusive from the start where it will be needed: two that hold it shared could not both get it.
    IF p_keep IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(ragents_threads.lock_number(p_tenant, p_thread));
    ELSIF p_keys IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(ragents_threads.lock_number(p_tenant, p_thread));
    END IF;
    IF p_keys IS NOT NULL THEN
        PERFORM FROM unnest(p_keys, p_blobs) AS u (key, blob)
            WHERE u.blob IS NULL AND NOT EXISTS (
                SELECT FROM ragents_threads.langgraph_blobs b
                WHERE b.tenant = p_tenant AND b.thread_id = p_thread AND b.checkpoint_ns = p_ns AND b.key = u.key);
        IF FOUND THEN
            RAISE EXCEPTION 'a large value is not there' USING ERRCODE = 'RA002';
        END IF;
        INSERT INTO ragents_threads.langgraph_blobs (tenant, thread_id, checkpoint_ns, key, payload)
            SELECT p_tenant, p_thread, p_ns, u.key, u.blob FROM unnest(p_keys, p_blobs) AS u (key, blob)
            WHERE u.blob IS NOT NULL
            ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO ragents_threads.langgraph_checkpoints AS c
        (tenant, thread_id, checkpoint_ns, checkpoint_id, parent_id, run_id, metadata, large, snapshots, payload)
        VALUES (p_tenant, p_thread, p_ns, p_id, p_parent, p_run, p_metadata, p_keys, p_snapshots, p_payload)
        ON CONFLICT (tenant, thread_id, checkpoint_ns, checkpoint_id) DO UPDATE SET
            parent_id = excluded.parent_id, run_id = excluded.run_id, metadata = excluded.metadata,
            large = excluded.large, snapshots = excluded.snapshots, payload = excluded.payload
        RETURNING c.xmax <> 0 INTO replaced;
    IF replaced AND pg_try_advisory_xact_lock(ragents_threads.lock_number(p_tenant, p_thread)) THEN
        PERFORM ragents_threads.forget_blobs(p_tenant, p_thread);
    END IF;
    IF p_keep IS NOT NULL THEN
        PERFORM ragents_threads.trim(p_tenant, p_thread, p_ns, p_keep);
    END IF;
END $$;


-- Store the writes of one task. The first write of a place stays; special channels (idx < 0) overwrite.
CREATE FUNCTION ragents_threads.put_writes(
    p_tenant text, p_thread text, p_ns text, p_id text, p_task text, p_path text,
    p_idx integer[], p_channels text[], p_payloads bytea[], p_fence bigint, p_ttl_s float8
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    IF p_fence IS NOT NULL THEN
        PERFORM ragents_threads.check_fence(p_tenant, p_thread, p_fence);
    END IF;
    IF p_ttl_s IS NOT NULL THEN
        PERFORM ragents_threads.touch(p_tenant, p_thread, p_ttl_s);
    END IF;
    INSERT INTO ragents_threads.langgraph_writes AS w
        (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, channel, payload)
        SELECT p_tenant, p_thread, p_ns, p_id, p_task, u.idx, p_path, u.channel, u.payload
            FROM unnest(p_idx, p_channels, p_payloads) AS u (idx, channel, payload) ORDER BY u.idx
        ON CONFLICT (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE SET
            task_path = excluded.task_path, channel = excluded.channel, payload = excluded.payload
        WHERE excluded.idx < 0;
END $$;


-- Checkpoints with everything that belongs to them. Arrays are in the order of langgraph's writes_sort_key.
CREATE TYPE ragents_threads.whole_checkpoint AS (
    thread_id text, checkpoint_ns text, checkpoint_id text, parent_id text, metadata jsonb, payload bytea,
    large text[], blobs bytea[], snapshots text[],
    task_ids text[], task_paths text[], idxs integer[], channels text[], payloads bytea[]
);


CREATE FUNCTION ragents_threads.whole(c ragents_threads.langgraph_checkpoints)
RETURNS SETOF ragents_threads.whole_checkpoint LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_id, c.metadata, c.payload, c.large,
        (SELECT array_agg(b.payload ORDER BY u.n)
            FROM unnest(c.large) WITH ORDINALITY AS u (key, n)
            LEFT JOIN ragents_threads.langgraph_blobs b
                ON b.tenant = c.tenant AND b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
                AND b.key = u.key
            WHERE c.large IS NOT NULL),
        c.snapshots, w.task_ids, w.task_paths, w.idxs, w.channels, w.payloads
    FROM (
        SELECT array_agg(s.task_id) AS task_ids, array_agg(s.task_path) AS task_paths, array_agg(s.idx) AS idxs,
            array_agg(s.channel) AS channels, array_agg(s.payload) AS payloads
        FROM (
            SELECT * FROM ragents_threads.langgraph_writes w
            WHERE w.tenant = c.tenant AND w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns
                AND w.checkpoint_id = c.checkpoint_id
            ORDER BY w.task_path, w.task_id, w.idx
        ) s
    ) w
$$;


-- One checkpoint; the newest of the namespace when p_id is NULL. Two queries: each has one plan that fits always.
-- p_ttl_s: NULL where threads do not expire; else reading is a use.
CREATE FUNCTION ragents_threads.get_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text, p_ttl_s float8)
RETURNS SETOF ragents_threads.whole_checkpoint LANGUAGE plpgsql ROWS 1 AS $$
DECLARE
    chosen ragents_threads.langgraph_checkpoints;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    IF p_ttl_s IS NOT NULL THEN
        IF ragents_threads.expired(p_tenant, p_thread) THEN
            RETURN;
        END IF;
        UPDATE ragents_threads.langgraph_threads t
            SET expires_at = clock_timestamp() + make_interval(secs => p_ttl_s)
            WHERE t.tenant = p_tenant AND t.thread_id = p_thread
                AND t.expires_at < clock_timestamp() + make_interval(secs => p_ttl_s * 0.9);
    END IF;
    IF p_id IS NULL THEN
        SELECT * INTO chosen FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
            ORDER BY c.checkpoint_id DESC LIMIT 1;
    ELSE
        SELECT * INTO chosen FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
                AND c.checkpoint_id = p_id;
    END IF;
    IF FOUND THEN
        RETURN QUERY SELECT x.* FROM ragents_threads.whole(chosen) x;
    END IF;
END $$;


-- A page of checkpoints, newest id first; NULL for no condition. p_after_*: the last row of the page before.
-- p_metadata: each of its keys must be equal; a missing one equals null.
CREATE FUNCTION ragents_threads.list_checkpoints(
    p_tenant text, p_thread text, p_ns text, p_id text, p_metadata jsonb, p_before text,
    p_after_id text, p_after_thread text, p_after_ns text, p_limit integer
) RETURNS SETOF ragents_threads.whole_checkpoint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    RETURN QUERY
        SELECT x.* FROM (
            SELECT c FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant
                AND (p_thread IS NULL OR c.thread_id = p_thread)
                AND (p_ns IS NULL OR c.checkpoint_ns = p_ns)
                AND (p_id IS NULL OR c.checkpoint_id = p_id)
                AND (p_before IS NULL OR c.checkpoint_id < p_before)
                AND (p_after_id IS NULL
                     OR (c.checkpoint_id, c.thread_id, c.checkpoint_ns) < (p_after_id, p_after_thread, p_after_ns))
                AND NOT EXISTS (
                    SELECT FROM ragents_threads.langgraph_threads t
                    WHERE t.tenant = p_tenant AND t.thread_id = c.thread_id AND t.expires_at < clock_timestamp())
                AND NOT EXISTS (
                    SELECT FROM jsonb_each(p_metadata) f
                    WHERE coalesce(c.metadata -> f.key, 'null') <> f.value)
            ORDER BY c.checkpoint_id DESC, c.thread_id DESC, c.checkpoint_ns DESC LIMIT p_limit
        ) chosen, ragents_threads.whole(chosen.c) x
        ORDER BY x.checkpoint_id DESC, x.thread_id DESC, x.checkpoint_ns DESC;
END $$;


-- The next p_limit ancestors of a checkpoint (of the newest one when p_id is NULL), its parent first. A
-- forged chain may be a ring: the caller stops at an id that it has seen.
CREATE FUNCTION ragents_threads.ancestors(p_tenant text, p_thread text, p_ns text, p_id text, p_limit integer)
RETURNS SETOF ragents_threads.whole_checkpoint LANGUAGE plpgsql AS $$
DECLARE
    current_id text := p_id;
    chosen ragents_threads.langgraph_checkpoints;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    FOR n IN 0 .. p_limit LOOP
        SELECT * INTO chosen FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
                AND (current_id IS NULL OR c.checkpoint_id = current_id)
            ORDER BY c.checkpoint_id DESC LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF n > 0 THEN
            RETURN QUERY SELECT x.* FROM ragents_threads.whole(chosen) x;
        END IF;
        EXIT WHEN chosen.parent_id IS NULL;
        current_id := chosen.parent_id;
    END LOOP;
END $$;


-- Ancestors among p_old that the checkpoints p_kept cannot be rebuilt without: a delta channel that has been written
-- since its last snapshot (metadata: counters_since_delta_snapshot) is rebuilt from that snapshot on.
CREATE FUNCTION ragents_threads.needed_ancestors(p_tenant text, p_thread text, p_ns text, p_kept text[])
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    start record;
    seeking text[];
    current_id text;
    seen text[];
    ancestor record;
    needed text[] := '{}';
BEGIN
    FOR start IN
        SELECT c.parent_id, c.metadata -> 'counters_since_delta_snapshot' AS counters
        FROM ragents_threads.langgraph_checkpoints c
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
            AND c.checkpoint_id = ANY (p_kept) AND c.metadata ? 'counters_since_delta_snapshot'
    LOOP
        seeking := ARRAY(SELECT jsonb_object_keys(start.counters));
        current_id := start.parent_id;
        seen := '{}';
        -- A forged chain may be a ring.
        WHILE current_id IS NOT NULL AND cardinality(seeking) > 0 AND current_id <> ALL (seen) LOOP
            seen := seen || current_id;
            SELECT c.parent_id, c.snapshots INTO ancestor FROM ragents_threads.langgraph_checkpoints c
                WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
                    AND c.checkpoint_id = current_id;
            EXIT WHEN NOT FOUND;
            needed := needed || current_id;
            seeking := ARRAY(SELECT unnest(seeking) EXCEPT SELECT unnest(ancestor.snapshots));
            current_id := ancestor.parent_id;
        END LOOP;
    END LOOP;
    RETURN needed;
END $$;


-- Values that no checkpoint of the thread has any more. The caller holds the thread's lock exclusively.
CREATE FUNCTION ragents_threads.forget_blobs(p_tenant text, p_thread text)
RETURNS void LANGUAGE sql AS $$
    DELETE FROM ragents_threads.langgraph_blobs b
    WHERE b.tenant = p_tenant AND b.thread_id = p_thread AND NOT EXISTS (
        SELECT FROM ragents_threads.langgraph_checkpoints c
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = b.checkpoint_ns
            AND c.large @> ARRAY[b.key])
$$;


-- Keep the newest p_keep checkpoints of a namespace and what they need; the number removed. Namespaces of a single
-- subgraph call (they hold a ":") go with the root checkpoint that made the call. The caller holds the thread's lock
-- exclusively.
CREATE FUNCTION ragents_threads.trim(p_tenant text, p_thread text, p_ns text, p_keep integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
    kept text[];
    removed text[];
    calls text[];
BEGIN
    ids := ARRAY(
        SELECT c.checkpoint_id FROM ragents_threads.langgraph_checkpoints c
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
        ORDER BY c.checkpoint_id DESC);
    IF cardinality(ids) <= p_keep THEN
        RETURN 0;
    END IF;
    kept := ids[1 : p_keep];
    kept := kept || ragents_threads.needed_ancestors(p_tenant, p_thread, p_ns, kept);
    removed := ARRAY(SELECT i FROM unnest(ids) i WHERE i <> ALL (kept));
    DELETE FROM ragents_threads.langgraph_checkpoints c
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
            AND c.checkpoint_id = ANY (removed);
    DELETE FROM ragents_threads.langgraph_writes w
        WHERE w.tenant = p_tenant AND w.thread_id = p_thread AND w.checkpoint_ns = p_ns
            AND w.checkpoint_id = ANY (removed);
    UPDATE ragents_threads.langgraph_checkpoints c SET parent_id = NULL
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = p_ns
            AND c.checkpoint_id = ANY (kept) AND c.parent_id = ANY (removed);
    IF p_ns = '' THEN
        calls := ARRAY(
            SELECT DISTINCT c.checkpoint_ns FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns LIKE '%:%'
                AND c.metadata -> 'parents' ->> '' = ANY (removed));
        DELETE FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant AND c.thread_id = p_thread AND c.checkpoint_ns = ANY (calls);
        DELETE FROM ragents_threads.langgraph_writes w
            WHERE w.tenant = p_tenant AND w.thread_id = p_thread AND w.checkpoint_ns = ANY (calls);
    END IF;
    PERFORM ragents_threads.forget_blobs(p_tenant, p_thread);
    RETURN cardinality(removed);
END $$;


-- Everything of a thread: checkpoints, writes, values, the ledger and the lease.
CREATE FUNCTION ragents_threads.delete_thread(p_tenant text, p_thread text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    PERFORM pg_advisory_xact_lock(ragents_threads.lock_number(p_tenant, p_thread));
    PERFORM ragents_threads.erase(p_tenant, p_thread);
    DELETE FROM ragents_threads.langgraph_threads t WHERE t.tenant = p_tenant AND t.thread_id = p_thread;
END $$;


-- Every checkpoint of these runs, with its writes.
CREATE FUNCTION ragents_threads.delete_runs(p_tenant text, p_runs text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    thread text;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    FOR thread IN
        SELECT DISTINCT c.thread_id FROM ragents_threads.langgraph_checkpoints c
        WHERE c.tenant = p_tenant AND c.run_id = ANY (p_runs) ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(ragents_threads.lock_number(p_tenant, thread));
        WITH removed AS (
            DELETE FROM ragents_threads.langgraph_checkpoints c
            WHERE c.tenant = p_tenant AND c.thread_id = thread AND c.run_id = ANY (p_runs)
            RETURNING c.checkpoint_ns, c.checkpoint_id
        )
        DELETE FROM ragents_threads.langgraph_writes w USING removed r
            WHERE w.tenant = p_tenant AND w.thread_id = thread AND w.checkpoint_ns = r.checkpoint_ns
                AND w.checkpoint_id = r.checkpoint_id;
        PERFORM ragents_threads.forget_blobs(p_tenant, thread);
    END LOOP;
END $$;


-- Keep the newest checkpoint of each namespace, and what it needs.
CREATE FUNCTION ragents_threads.prune_thread(p_tenant text, p_thread text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ns text;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    PERFORM pg_advisory_xact_lock(ragents_threads.lock_number(p_tenant, p_thread));
    FOR ns IN
        SELECT DISTINCT c.checkpoint_ns FROM ragents_threads.langgraph_checkpoints c
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread ORDER BY 1
    LOOP
        PERFORM ragents_threads.trim(p_tenant, p_thread, ns, 1);
    END LOOP;
END $$;


-- A fence greater than all before when the thread is free, else NULL.
CREATE FUNCTION ragents_threads.take(p_tenant text, p_thread text, p_lease_s float8, p_ttl_s float8)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    taken bigint;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    IF p_ttl_s IS NOT NULL THEN
        PERFORM ragents_threads.touch(p_tenant, p_thread, p_ttl_s);
    END IF;
    INSERT INTO ragents_threads.langgraph_threads AS t (tenant, thread_id, fence, held_until)
        VALUES (p_tenant, p_thread, nextval('ragents_threads.fences'),
                clock_timestamp() + make_interval(secs => p_lease_s))
        ON CONFLICT (tenant, thread_id) DO UPDATE SET
            fence = nextval('ragents_threads.fences'), held_until = excluded.held_until
        WHERE t.held_until IS NULL OR t.held_until < clock_timestamp()
        RETURNING t.fence INTO taken;
    RETURN taken;
END $$;


-- False when the thread is held under another fence.
CREATE FUNCTION ragents_threads.renew(p_tenant text, p_thread text, p_fence bigint, p_lease_s float8)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    UPDATE ragents_threads.langgraph_threads t
        SET held_until = clock_timestamp() + make_interval(secs => p_lease_s)
        WHERE t.tenant = p_tenant AND t.thread_id = p_thread AND t.fence = p_fence;
    RETURN FOUND;
END $$;


CREATE FUNCTION ragents_threads.release(p_tenant text, p_thread text, p_fence bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    UPDATE ragents_threads.langgraph_threads t SET held_until = NULL, fence = NULL
        WHERE t.tenant = p_tenant AND t.thread_id = p_thread AND t.fence = p_fence;
END $$;


-- Begin a call under a key: state 'new' for the first caller, 'started' while it runs (or crashed), 'done' with result.
CREATE FUNCTION ragents_threads.begin_call(p_tenant text, p_thread text, p_key text, OUT state text, OUT result bytea)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    INSERT INTO ragents_threads.langgraph_ledger (tenant, thread_id, key) VALUES (p_tenant, p_thread, p_key)
        ON CONFLICT DO NOTHING;
    IF FOUND THEN
        state := 'new';
        RETURN;
    END IF;
    SELECT CASE WHEN l.result IS NULL THEN 'started' ELSE 'done' END, l.result INTO state, result
        FROM ragents_threads.langgraph_ledger l
        WHERE l.tenant = p_tenant AND l.thread_id = p_thread AND l.key = p_key;
END $$;


-- The first result stays.
CREATE FUNCTION ragents_threads.finish_call(p_tenant text, p_thread text, p_key text, p_result bytea)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    INSERT INTO ragents_threads.langgraph_ledger AS l (tenant, thread_id, key, result)
        VALUES (p_tenant, p_thread, p_key, p_result)
        ON CONFLICT (tenant, thread_id, key) DO UPDATE SET result = excluded.result WHERE l.result IS NULL;
END $$;


CREATE FUNCTION ragents_threads.forget_calls(p_tenant text, p_thread text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    DELETE FROM ragents_threads.langgraph_ledger l WHERE l.tenant = p_tenant AND l.thread_id = p_thread;
END $$;


-- Delete at most p_limit expired threads of all tenants; how many. One process at a time: NULL for the others.
CREATE FUNCTION ragents_threads.sweep(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    expired record;
    swept integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7210431003) THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('ragents.tenant', '', true), set_config('ragents.sweeping', 'on', true);
    FOR expired IN
        SELECT t.tenant, t.thread_id FROM ragents_threads.langgraph_threads t
        WHERE t.expires_at < clock_timestamp() AND (t.held_until IS NULL OR t.held_until < clock_timestamp())
        ORDER BY t.expires_at LIMIT p_limit
    LOOP
        PERFORM ragents_threads.delete_thread(expired.tenant, expired.thread_id);
        swept := swept + 1;
    END LOOP;
    RETURN swept;
END $$;
