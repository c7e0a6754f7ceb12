-- The statements of PgAnswers, by name. Each but those over all tenants runs in a transaction that
-- has set ragents.tenant.

-- name: set_tenant
-- $1 tenant
SELECT set_config('ragents.tenant', $1, true);

-- name: nearest
-- $1 tenant, $2 scope, $3 vector as real[], $4 least cosine, $5 limit. See migrations: ragents.nearest_questions
SELECT digest, question, similarity FROM ragents.nearest_questions($1, $2, $3, $4, $5);

-- name: answer
-- $1 tenant, $2 scope, $3 digest; the packed answer and its age in seconds
SELECT answer, greatest(0, extract(epoch FROM now() - created_at))::float8 AS age_s FROM ragents.semantic_answers
WHERE tenant = $1 AND scope = $2 AND digest = $3 AND expires_at > now();

-- name: keep
-- $1 tenant, $2 scope, $3 digest, $4 collection, $5 epoch, $6 question, $7 vector as real[], $8 packed answer, $9 seconds
-- to live, $10 rows of a tenant at most; how many rows were dropped. See migrations: ragents.keep_answer
SELECT ragents.keep_answer($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: clear
-- $1 tenant
WITH gone AS (DELETE FROM ragents.semantic_answers WHERE tenant = $1 RETURNING 1) SELECT count(*) FROM gone;

-- name: usage
-- $1 tenant
SELECT count(*) AS entries, coalesce(sum(octet_length(answer)), 0)::bigint AS bytes,
       avg(greatest(0, extract(epoch FROM now() - created_at)))::float8 AS age_s
FROM ragents.semantic_answers WHERE tenant = $1 AND expires_at > now();

-- name: clear_all
-- Of every tenant: for an admin. See migrations: ragents.clear_semantic_answers_of_all
SELECT ragents.clear_semantic_answers_of_all();

-- name: usage_of_all
-- As usage, over all tenants: for an admin. See migrations: ragents.semantic_usage_of_all
SELECT entries, bytes, age_s FROM ragents.semantic_usage_of_all();
