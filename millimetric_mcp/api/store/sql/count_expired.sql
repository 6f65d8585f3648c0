-- How many of a project's events are from days before the first one kept.
SELECT count()
FROM $events
WHERE project_id = {project_id:UInt64} AND toDate(timestamp) < {first_day:Date}
