-- GET /v1/retention from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z event=signup return=purchase interval=week
-- project_id = 7
-- v0 = UTC
-- v1 = signup
-- v2 = purchase
-- v3 = 1777626000000
-- v4 = 1780272000000
-- v5 = ['signup', 'purchase']

-- Of the people whose first event lies in an interval: how many came back in each one since.
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
    )
SELECT
    cohort,
    count() AS people,
    sumForEach(arrayMap(later -> has(numbers, cohort + later), range(13))) AS returned,
    toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM
(
    SELECT
        min(first_at) AS first,
        toInt32(intDiv(toInt32(toDate32(fromUnixTimestamp64Milli(assumeNotNull(first), 'UTC'), {v0:String})) - toDayOfWeek(fromUnixTimestamp64Milli(assumeNotNull(first), 'UTC'), 1, {v0:String}) + 3, 7)) AS cohort,
        arrayMap(at -> toInt32(intDiv(toInt32(toDate32(fromUnixTimestamp64Milli(at, 'UTC'), {v0:String})) - toDayOfWeek(fromUnixTimestamp64Milli(at, 'UTC'), 1, {v0:String}) + 3, 7)), arrayFilter(at -> at >= first, groupArrayArray(returns))) AS numbers
    FROM
    (
SELECT
    person,
    minOrNullIf(own_at, event_name = {v1:String}) AS first_at,
    groupArrayIf(own_at, event_name = {v2:String}) AS returns
FROM
(
-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For few events, or where all ties are known.
SELECT
    event_name,
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
        visitor AS own_visitor,
        user_id AS own_user,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v3:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v4:Int64}, 'UTC')
    AND event_name IN {v5:Array(String)}
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
    AND timestamp >= fromUnixTimestamp64Milli({v3:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v4:Int64}, 'UTC')
    AND event_name IN {v5:Array(String)}
    AND NOT startsWith(event_name, '$pageview')
    AND person_role IN (0, 1)
)
)
GROUP BY visitor
) AS tied ON tied.visitor = event.own_visitor
)
GROUP BY person
    )
    GROUP BY person
    HAVING isNotNull(first)
)
GROUP BY cohort
ORDER BY cohort
