-- One metric, by columns and by bucket of time.
SELECT$selected
FROM
(
$parts
)
GROUP BY ALL
ORDER BY $order
LIMIT {limit:UInt32}
