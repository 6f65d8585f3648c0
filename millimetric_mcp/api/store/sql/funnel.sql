-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
SELECT
    first_group,
    [$reached] AS people,
    [$medians] AS medians,
    sum(sumIf(weight, is_no_touch)) OVER () / sum(sum(weight)) OVER () AS no_touch_share
FROM
(
    -- Of people who took a later step: the event that counts, instead of the earliest one.
    SELECT
        arrayJoin([1, -1]) AS sign,
        if(sign > 0, best, 1) AS counted,
        firsts[counted].2 AS first_group,
        firsts[counted].3 AS is_no_touch,
        if(sign > 0, levels[best], 1) AS level,
        [$best_times] AS times,
        toInt64(sign) AS weight
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
            UNION ALL
            SELECT person, own_at, '' AS step_group, 0 AS is_no_touch, 0 AS step_1, $which_later
            FROM
            (
$later
            )
        )
        GROUP BY person
        HAVING notEmpty(firsts) AND levels[best] > 1
    )
    UNION ALL
    -- Everybody's earliest event.
    SELECT
        1 AS sign,
        1 AS counted,
        $earliest_group AS first_group,
        toUInt8($earliest_flag) AS is_no_touch,
        1 AS level,
        [$no_times] AS times,
        toInt64(count()) AS weight
    FROM
    (
        SELECT person, min(concat($time, $earliest)) AS earliest
        FROM
        (
$first
        )
        GROUP BY person
    )
    GROUP BY first_group, is_no_touch
)
GROUP BY first_group
HAVING people[1] > 0
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
