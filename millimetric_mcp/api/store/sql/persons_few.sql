-- Events, each with its person: its own user, else the user of the latest tie of its visitor before
-- it, else of the earliest tie, else the visitor. For few events, or where all ties are known.
SELECT$columns
    own_at,
    multiIf(
        own_user != '', cityHash64('user', own_user),
        tied.first_user = 0, own_visitor,
        $tied_user
    ) AS person
FROM
(
    SELECT$selected
        visitor AS own_visitor,
        user_id AS own_user,
        toUnixTimestamp64Milli(timestamp) AS own_at
    FROM $events
    WHERE $conditions
) AS event
LEFT ANY JOIN
(
$ties
) AS tied ON tied.visitor = event.own_visitor
