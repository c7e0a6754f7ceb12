-- After pg_restore of a dump whose schemas belong to a superuser, as the embedded Postgres' do: gives them, and what is in
-- them, to the role that migrates. What belongs to another role (the search functions to ragents_search) stays with it,
-- and so does what an extension made. As a superuser, in the database that was restored into, as often as one likes:
--   psql -d ragents -f deploy/postgres/hand_over.sql                # -v owner=NAME for another role than ragents_owner
\set ON_ERROR_STOP on
\if :{?owner}
\else
  \set owner ragents_owner
\endif
BEGIN;
SELECT format('ALTER SCHEMA %I OWNER TO %I', n.nspname, :'owner')
FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner AND r.rolsuper
WHERE n.nspname IN ('ragents', 'ragents_threads', 'ragents_vectors') \gexec
-- Their indexes, row types and identity sequences go with tables.
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'owner')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner AND r.rolsuper
WHERE n.nspname IN ('ragents', 'ragents_threads', 'ragents_vectors') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
\gexec
SELECT format('ALTER SEQUENCE %s OWNER TO %I', c.oid::regclass, :'owner')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner AND r.rolsuper
WHERE n.nspname IN ('ragents', 'ragents_threads', 'ragents_vectors') AND c.relkind = 'S'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
\gexec
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, :'owner')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner AND r.rolsuper
WHERE n.nspname IN ('ragents', 'ragents_threads', 'ragents_vectors')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
\gexec
-- Types made by name; those of tables, arrays and multiranges go with what they are of.
SELECT format('ALTER TYPE %s OWNER TO %I', t.oid::regtype, :'owner')
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_roles r ON r.oid = t.typowner AND r.rolsuper
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE n.nspname IN ('ragents', 'ragents_threads', 'ragents_vectors')
    AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
\gexec
COMMIT;
