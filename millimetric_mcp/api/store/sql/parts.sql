    -- The window's whole days, which a projection answers where it holds the columns, and its
    -- two ends, which raw rows answer. Visitors travel as states: one of two days counts once.
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
