-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
SELECT
    first_group,
    [$reached] AS people,
    [$medians] AS medians,
    sum(countIf(is_no_touch)) OVER () / sum(count()) OVER () AS no_touch_share
FROM
(
    SELECT
        firsts[best].2 AS first_group,
        firsts[best].3 AS is_no_touch,
        levels[best] AS level,
        [$best_times] AS times
    FROM
    (
        SELECT
            arraySort(groupArrayIf((own_at, step_group, is_no_touch), step_1)) AS firsts,
            arrayMap(first -> toNullable(first.1), firsts) AS times_1,$times,
            arrayMap(($names) -> $level, $arrays) AS levels,
            indexOf(levels, arrayMax(levels)) AS best
        FROM
        (
$first
            UNION ALL
$later
        )
        GROUP BY person
        HAVING notEmpty(firsts)
    )
)
GROUP BY first_group
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
