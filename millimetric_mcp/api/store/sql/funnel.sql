-- Of each group: how many people reached each step, and the median of seconds between two steps.
-- Of a person's occurrences of the first step, the earliest that leads furthest counts.
WITH
$tied_visitors,
    later AS MATERIALIZED
    (
$later
    ),$groups
    -- An occurrence of the first step is one value: its time, then its group.
    firsts AS MATERIALIZED
    (
$first
    )
SELECT
    $group AS first_group,
    [toInt64(count()), $reached] AS people,
    [$medians] AS medians,
    sum(countIf($flag)) OVER () / sum(count()) OVER () AS no_touch_share
FROM
(
$others    SELECT occurrences[best] AS counted, level, [$best_times] AS times
    FROM
    (
        SELECT *, arrayMax(levels) AS level, indexOf(levels, level) AS best
        FROM
        (
            SELECT *, arrayMap(($names) -> $level, $arrays) AS levels
            FROM
            (
                SELECT
                    occurrences,
                    arrayMap(first -> $moment, occurrences) AS times_1,$times
                FROM
                (
                    SELECT
                        person,
                        arraySort(groupArrayArray(if(empty(gathered), [earliest], gathered)))
                            AS occurrences
                    FROM firsts$meant
                    GROUP BY person
                ) AS first
                LEFT ANY JOIN $times_of_later USING (person)
            )
        )
    )
)
GROUP BY first_group
ORDER BY people[1] DESC, first_group
LIMIT {limit:UInt32}
