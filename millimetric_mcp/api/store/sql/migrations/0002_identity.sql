-- Which store this is, by whatever address it is reached; the same on every server of a cluster.
CREATE TABLE IF NOT EXISTS $database.identity $on_cluster
(
    id String
)
ENGINE = $merge_tree_everywhere
ORDER BY id
SETTINGS
    fsync_after_insert = $fsync,
    fsync_part_directory = $fsync;

-- The table's own UUID, so that processes that start at once all write the same id. A server that
-- joins a cluster has a table with another UUID, and takes the id that exists.
INSERT INTO $database.identity
SELECT toString(uuid)
FROM system.tables
WHERE database = '$database' AND name = 'identity'
    AND (SELECT count() FROM $all_identities) = 0;
