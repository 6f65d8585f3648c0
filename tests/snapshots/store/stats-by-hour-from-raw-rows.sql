-- GET /v1/stats from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z interval=hour group_by=path
-- project_id = 7
-- v0 = 1777626000000
-- v1 = 1780272000000
-- limit = 101

-- One metric, by columns and by bucket of time.
SELECT
    bucket,
    path,
    sum(part_events) AS value
FROM
(
SELECT
    toStartOfHour(timestamp) AS bucket,
    path AS path,
    count() AS part_events
FROM
(
SELECT *
FROM
(
SELECT
    path,
    timestamp
FROM events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v0:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
)
)
GROUP BY ALL
)
GROUP BY bucket, path
ORDER BY bucket, value DESC, path
LIMIT {limit:UInt32}
