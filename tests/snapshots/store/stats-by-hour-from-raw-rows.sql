-- GET /v1/stats from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z interval=hour group_by=path
-- project_id = 7
-- first_day = 1970-01-01
-- end_day = 1970-01-01
-- head_from_ms = 1777626000000
-- head_to_ms = 1780272000000
-- tail_from_ms = 0
-- tail_to_ms = 0
-- limit = 101

-- One metric, by columns and by bucket of time.
SELECT
    bucket,
    path,
    sum(part_events) AS value
FROM
(
    -- First the window's whole days, read from a projection if one holds the columns; then its two
    -- ends, read from raw rows. Visitors are states of an aggregate function here, so that a visitor
    -- of two days counts once.
    SELECT
        toStartOfHour(timestamp) AS bucket,
        path,
        count() AS part_events
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND toDate(timestamp) >= {first_day:Date} AND toDate(timestamp) < {end_day:Date}
    GROUP BY ALL
    UNION ALL
    SELECT
        toStartOfHour(timestamp) AS bucket,
        path,
        count() AS part_events
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND (
            (timestamp >= fromUnixTimestamp64Milli({head_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({head_to_ms:Int64}, 'UTC'))
            OR (timestamp >= fromUnixTimestamp64Milli({tail_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({tail_to_ms:Int64}, 'UTC'))
        )
    GROUP BY ALL
)
GROUP BY ALL
ORDER BY bucket, value DESC, path
LIMIT {limit:UInt32}
