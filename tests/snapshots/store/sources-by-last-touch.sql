-- GET /v1/sources from=2026-05-01T09:00:00Z to=2026-06-01T00:00:00Z attribution=last_touch event=purchase
-- project_id = 7
-- v0 = 2592000000
-- v1 = 1777626000000
-- v2 = 1780272000000
-- v3 = ['purchase']
-- v4 = 1775034000000
-- limit = 50

-- Events, visitors and the paid share by source, and by medium if asked.
SELECT
    source,
    medium,
    sum(part_events) AS events,
    -- Distinct visitors of merged states, never more than their events. Up to 2.5 * 2^14 the count is
    -- exact. Just above, the engine's estimate is up to 2.4 % too high; the curve subtracts that error,
    -- as measured over sets of 36,000 to 150,000 random ids.
    least(
        toUInt64(round(
            (uniqCombinedMerge(14)(part_visitors) AS estimate)
            - if(estimate > 40960, 1000 * exp((40960 - estimate) / 13500), 0)
        )),
        sum(part_events)
    ) AS uniques,
    sumIf(part_events, medium = 'paid') / events AS paid_share,
    sum(sum(part_no_touch)) OVER () / sum(sum(part_events)) OVER () AS no_touch_share
FROM
(
SELECT
    source AS source,
    medium AS medium,
    count() AS part_events,
    uniqCombinedState(14)(anonymous_id) AS part_visitors,
    countIf(is_no_touch) AS part_no_touch
FROM
(
SELECT *
FROM
(
-- Events, each with the latest touch of its person that is not older than the look-back.
-- What `touched_by_person` needs to read only the touches of the events' persons.
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
    own_persons AS MATERIALIZED
    (
SELECT DISTINCT person
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
    AND timestamp >= fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v2:Int64}, 'UTC')
    AND event_name IN {v3:Array(String)}
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
    AND timestamp >= fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v2:Int64}, 'UTC')
    AND event_name IN {v3:Array(String)}
    AND NOT startsWith(event_name, '$pageview')
    AND person_role IN (0, 1)
)
)
GROUP BY visitor
) AS tied ON tied.visitor = event.own_visitor
)
    )
SELECT event.*,
    found.touch = '' OR NOT (found.at <= event.own_at AND found.at >= event.own_at - {v0:Int64}) AS is_no_touch,
    splitByChar('\0', found.touch) AS parts,
    if(is_no_touch, 'direct', parts[1]) AS source,
    if(is_no_touch, 'direct', parts[2]) AS medium
FROM
(
-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For few events, or where all ties are known.
SELECT
    anonymous_id,
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
    anonymous_id,
        visitor AS own_visitor,
        user_id AS own_user,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v2:Int64}, 'UTC')
    AND event_name IN {v3:Array(String)}
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
    AND timestamp >= fromUnixTimestamp64Milli({v1:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v2:Int64}, 'UTC')
    AND event_name IN {v3:Array(String)}
    AND NOT startsWith(event_name, '$pageview')
    AND person_role IN (0, 1)
)
)
GROUP BY visitor
) AS tied ON tied.visitor = event.own_visitor
) AS event
ASOF LEFT JOIN
(
-- One touch of each person and moment: of several, the first in alphabetical order.
SELECT person, own_at AS at, min(concat(source, '\0', medium)) AS touch
FROM
(
-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For few events, or where all ties are known.
SELECT
    source,
    medium,
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
    source,
    medium,
        visitor AS own_visitor,
        user_id AS own_user,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM events
    WHERE project_id = {project_id:UInt64}
    AND timestamp >= fromUnixTimestamp64Milli({v4:Int64}, 'UTC')
    AND timestamp < fromUnixTimestamp64Milli({v2:Int64}, 'UTC')
    AND person_role IN (1, 3)
    AND visitor GLOBAL IN
(
-- The visitors and users whose events may be of the persons: a few more, never fewer.
SELECT person FROM own_persons
UNION ALL
SELECT visitor
FROM tied_visitors
WHERE has_several OR first_user GLOBAL IN (SELECT person FROM own_persons)
)
) AS event
LEFT ANY JOIN
(
-- As `ties`, of all that were tied.
SELECT visitor, first_user, several.ties AS ties
FROM tied_visitors
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
SELECT visitor FROM tied_visitors WHERE has_several
)
)
GROUP BY visitor
) AS several USING (visitor)
) AS tied ON tied.visitor = event.own_visitor
)
GROUP BY person, at
) AS found ON found.person = event.person AND event.own_at >= found.at
)
)
GROUP BY ALL
)
GROUP BY source, medium
ORDER BY events DESC, source, medium
LIMIT {limit:UInt32}
