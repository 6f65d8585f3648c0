-- How many of a project's events are from days before the first one kept.
SELECT count()
FROM events
WHERE project_id = {project_id:UInt64} AND toDate(timestamp) < {first_day:Date};

-- Deletes users' events that arrived before each user's cutoff. The engine keeps the statement on
-- disk, so it has salted hashes and no ids; delete_mutation_record.sql removes these too.
-- A user is a project and a hash. Users of all projects are deleted at once, since each wait for
-- files to be deleted takes seconds.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
DELETE WHERE project_id IN {project_ids:Array(UInt64)}
    AND user_id != ''
    AND received_at <= fromUnixTimestamp64Micro(
        transform(
            concat(toString(project_id), ' ', hex(SHA256(concat(unhex({salt:String}), user_id)))),
            {users:Array(String)}, {cutoffs_us:Array(Int64)}, toInt64(-1)
        ),
        'UTC'
    )
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600;

-- The store's own clock, microseconds since 1970.
SELECT toUnixTimestamp64Micro(now64(6, 'UTC'));

-- Data parts that were replaced and are not deleted yet.
SELECT concat(hostName(), ' ', name)
FROM clusterAllReplicas('analytics', system.parts)
WHERE database = 'millimetric' AND table = 'events_local' AND NOT active;

-- Deletes a project's events from days before the first one kept.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
DELETE WHERE project_id = {project_id:UInt64} AND toDate(timestamp) < {first_day:Date}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600;

-- How many shards the cluster has.
SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {cluster:String};

-- Whether each write is flushed to disk before it is acknowledged, for a table that has the other
-- setting.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
MODIFY SETTING
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1;
