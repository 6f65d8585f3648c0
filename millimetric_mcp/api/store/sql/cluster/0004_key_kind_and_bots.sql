-- The same columns in the table of all shards' events.
ALTER TABLE $database.$events $on_cluster
ADD COLUMN IF NOT EXISTS key_kind LowCardinality(String),
ADD COLUMN IF NOT EXISTS is_bot UInt8;
