-- Which kind of key sent an event, and whether a bot's request did. Older events count as people's.
ALTER TABLE $database.$local $on_cluster
ADD COLUMN IF NOT EXISTS key_kind LowCardinality(String) CODEC(ZSTD(1)),
ADD COLUMN IF NOT EXISTS is_bot UInt8 CODEC(ZSTD(1));
