-- Of the people whose first event lies in an interval: how many came back in each one since.
SELECT cohort, count() AS people, sumForEach(came_back) AS returned, toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM
(
    SELECT
        min(if(is_first, own_at, NULL)) AS first_at,
        argMin(interval_number, if(is_first, own_at, NULL)) AS cohort,
        maxMap(if(is_return, [interval_number], []), if(is_return, [own_at], [])) AS seen,
        arrayFilter((number, last_at) -> last_at >= first_at, seen.1, seen.2) AS numbers,
        arrayMap(later -> has(numbers, cohort + later), range($intervals)) AS came_back
    FROM
    (
        SELECT
            person,
            own_at,
            event_name = $event AS is_first,
            event_name = $return AS is_return,
            toInt32($interval_number) AS interval_number
        FROM
        (
$persons
        )
    )
    GROUP BY person
    HAVING isNotNull(first_at)
)
GROUP BY cohort
ORDER BY cohort
