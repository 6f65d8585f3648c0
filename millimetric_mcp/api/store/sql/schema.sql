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
        arrayFilter((name, is_used) -> is_used, [$names], max([$used]) OVER ()) AS used
    FROM $events
    WHERE $conditions
    GROUP BY event_name
    ORDER BY events DESC, event_name
    LIMIT {limit:UInt32}
) AS named
LEFT ANY JOIN
(
    SELECT
        event_name,
        arraySlice(groupArray((key, types, share, top_values)), 1, $max_keys) AS properties,
        count() - length(properties) AS left_out
    FROM
    (
        SELECT
            event_name,
            key,
            arraySort(arrayDistinct(arrayFlatten(groupArray(value_types)))) AS types,
            least(1, sum(times) / any(sampled)) AS share,
            arraySlice(
                arrayMap(one -> one.2, arraySort(groupArray((-times, value)))), 1, $max_values
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
                FROM $events
                WHERE $conditions
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
