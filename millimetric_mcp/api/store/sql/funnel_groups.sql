    -- The empty one is added, so that the list is never empty.
    (
        SELECT arraySort(arrayDistinct(arrayPushBack(groupArray(value), '')))
        FROM
        (
            SELECT $value AS value
            FROM $events
            WHERE project_id = {project_id:UInt64}
                AND toDate(timestamp) >= toDate(fromUnixTimestamp64Milli($start, 'UTC'))
                AND toDate(timestamp) <= toDate(fromUnixTimestamp64Milli($end, 'UTC'))
            GROUP BY value
        )
    ) AS groups,
