-- Threads of LangGraph programs: checkpoints, the writes of their tasks, and values that checkpoints share.
--
-- What comes at the same time from one process is stored by one call of `store`.
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
    parent_id     text COLLATE "C",   -- which may have been trimmed
    run_id        text COLLATE "C",
    metadata      jsonb NOT NULL,
    large         text[],   -- keys of langgraph_blobs: version/channel
    snapshots     text[],   -- delta channels whose value is stored here in full
    payload       bytea NOT NULL,
    PRIMARY KEY (tenant, thread_id, checkpoint_ns, checkpoint_id)
);
ALTER TABLE ragents_threads.langgraph_checkpoints ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX langgraph_checkpoints_run ON ragents_threads.langgraph_checkpoints (tenant, run_id)
    WHERE run_id IS NOT NULL;

-- All writes of a task in one row, ascending. A record: the write's number + 2^31 as four bytes, big-endian, then what
-- the program alone reads.
CREATE TABLE ragents_threads.langgraph_writes (
    tenant        text COLLATE "C" NOT NULL,
    thread_id     text COLLATE "C" NOT NULL,
    checkpoint_ns text COLLATE "C" NOT NULL,
    checkpoint_id text COLLATE "C" NOT NULL,
    task_id       text COLLATE "C" NOT NULL,
    records       bytea[] NOT NULL,
    PRIMARY KEY (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id)
);
ALTER TABLE ragents_threads.langgraph_writes ALTER COLUMN records SET STORAGE EXTERNAL;

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


-- Raises RA001 unless each of these threads is held under its fence. The locks keep them from being taken before this
-- write is done.
CREATE FUNCTION ragents_threads.check_fences(p_tenant text, p_threads text[], p_fences bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n integer;
BEGIN
    FOR n IN 1 .. cardinality(p_threads) LOOP
        PERFORM FROM ragents_threads.langgraph_threads t
            WHERE t.tenant = p_tenant AND t.thread_id = p_threads[n] AND t.fence = p_fences[n] FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the thread is not held under %', p_fences[n] USING ERRCODE = 'RA001';
        END IF;
    END LOOP;
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


-- Two lists of writes of a task as one: the first write of a number stays, those below zero overwrite.
CREATE FUNCTION ragents_threads.merged(p_old bytea[], p_new bytea[]) RETURNS bytea[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(m.record ORDER BY m.number) FROM (
        SELECT DISTINCT ON (e.number) e.number, e.record FROM (
            SELECT substr(o, 1, 4) AS number, o AS record, 1 AS place FROM unnest(p_old) o
            UNION ALL
            SELECT substr(n, 1, 4), n, CASE WHEN get_byte(n, 0) < 128 THEN 0 ELSE 2 END FROM unnest(p_new) n
        ) e ORDER BY e.number, e.place
    ) m
$$;


-- Store checkpoints (c_) with their large values (b_), and writes of tasks (w_), of one tenant: all or nothing.
--
-- p_threads  ascending, so that locks are taken in the same order everywhere; p_locks: '' for none, 's' shared, 'x'
-- p_fenced   threads that must be held under p_fences: RA001 when one is not. NULL for none.
-- p_ttl_s    NULL where threads do not expire
-- b_payloads NULL for a value that should be there already: RA002 when it is not
-- c_large, c_snapshots  as the text of an array, or NULL
-- c_keep     trim the namespace to so many checkpoints; NULL: not now
-- w_first, w_last       places of the task's writes in w_records
--
-- An existing checkpoint is replaced. Something that comes twice in one call is refused by Postgres (21000).
-- One plan for always: Postgres would plan each statement anew for arrays as short as these.
CREATE FUNCTION ragents_threads.store(
    p_tenant text, p_ttl_s float8, p_threads text[], p_locks text[], p_fenced text[], p_fences bigint[],
    b_threads text[], b_spaces text[], b_keys text[], b_payloads bytea[],
    c_threads text[], c_spaces text[], c_ids text[], c_parents text[], c_runs text[], c_metadata text[],
    c_large text[], c_snapshots text[], c_payloads bytea[], c_keep integer[],
    w_threads text[], w_spaces text[], w_ids text[], w_tasks text[], w_first integer[], w_last integer[],
    w_records bytea[]
) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    replaced text[];
    thread text;
BEGIN
    PERFORM set_config('ragents.tenant', p_tenant, true);
    -- Exclusive from the start where it will be needed: two that hold it shared could not both get it. Before the rows
    -- of langgraph_threads, as in delete_thread.
    IF p_locks IS NOT NULL THEN
        PERFORM CASE u.lock
                WHEN 'x' THEN pg_advisory_xact_lock(ragents_threads.lock_number(p_tenant, u.thread))
                WHEN 's' THEN pg_advisory_xact_lock_shared(ragents_threads.lock_number(p_tenant, u.thread))
            END FROM unnest(p_threads, p_locks) AS u (thread, lock);
    END IF;
    IF p_fenced IS NOT NULL THEN
        PERFORM ragents_threads.check_fences(p_tenant, p_fenced, p_fences);
    END IF;
    IF p_ttl_s IS NOT NULL THEN
        PERFORM ragents_threads.touch(p_tenant, u.thread, p_ttl_s) FROM unnest(p_threads) AS u (thread);
    END IF;
    IF b_keys IS NOT NULL THEN
        -- Subqueries with a whole key each: a join may read all values of a thread.
        PERFORM FROM unnest(b_threads, b_spaces, b_keys, b_payloads) AS u (thread, space, key, payload)
            WHERE u.payload IS NULL AND (
                SELECT true FROM ragents_threads.langgraph_blobs b
                WHERE b.tenant = p_tenant AND b.thread_id = u.thread AND b.checkpoint_ns = u.space
                    AND b.key = u.key) IS NULL;
        IF FOUND THEN
            RAISE EXCEPTION 'a large value is not there' USING ERRCODE = 'RA002';
        END IF;
        INSERT INTO ragents_threads.langgraph_blobs (tenant, thread_id, checkpoint_ns, key, payload)
            SELECT p_tenant, u.thread, u.space, u.key, u.payload
            FROM unnest(b_threads, b_spaces, b_keys, b_payloads) AS u (thread, space, key, payload)
            WHERE u.payload IS NOT NULL
            ON CONFLICT DO NOTHING;
    END IF;
    IF c_ids IS NOT NULL THEN
        WITH stored AS (
            INSERT INTO ragents_threads.langgraph_checkpoints AS c
                (tenant, thread_id, checkpoint_ns, checkpoint_id, parent_id, run_id, metadata, large, snapshots,
                 payload)
                SELECT p_tenant, u.thread, u.space, u.id, u.parent, u.run, u.metadata::jsonb, u.large::text[],
                    u.snapshots::text[], u.payload
                FROM unnest(c_threads, c_spaces, c_ids, c_parents, c_runs, c_metadata, c_large, c_snapshots,
                            c_payloads)
                    AS u (thread, space, id, parent, run, metadata, large, snapshots, payload)
                ON CONFLICT (tenant, thread_id, checkpoint_ns, checkpoint_id) DO UPDATE SET
                    parent_id = excluded.parent_id, run_id = excluded.run_id, metadata = excluded.metadata,
                    large = excluded.large, snapshots = excluded.snapshots, payload = excluded.payload
                RETURNING c.thread_id, c.xmax <> 0 AS replaced
        )
        SELECT array_agg(DISTINCT s.thread_id) INTO replaced FROM stored s WHERE s.replaced;
        FOREACH thread IN ARRAY coalesce(replaced, '{}') LOOP
            IF pg_try_advisory_xact_lock(ragents_threads.lock_number(p_tenant, thread)) THEN
                PERFORM ragents_threads.forget_blobs(p_tenant, thread);
            END IF;
        END LOOP;
    END IF;
    IF w_ids IS NOT NULL THEN
        INSERT INTO ragents_threads.langgraph_writes AS w
            (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id, records)
            SELECT p_tenant, u.thread, u.space, u.id, u.task, w_records[u.first : u.last]
            FROM unnest(w_threads, w_spaces, w_ids, w_tasks, w_first, w_last)
                AS u (thread, space, id, task, first, last)
            ON CONFLICT (tenant, thread_id, checkpoint_ns, checkpoint_id, task_id) DO UPDATE SET
                records = ragents_threads.merged(w.records, excluded.records);
    END IF;
    IF c_keep IS NOT NULL THEN
        PERFORM ragents_threads.trim(p_tenant, u.thread, u.space, u.keep)
            FROM unnest(c_threads, c_spaces, c_keep) AS u (thread, space, keep) WHERE u.keep IS NOT NULL;
    END IF;
END $$;


-- Checkpoints with everything that belongs to them. tasks and records: of each write its task and its record.
CREATE TYPE ragents_threads.whole_checkpoint AS (
    thread_id text, checkpoint_ns text, checkpoint_id text, parent_id text, metadata jsonb, payload bytea,
    large text[], blobs bytea[], snapshots text[], tasks text[], records bytea[]
);


-- Subqueries with a whole key each: a join may read all values of a thread.
CREATE FUNCTION ragents_threads.whole(c ragents_threads.langgraph_checkpoints)
RETURNS SETOF ragents_threads.whole_checkpoint LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id,
        (SELECT p.checkpoint_id FROM ragents_threads.langgraph_checkpoints p
            WHERE p.tenant = c.tenant AND p.thread_id = c.thread_id AND p.checkpoint_ns = c.checkpoint_ns
                AND p.checkpoint_id = c.parent_id),
        c.metadata, c.payload, c.large,
        ARRAY(SELECT (SELECT b.payload FROM ragents_threads.langgraph_blobs b
                WHERE b.tenant = c.tenant AND b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
                    AND b.key = u.key)
            FROM unnest(c.large) WITH ORDINALITY AS u (key, n) ORDER BY u.n),
        c.snapshots, w.tasks, w.records
    FROM (
        SELECT array_agg(w.task_id) AS tasks, array_agg(r.record) AS records
        FROM ragents_threads.langgraph_writes w, unnest(w.records) AS r (record)
        WHERE w.tenant = c.tenant AND w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns
            AND w.checkpoint_id = c.checkpoint_id
    ) w
$$;


-- One checkpoint; the newest of the namespace when p_id is NULL. Two queries: each has one plan that fits always, and
-- keeping it halves the CPU time of a read.
-- p_ttl_s: NULL where threads do not expire; else reading is a use.
CREATE FUNCTION ragents_threads.get_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text, p_ttl_s float8)
RETURNS SETOF ragents_threads.whole_checkpoint
LANGUAGE plpgsql ROWS 1 SET plan_cache_mode = force_generic_plan AS $$
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
    WHERE b.tenant = p_tenant AND b.thread_id = p_thread AND (b.checkpoint_ns, b.key) NOT IN (
        SELECT c.checkpoint_ns, u.key FROM ragents_threads.langgraph_checkpoints c, unnest(c.large) AS u (key)
        WHERE c.tenant = p_tenant AND c.thread_id = p_thread)
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
        -- A thread that somebody writes to now is not waited for: two that hold several locks may wait for each other.
        IF pg_try_advisory_xact_lock(ragents_threads.lock_number(expired.tenant, expired.thread_id)) THEN
            PERFORM ragents_threads.delete_thread(expired.tenant, expired.thread_id);
        END IF;
        swept := swept + 1;
    END LOOP;
    RETURN swept;
END $$;
