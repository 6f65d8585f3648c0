-- How many shards need the writer to write to each of their replicas.
SELECT count()
FROM
(
    SELECT shard_num
    FROM system.clusters
    WHERE cluster = {cluster:String}
    GROUP BY shard_num
    HAVING count() > 1 AND max(internal_replication) = 0
)
