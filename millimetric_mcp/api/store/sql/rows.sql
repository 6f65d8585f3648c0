SELECT$selected
FROM
(
SELECT *$number
FROM
(
$rows
)
)
GROUP BY ALL
