-- GET /v1/query from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z
-- project_id = 7
-- from_ms = 1777626000000
-- to_ms = 1780272000000
-- limit = 100

-- Raw events, newest first. The hour in front is the primary key's, so that the newest are
-- found without reading the whole window.
SELECT COLUMNS(timestamp, event_name, event_id, anonymous_id, user_id, session_id, source, medium, campaign, source_confidence, source_rule_id, referrer, url, path, country, device_type, browser, os, properties) REPLACE (
    if(
        session_id = '',
        concat(anonymous_id, '-', toString(intDiv(toUnixTimestamp64Milli(timestamp), 1800000))),
        session_id
    ) AS session_id
)
FROM events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, received_at DESC, event_id
LIMIT {limit:UInt32}
