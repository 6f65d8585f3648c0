-- GET /v1/stats from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z metric=uniques interval=day group_by=source,medium event=signup
-- project_id = 7
-- first_day = 2026-05-02
-- end_day = 2026-06-01
-- head_from_ms = 1777626000000
-- head_to_ms = 1777680000000
-- tail_from_ms = 1780272000000
-- tail_to_ms = 1780272000000
-- v0 = ['signup']
-- limit = 101

-- One metric, by columns and by bucket of time.
SELECT
    bucket,
    source,
    medium,
    -- Distinct visitors of merged states, never more than their events. Up to 2.5 * 2^14 the count is
    -- exact. Just above, the engine's estimate is up to 2.4 % too high; the curve subtracts that error,
    -- as measured over sets of 36,000 to 150,000 random ids.
    least(
        toUInt64(round(
            (uniqCombinedMerge(14)(part_visitors) AS estimate)
            - if(estimate > 40960, 1000 * exp((40960 - estimate) / 13500), 0)
        )),
        sum(part_events)
    ) AS value
FROM
(
    -- First the window's whole days, read from a projection if one holds the columns; then its two
    -- ends, read from raw rows. Visitors are states of an aggregate function here, so that a visitor
    -- of two days counts once.
    SELECT
        toDate(timestamp) AS bucket,
        source,
        medium,
        count() AS part_events,
        uniqCombinedState(14)(anonymous_id) AS part_visitors
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND toDate(timestamp) >= {first_day:Date} AND toDate(timestamp) < {end_day:Date}
        AND event_name IN {v0:Array(String)}
    GROUP BY ALL
    UNION ALL
    SELECT
        toDate(timestamp) AS bucket,
        source,
        medium,
        count() AS part_events,
        uniqCombinedState(14)(anonymous_id) AS part_visitors
    FROM events
    WHERE project_id = {project_id:UInt64}
        AND (
            (timestamp >= fromUnixTimestamp64Milli({head_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({head_to_ms:Int64}, 'UTC'))
            OR (timestamp >= fromUnixTimestamp64Milli({tail_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({tail_to_ms:Int64}, 'UTC'))
        )
        AND event_name IN {v0:Array(String)}
    GROUP BY ALL
)
GROUP BY bucket, source, medium
ORDER BY bucket, value DESC, source, medium
LIMIT {limit:UInt32}
