-- GET /v1/funnel from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z steps=[{"event":"signup"},{"event":"purchase","properties.plan":"pro"}]
-- project_id = 7
-- v0 = 604800000
-- v1 = ['signup']
-- v2 = ['purchase']
-- v3 = plan
-- v4 = ['pro']
-- v5 = 1777626000000
-- v6 = 1780272000000
-- limit = 51

-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
WITH
    -- The visitors that were tied to a user: one of their users, and whether there are several.
    tied_visitors AS MATERIALIZED
    (
        SELECT visitor, min(user) AS first_user, first_user != max(user) AS has_several
        FROM
        (
            SELECT visitor, cityHash64('user', user_id) AS user
            FROM events
            WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
        )
        GROUP BY visitor
    ),
    later AS MATERIALIZED
    (
SELECT
    person,
    arraySort(groupArrayIf(own_at, step_2)) AS all_2
FROM (
SELECT person, own_at, event_name IN {v2:Array(String)} AND ifNull(multiIf(JSONExtractRaw(properties, {v3:String}) IN ('', 'null'), NULL, startsWith(JSONExtractRaw(properties, {v3:String}), '"'), JSONExtractString(properties, {v3:String}), JSONExtractRaw(properties, {v3:String})), '') IN {v4:Array(String)} AS step_2
FROM
(
-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For few events, or where all ties are known.
SELECT
    event_name,
    properties,
    own_at,
    multiIf(
        own_user != '', cityHash64('user', own_user),
        tied.first_user = 0, own_visitor,
        empty(tied.ties), tied.first_user,
        tied.ties[greatest(1, arrayLastIndex(tie -> tie.1 <= own_at, tied.ties))].2
    ) AS person
FROM
(
    SELECT
    event_name,
    properties,
        visitor AS own_visitor,
        user_id AS own_user,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v5:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v6:Int64}, 'UTC')
    AND ((event_name IN {v2:Array(String)} AND ifNull(multiIf(JSONExtractRaw(properties, {v3:String}) IN ('', 'null'), NULL, startsWith(JSONExtractRaw(properties, {v3:String}), '"'), JSONExtractString(properties, {v3:String}), JSONExtractRaw(properties, {v3:String})), '') IN {v4:Array(String)}))
    AND NOT startsWith(event_name, '$pageview')
) AS event
LEFT ANY JOIN
(
-- The users that each visitor was tied to. `ties` is empty if there is only one; else it has each
-- moment and user, oldest first.
SELECT
    visitor,
    min(user) AS first_user,
    if(
        first_user = max(user),
        [],
        arrayMap(tie -> (tie.1, cityHash64('user', tie.2)), arraySort(groupUniqArray((at, user_id))))
    ) AS ties
FROM
(
    SELECT
        visitor,
        user_id,
        cityHash64('user', user_id) AS user,
        toUnixTimestamp64Milli(timestamp) AS at
    FROM events
    WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
    AND visitor GLOBAL IN
(
SELECT
    visitor
FROM events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v5:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v6:Int64}, 'UTC')
    AND ((event_name IN {v2:Array(String)} AND ifNull(multiIf(JSONExtractRaw(properties, {v3:String}) IN ('', 'null'), NULL, startsWith(JSONExtractRaw(properties, {v3:String}), '"'), JSONExtractString(properties, {v3:String}), JSONExtractRaw(properties, {v3:String})), '') IN {v4:Array(String)}))
    AND NOT startsWith(event_name, '$pageview')
    AND person_role IN (0, 1)
)
)
GROUP BY visitor
) AS tied ON tied.visitor = event.own_visitor
)
)
GROUP BY person
    ),
    -- The empty one is added, so that the list is never empty.
    (
        SELECT arraySort(arrayDistinct(arrayPushBack(groupArray(value), '')))
        FROM
        (
            SELECT '' AS value
            FROM events
            WHERE project_id = {project_id:UInt64}
                AND toDate(timestamp) >= toDate(fromUnixTimestamp64Milli({v5:Int64}, 'UTC'))
                AND toDate(timestamp) <= toDate(fromUnixTimestamp64Milli({v6:Int64}, 'UTC'))
            GROUP BY value
        )
    ) AS groups,
    -- An occurrence of the first step is one value: its time, then its group.
    firsts AS MATERIALIZED
    (
SELECT
    person,
    min(bitShiftLeft(toUInt128(own_at), 64) + transform('', groups, range(length(groups)), 0)) AS earliest,
    groupArray(bitShiftLeft(toUInt128(own_at), 64) + transform('', groups, range(length(groups)), 0)) AS gathered
FROM
(
-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For few events, or where all ties are known.
SELECT
    own_at,
    multiIf(
        own_user != '', cityHash64('user', own_user),
        tied.first_user = 0, own_visitor,
        empty(tied.ties), tied.first_user,
        tied.ties[greatest(1, arrayLastIndex(tie -> tie.1 <= own_at, tied.ties))].2
    ) AS person
FROM
(
    SELECT
        visitor AS own_visitor,
        user_id AS own_user,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v5:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v6:Int64}, 'UTC')
    AND event_name IN {v1:Array(String)}
    AND NOT startsWith(event_name, '$pageview')
) AS event
LEFT ANY JOIN
(
-- The users that each visitor was tied to. `ties` is empty if there is only one; else it has each
-- moment and user, oldest first.
SELECT
    visitor,
    min(user) AS first_user,
    if(
        first_user = max(user),
        [],
        arrayMap(tie -> (tie.1, cityHash64('user', tie.2)), arraySort(groupUniqArray((at, user_id))))
    ) AS ties
FROM
(
    SELECT
        visitor,
        user_id,
        cityHash64('user', user_id) AS user,
        toUnixTimestamp64Milli(timestamp) AS at
    FROM events
    WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
    AND visitor GLOBAL IN
(
SELECT
    visitor
FROM events
WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v5:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v6:Int64}, 'UTC')
    AND event_name IN {v1:Array(String)}
    AND NOT startsWith(event_name, '$pageview')
    AND person_role IN (0, 1)
)
)
GROUP BY visitor
) AS tied ON tied.visitor = event.own_visitor
)
GROUP BY person
    )
SELECT
    groups[1 + toUInt64(bitAnd(counted, 18446744073709551615))] AS first_group,
    [toInt64(count()), toInt64(countIf(level >= 2))] AS people,
    [quantileExactInclusiveIf(0.5)((times[2] - times[1]) / 1000, level >= 2)] AS medians,
    sum(countIf(0)) OVER () / sum(count()) OVER () AS no_touch_share
FROM
(
    SELECT occurrences[best] AS counted, level, [times_1[best], times_2[best]] AS times
    FROM
    (
        SELECT *, arrayMax(levels) AS level, indexOf(levels, level) AS best
        FROM
        (
            SELECT *, arrayMap((t1, t2) -> 1 + (t2 <= t1 + {v0:Int64}), times_1, times_2) AS levels
            FROM
            (
                SELECT
                    occurrences,
                    arrayMap(first -> toInt64(bitShiftRight(first, 64)), occurrences) AS times_1,
                    arrayMap(merged -> arrayMap(next -> if(next % 2 = 1, intDiv(next, 2), 1152921504606846976), arrayFilter((next, one) -> one % 2 != 1, arrayReverseFill(one -> one % 2 = 1, merged), merged)), [arraySort(arrayConcat(arrayMap(at -> 2 * at + 0, times_1), arrayMap(at -> 2 * at + 1, all_2)))])[1] AS times_2
                FROM
                (
                    SELECT
                        person,
                        arraySort(groupArrayArray(if(empty(gathered), [earliest], gathered)))
                            AS occurrences
                    FROM firsts
                    GROUP BY person
                ) AS first
                LEFT ANY JOIN later USING (person)
            )
        )
    )
)
GROUP BY first_group
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
