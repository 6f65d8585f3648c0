-- Aggregates of many events by person; one person may have several rows. Events are grouped by
-- their own user or visitor before the ties of visitors are looked up; not those of visitors with
-- several users, as the time of each event decides there.
SELECT
    if(tied.first_user = 0, own, tied.first_user) AS person,$names
FROM
(
    SELECT
        if(own_user = '', own_visitor, cityHash64('user', own_user)) AS own,$aggregates
    FROM
    (
        SELECT$selected
            visitor AS own_visitor,
            user_id AS own_user,
            toUnixTimestamp64Milli(timestamp) AS own_at
        FROM $events
        WHERE $conditions
    )
    GROUP BY own
) AS grouped
LEFT ANY JOIN tied_visitors AS tied ON tied.visitor = grouped.own
WHERE NOT tied.has_several
UNION ALL
$of_several
