-- Sessions, each with the number of its events and with its first touch; of several in a moment,
-- the first in alphabetical order.
SELECT own_session, event_count,$touch
FROM
(
    SELECT
        own_session,
        sum(is_own) AS event_count,
        substring(minIf(touch_text, is_own = 0), 9) AS touch
    FROM
    (
        SELECT $session AS own_session, 1 AS is_own, '' AS touch_text
        FROM $events
        WHERE $conditions
        UNION ALL
        SELECT $session AS own_session, 0 AS is_own, concat($time, $text) AS touch_text
        FROM $events
        WHERE $touch_conditions
    )
    GROUP BY own_session
    HAVING event_count > 0
) AS found
