SELECT visitor
FROM $events
WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
GROUP BY visitor
HAVING min(user_id) != max(user_id)
