    -- First the window's whole days, read from a projection if one holds the columns; then its two
    -- ends, read from raw rows. Visitors are states of an aggregate function here, so that a visitor
    -- of two days counts once.
    SELECT$selected
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND toDate(timestamp) >= {first_day:Date} AND toDate(timestamp) < {end_day:Date}$filters
    GROUP BY ALL
    UNION ALL
    SELECT$selected
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND (
            (timestamp >= fromUnixTimestamp64Milli({head_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({head_to_ms:Int64}, 'UTC'))
            OR (timestamp >= fromUnixTimestamp64Milli({tail_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({tail_to_ms:Int64}, 'UTC'))
        )$filters
    GROUP BY ALL
