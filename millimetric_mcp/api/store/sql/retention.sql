-- Of the people whose first event lies in an interval: how many came back in each one since.
WITH
$tied_visitors
SELECT
    cohort,
    count() AS people,
    sumForEach(arrayMap(later -> has(numbers, cohort + later), range($intervals))) AS returned,
    toUnixTimestamp64Milli(now64(3)) AS now_ms
FROM
(
    SELECT
        min(first_at) AS first,
        $cohort AS cohort,
        arrayMap(at -> $number, arrayFilter(at -> at >= first, groupArrayArray(returns))) AS numbers
    FROM
    (
$persons
    )
    GROUP BY person
    HAVING isNotNull(first)
)
GROUP BY cohort
ORDER BY cohort
