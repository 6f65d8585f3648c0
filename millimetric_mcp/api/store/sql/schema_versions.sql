-- Which migrations were applied: one row or more for each. On every server of a cluster.
CREATE TABLE IF NOT EXISTS $database.$versions $on_cluster
(
    version    String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = $merge_tree_everywhere
ORDER BY version;
