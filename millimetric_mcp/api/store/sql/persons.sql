-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For many events: only those of tied visitors are
-- joined with the ties.
SELECT$selected
    toUnixTimestamp64Milli(timestamp) AS own_at,
    if(user_id = '', visitor, cityHash64('user', user_id)) AS person
FROM $events
WHERE $conditions
    AND (person_role IN (2, 3) OR visitor GLOBAL NOT IN ($tied))
UNION ALL
SELECT$columns
    own_at,
    if(
        $tied_user
    ) AS person
FROM
(
    SELECT$selected
        visitor AS own_visitor,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM $events
    WHERE $conditions
        AND person_role IN (0, 1)
        AND visitor GLOBAL IN ($tied)
) AS event
LEFT ANY JOIN
(
$ties
) AS tied ON tied.visitor = event.own_visitor
