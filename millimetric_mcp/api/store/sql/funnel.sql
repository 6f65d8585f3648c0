-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
SELECT
    first_group,
    [$reached] AS people,
    [$medians] AS medians,
    sum(sumIf(weight, is_no_touch)) OVER () / sum(sum(weight)) OVER () AS no_touch_share
FROM
(
    -- People who took a later step.
    SELECT
        firsts[best].2 AS first_group,
        firsts[best].3 AS is_no_touch,
        levels[best] AS level,
        [$best_times] AS times,
        1 AS weight
    FROM
    (
        SELECT
            arraySort(groupArrayIf((own_at, step_group, is_no_touch), step_1)) AS firsts,
            arrayMap(first -> toNullable(first.1), firsts) AS times_1,$times,
            arrayMap(($names) -> $level, $arrays) AS levels,
            indexOf(levels, arrayMax(levels)) AS best
        FROM
        (
            SELECT person, own_at, step_group, is_no_touch, 1 AS step_1, $no_later
            FROM
            (
$first_of_them
            )
            WHERE person GLOBAL IN (SELECT person FROM
            (
$later
            ))
            UNION ALL
            SELECT person, own_at, '' AS step_group, 0 AS is_no_touch, 0 AS step_1, $which_later
            FROM
            (
$later
            )
        )
        GROUP BY person
        HAVING notEmpty(firsts)
    )
    UNION ALL
    -- The others, whose earliest event counts.
    SELECT
        substring(earliest, 9, length(earliest) - 10) AS first_group,
        endsWith(earliest, '1') AS is_no_touch,
        1 AS level,
        [$no_times] AS times,
        count() AS weight
    FROM
    (
        SELECT person, min(concat($time, step_group, '\0', toString(is_no_touch))) AS earliest
        FROM
        (
$first
        )
        WHERE person GLOBAL NOT IN (SELECT person FROM
        (
$later
        ))
        GROUP BY person
    )
    GROUP BY first_group, is_no_touch
)
GROUP BY first_group
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
