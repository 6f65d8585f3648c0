-- The visitors and users whose events may be of the persons of some events: a few more, never fewer.
SELECT visitor
FROM $events
WHERE $conditions
    AND person_role IN (0, 1)
UNION ALL
SELECT arrayJoin([visitor, cityHash64('user', user_id)])
FROM $events
WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
    AND user_id GLOBAL IN
    (
        SELECT user_id
        FROM $events
        WHERE $conditions
            AND person_role IN (2, 3)
        UNION ALL
        SELECT user_id
        FROM $events
        WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
            AND visitor GLOBAL IN
            (
                SELECT visitor
                FROM $events
                WHERE $conditions
                    AND person_role IN (0, 1)
            )
    )
