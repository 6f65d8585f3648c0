-- Events, each with the $which touch of its person that is not older than the look-back.
${shared}SELECT event.*,$touch
FROM
(
$persons
) AS event
ASOF LEFT JOIN
(
$touches
) AS found ON found.person = event.person AND $nearest
