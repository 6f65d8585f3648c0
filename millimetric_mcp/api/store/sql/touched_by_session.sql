-- Events, each with the first touch of its session.
SELECT event.*,$touch
FROM
(
$rows
) AS event
LEFT ANY JOIN
(
    SELECT $session AS session, min((toUnixTimestamp64Milli(timestamp), $names)) AS touch
    FROM $events
    WHERE $touch_conditions
    GROUP BY session
) AS found ON found.session = event.own_session
