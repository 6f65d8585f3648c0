-- Raw events, newest first. The hour in front is the primary key's, so that the newest are
-- found without reading the whole window.
SELECT COLUMNS($columns) REPLACE (
    if(
        session_id = '',
        concat(anonymous_id, '-', toString(intDiv(toUnixTimestamp64Milli(timestamp), 1800000))),
        session_id
    ) AS session_id
)
FROM $events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')$filters
ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, received_at DESC, event_id
LIMIT {limit:UInt32}
