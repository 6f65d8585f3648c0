-- Aggregates of many events by person; one person may have several rows. Events are grouped by
-- their own user or visitor before the ties of visitors are looked up. Only of visitors with
-- several users each event is a row, as its time decides.
SELECT
    if(is_user OR tied.first_user = 0, own, tied.first_user) AS person,$names
FROM
(
    SELECT
        if(own_user = '', own_visitor, cityHash64('user', own_user)) AS own,
        any(own_user != '') AS is_user,$aggregates
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
LEFT ANY JOIN
(
$ties
) AS tied ON tied.visitor = grouped.own
WHERE is_user OR empty(tied.ties)
UNION ALL
$single_events
