-- Events, each with the path of its session's first page.
SELECT event.*, found.landing_path AS landing_path
FROM
(
$rows
) AS event
LEFT ANY JOIN
(
    SELECT $session AS session, substring(min(concat($time, path)), 9) AS landing_path
    FROM $events
    WHERE $conditions
    GROUP BY session
) AS found ON found.session = event.own_session
