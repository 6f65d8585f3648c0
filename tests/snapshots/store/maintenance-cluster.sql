-- How many of a project's events are from days before the first one kept.
SELECT count()
FROM events
WHERE project_id = {project_id:UInt64} AND toDate(timestamp) < {first_day:Date};

-- The visitors that were tied to a user and to no other, as salted hashes. An event with both ids
-- ties them.
SELECT hex(SHA256(concat(unhex({salt:String}), anonymous_id)))
FROM events
WHERE project_id = {project_id:UInt64}
    AND user_id != ''
    AND anonymous_id GLOBAL IN
    (
        SELECT anonymous_id
        FROM events
        WHERE project_id = {project_id:UInt64}
            AND user_id != ''
            AND hex(SHA256(concat(unhex({salt:String}), user_id))) = {user_hash:String}
            AND received_at <= fromUnixTimestamp64Micro({cutoff_us:Int64}, 'UTC')
    )
GROUP BY anonymous_id
HAVING uniqExact(user_id) = 1;

-- How many events a project has.
SELECT count()
FROM events
WHERE project_id = {project_id:UInt64};

-- Deletes every event of a project.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
DELETE WHERE project_id = {project_id:UInt64}
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

-- A project's names since a time: of each kind those that only browser keys sent, then those of most events.
SELECT kind, name, medium, is_of_browsers
FROM
(
    SELECT
        'event names' AS kind, event_name AS name, '' AS medium,
        countIf(key_kind != 'pk') = 0 AS is_of_browsers
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND timestamp >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND event_name NOT IN {except_events:Array(String)}
    GROUP BY event_name
    ORDER BY is_of_browsers DESC, count() DESC
    LIMIT {limit:UInt64}
    UNION ALL
    SELECT
        'sources' AS kind, source AS name, medium,
        countIf(key_kind != 'pk') = 0 AS is_of_browsers
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND timestamp >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND source_rule_id IN {source_rules:Array(String)}
    GROUP BY source, medium
    ORDER BY is_of_browsers DESC, count() DESC
    LIMIT {limit:UInt64}
    UNION ALL
    SELECT
        'campaigns' AS kind, campaign AS name, '' AS medium,
        countIf(key_kind != 'pk') = 0 AS is_of_browsers
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND timestamp >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND campaign != ''
    GROUP BY campaign
    ORDER BY is_of_browsers DESC, count() DESC
    LIMIT {limit:UInt64}
);

-- How many events delete_people.sql deletes in each project.
SELECT project_id, count()
FROM events
WHERE project_id IN {project_ids:Array(UInt64)}
    AND user_id != ''
    AND received_at <= fromUnixTimestamp64Micro(
        transform(
            concat(toString(project_id), ' ', hex(SHA256(concat(unhex({salt:String}), user_id)))),
            {ids:Array(String)}, {cutoffs_us:Array(Int64)}, toInt64(-1)
        ),
        'UTC'
    )
GROUP BY project_id;

-- Deletes events of users or visitors that arrived before each one's cutoff. The engine keeps the
-- statement on disk, so it has salted hashes and no ids; delete_mutation_record.sql removes these
-- too. All projects' ids are deleted at once, since each wait for files to be deleted takes seconds.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
DELETE WHERE project_id IN {project_ids:Array(UInt64)}
    AND anonymous_id != ''
    AND received_at <= fromUnixTimestamp64Micro(
        transform(
            concat(toString(project_id), ' ', hex(SHA256(concat(unhex({salt:String}), anonymous_id)))),
            {ids:Array(String)}, {cutoffs_us:Array(Int64)}, toInt64(-1)
        ),
        'UTC'
    )
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600;

-- Whether each write is flushed to disk before it is acknowledged, for a table that has the other
-- setting.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
MODIFY SETTING
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1;
