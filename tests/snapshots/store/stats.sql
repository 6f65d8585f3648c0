-- GET /v1/stats from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z
-- project_id = 7
-- first_day = 2026-05-02
-- end_day = 2026-06-01
-- head_from_ms = 1777626000000
-- head_to_ms = 1777680000000
-- tail_from_ms = 1780272000000
-- tail_to_ms = 1780272000000
-- limit = 101

-- One metric, by columns and by bucket of time.
SELECT
    sum(part_events) AS value
FROM
(
    -- First the window's whole days, read from a projection if one holds the columns; then its two
    -- ends, read from raw rows. Visitors are states of an aggregate function here, so that a visitor
    -- of two days counts once.
    SELECT
        count() AS part_events
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND toDate(timestamp) >= {first_day:Date} AND toDate(timestamp) < {end_day:Date}
    GROUP BY ALL
    UNION ALL
    SELECT
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
ORDER BY value DESC
LIMIT {limit:UInt32}
