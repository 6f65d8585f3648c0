-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
SELECT
    $group AS first_group,
    [toInt64(count()), $reached] AS people,
    [$medians] AS medians,
    sum(countIf($flag)) OVER () / sum(count()) OVER () AS no_touch_share
FROM
(
    SELECT
        if(empty(occurrences), [earliest], occurrences) AS firsts,
        arrayMap(first -> toNullable($moment), firsts) AS times_1,$times,
        arrayMap(($names) -> $level, $arrays) AS levels,
        arrayMax(levels) AS level,
        indexOf(levels, level) AS best,
        firsts[best] AS counted,
        [$best_times] AS times
    FROM
    (
        -- An occurrence of the first step is a text: its time and its group.
        SELECT
            minIf(earliest, earliest != '') AS earliest,
            arraySort(groupArrayArray(occurrences)) AS occurrences,$later_times
        FROM
        (
            SELECT person, earliest, occurrences, 0 AS own_at, $no_later
            FROM
            (
$first
            )
            UNION ALL
            SELECT person, '' AS earliest, [] AS occurrences, own_at, $which_later
            FROM
            (
$later
            )
        )
        GROUP BY person
        HAVING earliest != ''
    )
)
GROUP BY first_group
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
