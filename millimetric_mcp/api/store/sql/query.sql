-- Single events. The hour in front is the primary key's, so that the first are found without
-- reading the whole window.
SELECT COLUMNS($columns) REPLACE (
    if(
        session_id = '',
        concat(anonymous_id, '-', toString(intDiv(toUnixTimestamp64Milli(timestamp), 1800000))),
        session_id
    ) AS session_id
)$place
FROM $events AS stored
WHERE $conditions
ORDER BY toStartOfHour(timestamp) $way, timestamp $way, received_at $way, $last
LIMIT {skipped:UInt32}, {limit:UInt32}
