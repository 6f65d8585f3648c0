-- The window's whole days, which a projection answers where it holds the columns, and its
-- two edges, which raw rows do. Visitors travel as states: one of two days counts once.
    SELECT $keys $measures
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND ({event:String} = '' OR event_name = {event:String})
        AND toDate(timestamp) >= {first_day:Date} AND toDate(timestamp) < {end_day:Date}
    GROUP BY ALL
    UNION ALL
    SELECT $keys $measures
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND ({event:String} = '' OR event_name = {event:String})
        AND (
            (timestamp >= fromUnixTimestamp64Milli({head_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({head_to_ms:Int64}, 'UTC'))
            OR (timestamp >= fromUnixTimestamp64Milli({tail_from_ms:Int64}, 'UTC')
                AND timestamp < fromUnixTimestamp64Milli({tail_to_ms:Int64}, 'UTC'))
        )
    GROUP BY ALL
