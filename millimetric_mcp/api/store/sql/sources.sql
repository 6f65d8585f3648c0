-- Events, visitors and the paid share by source, and by medium if asked.
SELECT$selected,
    sum(part_events) AS events,
    $visitors AS uniques,
    sumIf(part_events, medium = 'paid') / events AS paid_share$share
FROM
(
$parts
)
GROUP BY $columns
ORDER BY events DESC, $columns
LIMIT {limit:UInt32}
