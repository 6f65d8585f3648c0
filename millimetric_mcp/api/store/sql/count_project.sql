-- How many events a project has.
SELECT count()
FROM $events
WHERE project_id = {project_id:UInt64}
