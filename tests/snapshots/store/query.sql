-- GET /v1/query from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z
-- project_id = 7
-- v0 = 1777626000000
-- v1 = 1780272000000
-- skipped = 0
-- limit = 100

-- Single events. The hour in front is the primary key's, so that the first are found without
-- reading the whole window.
SELECT COLUMNS(timestamp, event_name, event_id, anonymous_id, user_id, session_id, source, medium, campaign, source_confidence, source_rule_id, referrer, url, path, country, device_type, browser, os, properties) REPLACE (
    if(
        session_id = '',
        concat(anonymous_id, '-', toString(intDiv(toUnixTimestamp64Milli(timestamp), 1800000))),
        session_id
    ) AS session_id
)
FROM events AS stored
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v0:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, received_at DESC, event_id
LIMIT {skipped:UInt32}, {limit:UInt32}
