-- GET /v1/query from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z event=signup source=facebook medium=paid country=DE user_id=user_42 anonymous_id=u_abc
-- project_id = 7
-- v0 = 1777626000000
-- v1 = 1780272000000
-- v2 = ['signup']
-- v3 = ['facebook']
-- v4 = ['paid']
-- v5 = ['DE']
-- v6 = ['user_42']
-- v7 = ['u_abc']
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
    AND event_name IN {v2:Array(String)}
    AND source IN {v3:Array(String)}
    AND medium IN {v4:Array(String)}
    AND country IN {v5:Array(String)}
    AND user_id IN {v6:Array(String)}
    AND anonymous_id IN {v7:Array(String)}
    AND NOT startsWith(event_name, '$pageview')
ORDER BY toStartOfHour(timestamp) DESC, timestamp DESC, received_at DESC, event_id
LIMIT {skipped:UInt32}, {limit:UInt32}
