-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
SELECT
    first_group,
    arrayResize(arrayConcat([started + moved], reached), $steps) AS people,
    arrayResize(waits, $steps - 1, nan) AS medians,
    sum(untouched + moved_untouched) OVER () / sum(started + moved) OVER () AS no_touch_share
FROM
(
    -- Everybody's earliest event.
    SELECT
        $earliest_group AS first_group,
        toInt64(count()) AS started,
        toInt64(countIf($earliest_flag)) AS untouched
    FROM
    (
        SELECT person, min(concat($time, $earliest)) AS earliest
        FROM
        (
$first
        )
        GROUP BY person
    )
    GROUP BY first_group
) AS everybody
-- The right side comes first, so both sides never hold their people in memory at the same time.
FULL JOIN
(
    -- Of people who took a later step: the event that counts, instead of the earliest one.
    SELECT
        first_group,
        sum(weight) AS moved,
        sumIf(weight, is_no_touch) AS moved_untouched,
        [$reached] AS reached,
        [$medians] AS waits
    FROM
    (
        SELECT
            toInt64(arrayJoin([1, -1])) AS weight,
            if(weight > 0, best, 1) AS counted,
            firsts[counted].2 AS first_group,
            firsts[counted].3 AS is_no_touch,
            if(weight > 0, levels[best], 1) AS level,
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
    )
    GROUP BY first_group
) AS further USING (first_group)
WHERE people[1] > 0
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
