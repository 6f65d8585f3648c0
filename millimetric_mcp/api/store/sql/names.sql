-- A project's names since a time: of each kind those that only browser keys sent, then those of most events.
SELECT kind, name, medium, is_of_browsers
FROM
(
    SELECT
        'event names' AS kind, event_name AS name, '' AS medium,
        countIf(key_kind != 'pk') = 0 AS is_of_browsers
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND timestamp >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND event_name NOT IN {except_events:Array(String)}
    GROUP BY event_name
    ORDER BY is_of_browsers DESC, count() DESC
    LIMIT {limit:UInt64}
    UNION ALL
    SELECT
        'sources' AS kind, source AS name, medium,
        countIf(key_kind != 'pk') = 0 AS is_of_browsers
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND timestamp >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND source_rule_id IN {source_rules:Array(String)}
    GROUP BY source, medium
    ORDER BY is_of_browsers DESC, count() DESC
    LIMIT {limit:UInt64}
    UNION ALL
    SELECT
        'campaigns' AS kind, campaign AS name, '' AS medium,
        countIf(key_kind != 'pk') = 0 AS is_of_browsers
    FROM $events
    WHERE project_id = {project_id:UInt64}
        AND timestamp >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND campaign != ''
    GROUP BY campaign
    ORDER BY is_of_browsers DESC, count() DESC
    LIMIT {limit:UInt64}
)
