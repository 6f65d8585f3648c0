-- The database, on every server.
CREATE DATABASE IF NOT EXISTS millimetric ON CLUSTER 'analytics';

-- Which migrations were applied: one row or more for each. On every server of a cluster.
CREATE TABLE IF NOT EXISTS millimetric.schema_versions ON CLUSTER 'analytics'
(
    version    String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')
ORDER BY version;

-- Events, one row each; an empty string is an absent value.
-- Partitioned by the month of arrival, so that an insert is one part and thus whole or absent.
CREATE TABLE IF NOT EXISTS millimetric.events_local ON CLUSTER 'analytics'
(
    project_id        UInt64 CODEC(ZSTD(1)),
    timestamp         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at       DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    event_name        LowCardinality(String) CODEC(ZSTD(1)),
    event_id          String CODEC(ZSTD(3)),
    anonymous_id      String CODEC(ZSTD(3)),
    user_id           String CODEC(ZSTD(3)),
    session_id        String CODEC(ZSTD(3)),
    source            LowCardinality(String) CODEC(ZSTD(1)),
    medium            LowCardinality(String) CODEC(ZSTD(1)),
    campaign          LowCardinality(String) CODEC(ZSTD(1)),
    source_confidence LowCardinality(String) CODEC(ZSTD(1)),
    source_rule_id    LowCardinality(String) CODEC(ZSTD(1)),
    referrer          String CODEC(ZSTD(3)),
    url               String CODEC(ZSTD(3)),
    path              String CODEC(ZSTD(3)),
    country           LowCardinality(String) CODEC(ZSTD(1)),
    device_type       LowCardinality(String) CODEC(ZSTD(1)),
    browser           LowCardinality(String) CODEC(ZSTD(1)),
    os                LowCardinality(String) CODEC(ZSTD(1)),
    properties        String CODEC(ZSTD(3)),
    ip_hash           UInt128 CODEC(ZSTD(1)),

    PROJECTION by_source
    (
        SELECT
            project_id, toDate(timestamp), source, medium,
            count(), uniqCombinedState(14)(anonymous_id)
        GROUP BY project_id, toDate(timestamp), source, medium
    ),
    PROJECTION by_event_and_source
    (
        SELECT
            project_id, toDate(timestamp), event_name, source, medium,
            count(), uniqCombinedState(14)(anonymous_id)
        GROUP BY project_id, toDate(timestamp), event_name, source, medium
    ),
    PROJECTION by_event_and_country
    (
        SELECT
            project_id, toDate(timestamp), event_name, country,
            count(), uniqCombinedState(14)(anonymous_id)
        GROUP BY project_id, toDate(timestamp), event_name, country
    )
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(received_at)
ORDER BY (project_id, toStartOfHour(timestamp), anonymous_id, timestamp)
SETTINGS
    old_parts_lifetime = 5,
    cleanup_delay_period = 2,
    cleanup_delay_period_random_add = 1,
    max_cleanup_delay_period = 5,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1;

-- All shards' events under one name. The API's writes name their shard; the random key is for
-- what people write by hand.
CREATE TABLE IF NOT EXISTS millimetric.events ON CLUSTER 'analytics' AS millimetric.events_local
ENGINE = Distributed('analytics', 'millimetric', 'events_local', rand());

-- Which store this is, by whatever address it is reached; the same on every server of a cluster.
CREATE TABLE IF NOT EXISTS millimetric.identity ON CLUSTER 'analytics'
(
    id String
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')
ORDER BY id
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- The table's own UUID, so that processes that start at once all write the same id. A server that
-- joins a cluster has a table with another UUID, and takes the id that exists.
INSERT INTO millimetric.identity
SELECT toString(uuid)
FROM system.tables
WHERE database = 'millimetric' AND name = 'identity'
    AND (SELECT count() FROM clusterAllReplicas('analytics', millimetric.identity)) = 0;

-- Outdated files are deleted within about 3 seconds, not 15: a deletion waits for that. A replica
-- looks for them a little later than another one.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
MODIFY SETTING
    old_parts_lifetime = 1,
    cleanup_delay_period = 1,
    max_cleanup_delay_period = 1;

-- Which kind of key sent an event, and whether a bot's request did. Older events count as people's.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS key_kind LowCardinality(String) CODEC(ZSTD(1)),
ADD COLUMN IF NOT EXISTS is_bot UInt8 CODEC(ZSTD(1));

-- The same columns in the table of all shards' events.
ALTER TABLE millimetric.events ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS key_kind LowCardinality(String),
ADD COLUMN IF NOT EXISTS is_bot UInt8;

-- Which part of which import brought an event: the import's number, and 32 bits of the part's.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS import_part UInt64 CODEC(ZSTD(1));

-- The same column in the table of all shards' events.
ALTER TABLE millimetric.events ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS import_part UInt64;
