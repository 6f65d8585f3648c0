-- The same columns in the table of all shards' events.
ALTER TABLE $database.$events $on_cluster
ADD COLUMN IF NOT EXISTS visitor UInt64 MATERIALIZED cityHash64(anonymous_id),
ADD COLUMN IF NOT EXISTS person_role UInt8 MATERIALIZED 0;
