-- The same column in the table of all shards' events.
ALTER TABLE $database.$events $on_cluster
ADD COLUMN IF NOT EXISTS import_part UInt64;
