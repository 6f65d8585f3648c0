-- Events, each with the first touch of its session; of several in a moment, the first in
-- alphabetical order.
SELECT event.*,$touch
FROM
(
$rows
) AS event
LEFT ANY JOIN
(
    SELECT $session AS session, substring(min(concat($time, $text)), 9) AS touch
    FROM $events
    WHERE $touch_conditions
    GROUP BY session
) AS found ON found.session = event.own_session
