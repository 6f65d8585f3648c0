-- GET /v1/stats from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z metric=sum property=amount group_by=source interval=day timezone=Europe/Berlin attribution=session bots=exclude
-- project_id = 7
-- v0 = 1777626000000
-- v1 = 1780272000000
-- v2 = 1775034000000
-- v3 = Europe/Berlin
-- v4 = amount
-- limit = 101

-- One metric, by columns and by bucket of time.
SELECT
    bucket,
    source,
    any(part_value) AS value,
    sum(sum(part_skipped)) OVER () AS skipped,
    sum(sum(part_no_touch)) OVER () / sum(sum(part_events)) OVER () AS no_touch_share
FROM
(
SELECT
    toDate32(timestamp, {v3:String}) AS bucket,
    source AS source,
    count() AS part_events,
    ifNull(sumKahan(number), 0) AS part_value,
    countIf(isNull(number)) AS part_skipped,
    countIf(is_no_touch) AS part_no_touch
FROM
(
SELECT *,
if(JSONType(properties, {v4:String}) IN ('Int64', 'UInt64', 'Double'), JSONExtractFloat(properties, {v4:String}), NULL) AS number
FROM
(
-- Events, each with the first touch of its session; of several in a moment, the first in
-- alphabetical order.
SELECT event.*,
    found.touch = '' OR NOT (1) AS is_no_touch,
    splitByChar('\0', found.touch) AS parts,
    if(is_no_touch, 'direct', parts[1]) AS source,
    if(is_no_touch, 'direct', parts[2]) AS medium
FROM
(
SELECT
    timestamp,
    properties,
    if(
    session_id = '',
    cityHash64(visitor, intDiv(toUnixTimestamp64Milli(timestamp), 1800000)),
    cityHash64(session_id)
) AS own_session
FROM events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v0:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    AND is_bot = 0
) AS event
LEFT ANY JOIN
(
    SELECT if(
    session_id = '',
    cityHash64(visitor, intDiv(toUnixTimestamp64Milli(timestamp), 1800000)),
    cityHash64(session_id)
) AS session, substring(min(concat(reinterpretAsFixedString(byteSwap(toUnixTimestamp64Milli(timestamp))), concat(source, '\0', medium))), 9) AS touch
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v2:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    AND is_bot = 0
    AND person_role IN (1, 3)
    GROUP BY session
) AS found ON found.session = event.own_session
)
)
GROUP BY ALL
)
GROUP BY bucket, source
ORDER BY bucket, value DESC, source
LIMIT {limit:UInt32}
