-- API keys, and the log of what admins did.
--
-- A key's secret is not stored: secret_hash is its SHA-256. The secrets are 256 random bits, which no dictionary holds,
-- so a slow hash would protect nothing and cost every request. The id is the public part of the key.
--
-- Whose a key is, is not known before it is looked up: a transaction that names the id in ragents.key_id sees that row,
-- and no other of another tenant. The role that serves reads keys and cannot make any: that is the migrating role's.

CREATE TABLE ragents.api_keys (
    id           text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{12}$'),
    tenant       text NOT NULL REFERENCES ragents.tenants (name),
    user_name    text NOT NULL,
    role         text NOT NULL CHECK (role IN ('user', 'admin')),
    note         text NOT NULL DEFAULT '',
    secret_hash  bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    max_priority text NOT NULL CHECK (max_priority IN ('CRITICAL', 'HIGH', 'NORMAL', 'LOW')),
    limits       jsonb NOT NULL DEFAULT '{}',  -- what differs from the settings of rate_limit
    weight       double precision NOT NULL DEFAULT 1 CHECK (weight > 0 AND weight <= 1000),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_tenant ON ragents.api_keys (tenant, created_at);

-- Whether there was ever a key, of any tenant: without one the server answers its own machine.
CREATE TABLE ragents.keys_made (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    made bigint NOT NULL DEFAULT 0
);
INSERT INTO ragents.keys_made DEFAULT VALUES;

-- Only added to.
CREATE TABLE ragents.audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    tenant     text NOT NULL,
    actor      text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL,
    details    jsonb NOT NULL DEFAULT '{}',
    request_id text
);
CREATE INDEX audit_log_tenant ON ragents.audit_log (tenant, at);

ALTER TABLE ragents.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.api_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE ragents.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.audit_log FORCE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON ragents.api_keys USING (tenant = current_setting('ragents.tenant', true));
CREATE POLICY by_id ON ragents.api_keys FOR SELECT USING (id = current_setting('ragents.key_id', true));
CREATE POLICY own_tenant ON ragents.audit_log USING (tenant = current_setting('ragents.tenant', true));
