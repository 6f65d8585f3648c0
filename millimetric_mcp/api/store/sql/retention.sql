-- Of the people whose first event lies in an interval: how many came back in each one since.
SELECT
    cohort,
    count() AS people,
    sumForEach(arrayMap(later -> has(numbers, cohort + later), range($intervals))) AS returned,
    toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM
(
    SELECT
        minOrNullIf(own_at, event_name = $event) AS first_at,
        argMinIf(interval_number, own_at, event_name = $event) AS cohort,
        groupArrayIf(interval_number, event_name = $return) AS all_numbers,
        groupArrayIf(own_at, event_name = $return) AS times,
        arrayFilter((number, at) -> at >= first_at, all_numbers, times) AS numbers
    FROM
    (
        SELECT person, own_at, event_name, toInt32($interval_number) AS interval_number
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
