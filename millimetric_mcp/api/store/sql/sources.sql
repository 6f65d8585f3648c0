-- Events, visitors and the paid share by source, and by medium where asked. Visitors are an
-- estimate, held to the number of their events.
SELECT
    $columns,
    sum(part_events) AS events,
    least(uniqCombinedMerge(14)(part_visitors), events) AS uniques,
    sumIf(part_events, medium = 'paid') / events AS paid_share
FROM
(
$parts
)
GROUP BY $columns
ORDER BY events DESC, $columns
LIMIT {limit:UInt32}
