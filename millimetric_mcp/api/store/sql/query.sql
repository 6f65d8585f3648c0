-- Raw events, newest first; the hour in front is the primary key's, so that the newest are
-- found without reading the window.
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
    AND timestamp < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND ({event:String} = '' OR event_name = {event:String})
    AND ({source:String} = '' OR source = {source:String})
    AND ({medium:String} = '' OR medium = {medium:String})
    AND ({country:String} = '' OR country = {country:String})
    AND ({user_id:String} = '' OR user_id = {user_id:String})
    AND ({anonymous_id:String} = '' OR anonymous_id = {anonymous_id:String})
ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, received_at DESC, event_id
LIMIT {limit:UInt32}
