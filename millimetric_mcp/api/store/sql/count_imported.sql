-- How many of a project's events a range of an import's parts brought.
SELECT count()
FROM $events
WHERE project_id = {project_id:UInt64}
    AND import_part >= {first_part:UInt64} AND import_part <= {last_part:UInt64}
