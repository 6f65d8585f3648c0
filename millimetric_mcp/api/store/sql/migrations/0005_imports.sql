-- Which part of which import brought an event: the import's number, and 32 bits of the part's.
ALTER TABLE $database.$local $on_cluster
ADD COLUMN IF NOT EXISTS import_part UInt64 CODEC(ZSTD(1));
