-- GET /v1/query from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z after=1778000000000.1.2.3
-- project_id = 7
-- v0 = 1778000000000
-- v1 = 1
-- v2 = 2
-- v3 = 1777626000000
-- v4 = 1780272000000
-- skipped = 3
-- limit = 101

-- Single events. The hour in front is the primary key's, so that the first are found without
-- reading the whole window.
SELECT COLUMNS(timestamp, event_name, event_id, anonymous_id, user_id, session_id, source, medium, campaign, source_confidence, source_rule_id, referrer, url, path, country, device_type, browser, os, properties) REPLACE (
    if(
        session_id = '',
        concat(anonymous_id, '-', toString(intDiv(toUnixTimestamp64Milli(timestamp), 1800000))),
        session_id
    ) AS session_id
),
    toUnixTimestamp64Milli(timestamp) AS row_at,
    toUnixTimestamp64Micro(received_at) AS row_arrived_at,
    cityHash64(stored.timestamp, stored.event_name, stored.event_id, stored.anonymous_id, stored.user_id, stored.session_id, stored.source, stored.medium, stored.campaign, stored.source_confidence, stored.source_rule_id, stored.referrer, stored.url, stored.path, stored.country, stored.device_type, stored.browser, stored.os, stored.properties) AS row_hash
FROM events AS stored
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v3:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v4:Int64}, 'UTC')
    AND timestamp >= fromUnixTimestamp64Milli({v0:Int64}, 'UTC')
    AND (toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Micro(received_at), cityHash64(stored.timestamp, stored.event_name, stored.event_id, stored.anonymous_id, stored.user_id, stored.session_id, stored.source, stored.medium, stored.campaign, stored.source_confidence, stored.source_rule_id, stored.referrer, stored.url, stored.path, stored.country, stored.device_type, stored.browser, stored.os, stored.properties)) >= ({v0:Int64}, {v1:Int64}, {v2:UInt64})
ORDER BY toStartOfHour(timestamp) ASC, timestamp ASC, received_at ASC, row_hash ASC
LIMIT {skipped:UInt32}, {limit:UInt32}
