-- The statements of PostgresKeys and PostgresAudit, by name. Each transaction sets ragents.tenant or ragents.key_id first.

-- name: set_tenant
-- $1 tenant
SELECT set_config('ragents.tenant', $1, true);

-- name: set_key
-- $1 id of a key
SELECT set_config('ragents.key_id', $1, true);

-- name: made
SELECT made > 0 FROM ragents.keys_made;

-- name: count_made
UPDATE ragents.keys_made SET made = made + 1;

-- name: make_tenant
-- $1 tenant
INSERT INTO ragents.tenants (name) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: find
-- $1 id
SELECT * FROM ragents.api_keys WHERE id = $1;

-- name: create
-- $1 id, $2 tenant, $3 user, $4 role, $5 note, $6 hash, $7 priority, $8 limits, $9 weight, $10 when it expires
INSERT INTO ragents.api_keys
    (id, tenant, user_name, role, note, secret_hash, max_priority, limits, weight, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING *;

-- name: list
-- $1 tenant
SELECT * FROM ragents.api_keys WHERE tenant = $1 ORDER BY created_at, id;

-- name: revoke
-- $1 tenant, $2 id; a key that was revoked stays as it is
UPDATE ragents.api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant = $1 AND id = $2 RETURNING *;

-- name: expire
-- $1 tenant, $2 id, $3 interval; never later than it was to expire; nothing for a key that has ended, also while this waited
UPDATE ragents.api_keys SET expires_at = least(expires_at, now() + $3::interval)
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
RETURNING *;

-- name: successor
-- $1 tenant, $2 id; the newest key that rotating it has made and that is in force
SELECT k.id
FROM ragents.audit_log AS a JOIN ragents.api_keys AS k ON k.tenant = a.tenant AND k.id = a.details->>'new'
WHERE a.tenant = $1 AND a.action = 'keys.rotate' AND a.target = $2
    AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
ORDER BY a.id DESC LIMIT 1;

-- name: audit
-- $1 tenant, $2 actor, $3 action, $4 target, $5 details, $6 request id
INSERT INTO ragents.audit_log (tenant, actor, action, target, details, request_id) VALUES ($1, $2, $3, $4, $5, $6);
