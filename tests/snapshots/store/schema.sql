-- GET /v1/schema from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z
-- project_id = 7
-- v0 = 1777626000000
-- v1 = 1780272000000
-- limit = 201
-- sampled = 1000

-- Names of events, and what the properties of a random sample of each name's events hold.
SELECT
    event_name, events, first_seen, last_seen, found.properties AS properties,
    found.left_out AS left_out, used
FROM
(
    SELECT
        event_name,
        count() AS events,
        min(timestamp) AS first_seen,
        max(timestamp) AS last_seen,
        arrayFilter((name, is_used) -> is_used, ['timestamp', 'event_name', 'event_id', 'anonymous_id', 'user_id', 'session_id', 'source', 'medium', 'campaign', 'source_confidence', 'source_rule_id', 'referrer', 'url', 'path', 'country', 'device_type', 'browser', 'os', 'properties'], max([max(toString(timestamp) != ''), max(toString(event_name) != ''), max(toString(event_id) != ''), max(toString(anonymous_id) != ''), max(toString(user_id) != ''), max(toString(session_id) != ''), max(toString(source) != ''), max(toString(medium) != ''), max(toString(campaign) != ''), max(toString(source_confidence) != ''), max(toString(source_rule_id) != ''), max(toString(referrer) != ''), max(toString(url) != ''), max(toString(path) != ''), max(toString(country) != ''), max(toString(device_type) != ''), max(toString(browser) != ''), max(toString(os) != ''), max(properties != '{}')]) OVER ()) AS used
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v0:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    GROUP BY event_name
    ORDER BY events DESC, event_name
    LIMIT {limit:UInt32}
) AS named
LEFT ANY JOIN
(
    SELECT
        event_name,
        arraySlice(groupArray((key, types, share, top_values)), 1, 50) AS properties,
        count() - length(properties) AS left_out
    FROM
    (
        SELECT
            event_name,
            key,
            arraySort(arrayDistinct(arrayFlatten(groupArray(value_types)))) AS types,
            least(1, sum(times) / any(sampled)) AS share,
            arraySlice(
                arrayMap(one -> one.2, arraySort(groupArray((-times, value)))), 1, 10
            ) AS top_values
        FROM
        (
            SELECT
                event_name, pair.1 AS key, any(sampled) AS sampled, count() AS times,
                substring(
                    if(startsWith(pair.2, '"'), JSONExtractString(pair.2), pair.2), 1, 100
                ) AS value,
                groupUniqArray(JSONType(pair.2)) AS value_types
            FROM
            (
                SELECT
                    event_name,
                    groupArraySample({sampled:UInt32}, 1)(properties) AS sample,
                    length(sample) AS sampled
                FROM events
                WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v0:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
                GROUP BY event_name
            )
            ARRAY JOIN sample AS one
            ARRAY JOIN JSONExtractKeysAndValuesRaw(one) AS pair
            GROUP BY event_name, key, value
        )
        GROUP BY event_name, key
        ORDER BY share DESC, key
    )
    GROUP BY event_name
) AS found ON found.event_name = named.event_name
ORDER BY events DESC, event_name
