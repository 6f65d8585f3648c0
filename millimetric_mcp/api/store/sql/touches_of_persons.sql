-- One touch of each person and moment: of several, the first in alphabetical order.
SELECT person, own_at AS at, min($touch) AS touch
FROM
(
$persons
)
GROUP BY person, at
