-- Which migrations were applied: a row for each, at least.
CREATE TABLE IF NOT EXISTS $versions $on_cluster
(
    version    String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = $merge_tree
ORDER BY version;
