-- The visitors and users whose events may be of one of the persons.
SELECT visitor
FROM $events
WHERE $conditions
    AND person_role IN (0, 1)
UNION ALL
SELECT arrayJoin([visitor, cityHash64('user', user_id)])
FROM $events
WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
    AND cityHash64('user', user_id) GLOBAL IN
    (
        SELECT person FROM
        (
$persons
        )
    )
