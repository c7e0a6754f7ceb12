-- Once, when the volume is empty, as the superuser, in the database ragents.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv backup_password BACKUP_PASSWORD
CREATE EXTENSION IF NOT EXISTS vector;
-- Owns the schema; the migration makes the role that serves, with the password of RAGENTS_STORE__DSN. No superuser.
CREATE ROLE ragents_owner LOGIN CREATEROLE PASSWORD :'owner_password';
SELECT format('ALTER DATABASE %I OWNER TO ragents_owner', current_database()) \gexec
-- Reads everything, also behind row-level security, and changes nothing.
CREATE ROLE ragents_backup LOGIN BYPASSRLS PASSWORD :'backup_password';
GRANT pg_read_all_data TO ragents_backup;
