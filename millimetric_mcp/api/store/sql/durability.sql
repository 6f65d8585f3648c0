-- Whether each write is flushed to disk before it is acknowledged, for a table that has the other
-- setting.
ALTER TABLE $database.$local $on_cluster
MODIFY SETTING
    fsync_after_insert = $fsync,
    fsync_part_directory = $fsync,
    min_compressed_bytes_to_fsync_after_merge = $fsync
