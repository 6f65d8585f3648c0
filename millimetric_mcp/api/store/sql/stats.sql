-- One metric, by columns and by bucket of time.
SELECT$selected
FROM
(
$parts
)
${groups}ORDER BY $order
LIMIT {limit:UInt32}
