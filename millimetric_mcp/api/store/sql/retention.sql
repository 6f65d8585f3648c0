-- Of the people whose first event lies in an interval: how many came back in each one since.
SELECT cohort, count() AS people, sumForEach(came_back) AS returned, toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM
(
    SELECT
        min(began_at) AS first_at,
        argMin(interval_number, began_at) AS cohort,
        groupArrayIf((interval_number, assumeNotNull(seen_at)), isNotNull(seen_at)) AS seen,
        arrayMap(one -> one.1, arrayFilter(one -> one.2 >= first_at, seen)) AS numbers,
        arrayMap(later -> has(numbers, cohort + later), range($intervals)) AS came_back
    FROM
    (
        SELECT
            person,
            toInt32($interval_number) AS interval_number,
            minOrNullIf(own_at, event_name = $event) AS began_at,
            maxOrNullIf(own_at, event_name = $return) AS seen_at
        FROM
        (
$persons
        )
        GROUP BY person, interval_number
    )
    GROUP BY person
    HAVING isNotNull(first_at)
)
GROUP BY cohort
ORDER BY cohort
