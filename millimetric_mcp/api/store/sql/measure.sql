-- How large the store is, and what it does now.
SELECT
    (SELECT sum(total_rows) FROM system.tables WHERE database = '$database' AND name = '$local')
        AS store_events,
    (SELECT sum(bytes_on_disk) FROM system.parts WHERE database = '$database' AND active)
        AS store_bytes,
    (SELECT count() FROM system.parts WHERE database = '$database' AND active) AS store_parts,
    (SELECT count() FROM system.merges WHERE database = '$database') AS store_merges,
    (SELECT value FROM system.metrics WHERE metric = 'MemoryTracking') AS store_memory_bytes
