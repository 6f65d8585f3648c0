-- Which migrations were applied: a row for each, at least; on every server of a cluster.
CREATE TABLE IF NOT EXISTS $database.$versions $on_cluster
(
    version    String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = $merge_tree_everywhere
ORDER BY version;
